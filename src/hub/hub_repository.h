// One model on the Hub: its list of files, and their bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hub/http.h"
#include "hub/hub_listing.h"
#include "hub/hub_settings.h"

namespace lockstep {

/// What a search of the Hub finds.
struct HubHit {
  std::string id;
  bool is_gated = true;  // where the Hub does not say otherwise
  bool is_private = false;
};

/// Every call throws kNotFound (no such model, revision or file), kFailedPrecondition (gated,
/// private, a token that is refused), kUnavailable (no answer, after retries), kInvalidArgument
/// (an answer that is no Hub's), each naming id and file, never the token.
class HubRepository {
 public:
  HubRepository(const HubSettings& settings, HubId id);

  const HubId& id() const noexcept { return id_; }
  const HubSettings& settings() const noexcept { return settings_; }

  /// One request. Names that would leave a folder are refused.
  HubListing list(HttpSession& session) const;
  /// Asks for size and etag where the listing did not say them.
  void complete(HttpSession& session, const HubListing& listing, HubFile& file) const;
  std::string url(const HubListing& listing, const HubFile& file) const;
  /// "org/name: path", for messages.
  std::string what(const HubFile& file) const;

  /// The whole of a small file, checked against size and hash.
  std::string read_text(HttpSession& session, const HubListing& listing, HubFile file,
                        size_t max_bytes) const;
  struct Bytes {
    std::string bytes;
    uint64_t file_size = 0;
  };
  /// Bytes [begin, end) of a file, or less where it ends before; never more than that is read,
  /// not even from a server that sends the whole file instead.
  Bytes read_range(HttpSession& session, const HubListing& listing, const HubFile& file,
                   uint64_t begin, uint64_t end) const;

  /// Other models whose id has this one's name in it, at most fifty. One request, no retries;
  /// nothing where there is no sensible answer.
  std::optional<std::vector<HubHit>> search(HttpSession& session) const;

  /// Says why a request for `file` (empty: for the model) was refused.
  [[noreturn]] void refuse(HttpSession& session, const HttpResponse& response,
                           const std::string& file) const;

 private:
  std::string fetch(HttpSession& session, const std::string& url, const std::string& what,
                    size_t max_bytes, const std::string& file) const;
  std::string mirrors(HttpSession& session) const;

  const HubSettings& settings_;
  HubId id_;
};

}  // namespace lockstep
