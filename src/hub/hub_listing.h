// What a model on the Hub consists of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/content_hash.h"
#include "hub/hub_id.h"

namespace lockstep {

struct HubFile {
  std::string path;  // inside the repository, `/` between folders
  uint64_t size = 0;
  std::string etag;    // what the cache calls the contents
  bool known = false;  // size and etag are; else complete() asks for them

  /// What `etag` is a hash of: sha256 (64 digits), git's blob id (40), or nothing that is checked.
  std::optional<ContentHash::Kind> hash_kind() const;
};

struct HubListing {
  HubId id;
  std::string commit;
  std::vector<HubFile> files;  // sorted by path

  const HubFile* find(std::string_view path) const;
};

/// `json`: what the API says of the model, from `source` (a URL to be shown). Names that would
/// leave a folder are refused; sizes and hashes that are missing or odd leave a file unknown.
/// Throws kInvalidArgument naming id, source and what was found.
HubListing parse_listing(std::string_view json, const HubId& id, const std::string& source);

}  // namespace lockstep
