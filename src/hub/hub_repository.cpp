// One model on the Hub, over its API (https://huggingface.co/docs/hub/api) and /resolve/.
#include "hub/hub_repository.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>

#include "base/text.h"
#include "hub/retry.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace dom = simdjson::dom;

constexpr size_t kMaxListingBytes = 64u << 20;
constexpr size_t kMaxMirrors = 3;

// `"abc"` and `W/"abc"` -> abc, as huggingface_hub names blobs.
std::string plain_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  return etag;
}

// The Hub's own words, safe to show; without the token, should the server repeat it.
std::string said(const HttpResponse& response, const std::string& token) {
  const std::string* text = response.header("x-error-message");
  if (text == nullptr) return "";
  std::string out = quote_text(*text);
  for (size_t at; !token.empty() && (at = out.find(token)) != std::string::npos;) {
    out.replace(at, token.size(), "***");
  }
  return ": " + out;
}

}  // namespace

HubRepository::HubRepository(const HubSettings& settings, HubId id)
    : settings_(settings), id_(std::move(id)) {}

std::string HubRepository::what(const HubFile& file) const { return id_.text() + ": " + file.path; }

std::string HubRepository::url(const HubListing& listing, const HubFile& file) const {
  return fmt::format("{}/{}/resolve/{}/{}", settings_.endpoint, id_.name,
                     url_encoded(listing.commit), url_encoded(file.path, "/"));
}

std::string HubRepository::fetch(HttpSession& session, const std::string& url,
                                 const std::string& what, size_t max_bytes,
                                 const std::string& file) const {
  HttpRequest request;
  request.url = url;
  // A misspelt path is taken for an id: where there is no network, that is to be said soon.
  Retry retry(session, what, file.empty() ? 2 : settings_.attempts);
  for (;;) {
    std::string text;
    bool too_large = false;
    const HttpResponse response =
        session.perform(request, [&](const HttpResponse&, std::span<const std::byte> bytes) {
          too_large = bytes.size() > max_bytes - text.size();
          if (!too_large) text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return !too_large;
        });
    if (too_large) {
      throw Error(ErrorCode::kOutOfRange,
                  fmt::format("{}: expected at most {} bytes, found more at {}", what, max_bytes,
                              response.shown_url));
    }
    if (response.ok()) return text;
    if (!response.is_passing()) refuse(session, response, file);
    retry.wait(response);
  }
}

HubListing HubRepository::list(HttpSession& session) const {
  const std::string url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", settings_.endpoint,
                                      id_.name, url_encoded(id_.revision));
  const std::string text = fetch(session, url, id_.text(), kMaxListingBytes, "");
  return parse_listing(text, id_, shown_url(url));
}

void HubRepository::complete(HttpSession& session, const HubListing& listing, HubFile& file) const {
  if (file.known) return;
  HttpRequest request;
  request.url = url(listing, file);
  request.method = HttpRequest::Method::kHead;
  // The endpoint knows both; a storage host would name the contents by its own means.
  request.redirects = HttpRequest::Redirects::kSameOrigin;
  Retry retry(session, what(file));
  for (;;) {
    const HttpResponse response = session.perform(
        request, [](const HttpResponse&, std::span<const std::byte>) { return true; });
    const bool answered =
        response.failure.empty() && response.status >= 200 && response.status < 400;
    if (!answered) {
      if (!response.is_passing()) refuse(session, response, file.path);
      retry.wait(response);
      continue;
    }
    const std::string* etag = response.header("x-linked-etag");
    if (etag == nullptr) etag = response.header("etag");
    auto size = response.number("x-linked-size");
    if (!size.has_value()) size = response.number("content-length");
    if (etag == nullptr || !size.has_value() || !is_hub_name(plain_etag(*etag))) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}: expected an etag and a size from {}, found none", what(file),
                              response.shown_url),
                  "check that HF_ENDPOINT is the address of a Hub");
    }
    file.etag = plain_etag(*etag);
    file.size = *size;
    file.known = true;
    return;
  }
}

std::string HubRepository::read_text(HttpSession& session, const HubListing& listing, HubFile file,
                                     size_t max_bytes) const {
  complete(session, listing, file);
  std::string text = fetch(session, url(listing, file), what(file), max_bytes, file.path);
  if (text.size() != file.size) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected {} bytes, found {}", what(file), file.size, text.size()),
                "run it again; if it stays so, the Hub's description is wrong");
  }
  if (const auto kind = file.hash_kind()) {
    ContentHash hash(*kind, file.size);
    hash.add(std::as_bytes(std::span(text)));
    if (const std::string found = hash.finish(); found != file.etag) {
      throw Error(ErrorCode::kFailedPrecondition,
                  fmt::format("{}: expected the hash {}, found {}", what(file), file.etag, found),
                  "run it again; if it stays so, a proxy changes what it passes on");
    }
  }
  return text;
}

HubRepository::Bytes HubRepository::read_range(HttpSession& session, const HubListing& listing,
                                               const HubFile& file, uint64_t begin,
                                               uint64_t end) const {
  HttpRequest request;
  request.url = url(listing, file);
  request.begin = begin;
  request.end = end;
  Retry retry(session, what(file));
  for (;;) {
    Bytes out;
    const uint64_t wanted = end - begin;
    uint64_t skip = 0;
    const HttpResponse response =
        session.perform(request, [&](const HttpResponse& so_far, std::span<const std::byte> bytes) {
          // 200 is the whole file.
          if (so_far.body_bytes == 0) skip = so_far.status == 200 ? begin : 0;
          const size_t skipped = static_cast<size_t>(std::min<uint64_t>(skip, bytes.size()));
          skip -= skipped;
          bytes = bytes.subspan(skipped);
          const size_t n = static_cast<size_t>(std::min(wanted - out.bytes.size(), bytes.size()));
          out.bytes.append(reinterpret_cast<const char*>(bytes.data()), n);
          return out.bytes.size() < wanted;
        });
    if (!response.ok()) {
      if (!response.is_passing()) refuse(session, response, file.path);
      retry.wait(response);
      continue;
    }
    const auto range = response.range();
    std::optional<uint64_t> total = range.has_value() ? range->total : std::nullopt;
    if (!total.has_value() && file.known) total = file.size;
    const bool fits = range.has_value() && total.has_value() &&
                      range->begin == (response.status == 206 ? begin : 0) &&
                      out.bytes.size() == std::min(wanted, *total - std::min(begin, *total));
    if (!fits) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}: expected bytes {}-{} from {}, found {} bytes of another range",
                              what(file), begin, end - 1, response.shown_url, out.bytes.size()),
                  "a proxy between here and the Hub changes ranges");
    }
    if (file.known && *total != file.size) {
      throw Error(ErrorCode::kFailedPrecondition,
                  fmt::format("{}: expected {} bytes, found a file of {} at {}", what(file),
                              file.size, *total, response.shown_url),
                  "run it again; if it stays so, the Hub's description is wrong");
    }
    out.file_size = *total;
    return out;
  }
}

std::optional<std::vector<HubHit>> HubRepository::search(HttpSession& session) const {
  const std::string name = id_.name.substr(id_.name.find('/') + 1);
  HttpRequest request;
  request.url =
      fmt::format("{}/api/models?search={}&limit=50", settings_.endpoint, url_encoded(name));
  std::string text;
  const HttpResponse response =
      session.perform(request, [&](const HttpResponse&, std::span<const std::byte> bytes) {
        text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return text.size() < kMaxListingBytes;
      });
  dom::parser parser;
  dom::array models;
  if (!response.ok() || parser.parse(text).get(models) != simdjson::SUCCESS) return std::nullopt;
  std::vector<HubHit> hits;
  for (const dom::element model : models) {
    std::string_view id;
    if (model["id"].get(id) != simdjson::SUCCESS || id == id_.name || !HubId::parse(id)) continue;
    HubHit hit{std::string(id)};
    // "auto" or "manual" where it is gated.
    if (model["gated"].get(hit.is_gated) != simdjson::SUCCESS) hit.is_gated = true;
    if (model["private"].get(hit.is_private) != simdjson::SUCCESS) hit.is_private = false;
    hits.push_back(std::move(hit));
  }
  return hits;
}

std::string HubRepository::mirrors(HttpSession& session) const {
  const std::string name = id_.name.substr(id_.name.find('/') + 1);
  const auto lower = [](std::string_view part) {
    std::string out(part);
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return out;
  };
  std::vector<std::string> found;
  for (const HubHit& hit : search(session).value_or(std::vector<HubHit>())) {
    if (hit.is_gated || hit.is_private) continue;
    if (lower(hit.id.substr(hit.id.find('/') + 1)) == lower(name)) found.push_back(hit.id);
  }
  if (found.size() > kMaxMirrors) found.resize(kMaxMirrors);
  return found.empty()
             ? ""
             : fmt::format("; of the same name and not gated: {}", fmt::join(found, ", "));
}

void HubRepository::refuse(HttpSession& session, const HttpResponse& response,
                           const std::string& file) const {
  const std::string* header = response.header("x-error-code");
  const std::string code = header == nullptr ? "" : *header;
  const std::string reason = said(response, settings_.token);
  const bool has_token = !settings_.token.empty();
  const std::string token =
      has_token ? "the token of " + settings_.token_source : std::string("no token");
  const std::string page = fmt::format("{}/{}", settings_.endpoint, id_.name);
  const bool is_denied = response.status == 401 || response.status == 403;
  if (code == "GatedRepo" || (response.status == 403 && code.empty())) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: gated: expected a token that was granted access, found {}{}",
                            id_.text(), token, reason),
                fmt::format("accept its terms at {}, {}{}", page,
                            has_token ? "and check whose token it is" : "then set HF_TOKEN",
                            mirrors(session)));
  }
  if (code == "RevisionNotFound") {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected revision {} on the Hub, found none{}", id_.name,
                            quote_text(id_.revision), reason),
                fmt::format("check the branch, tag or commit at {}/tree/main", page));
  }
  if (code == "EntryNotFound" || (!file.empty() && response.status == 404 && code.empty())) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected {} on the Hub, found no such file", id_.text(), file),
                fmt::format("{}/tree/{} lists what there is", page, id_.revision));
  }
  if (has_token && response.status == 401 && code != "RepoNotFound") {
    throw Error(
        ErrorCode::kFailedPrecondition,
        fmt::format("{}: {} is refused by {}{}", id_.text(), token, settings_.endpoint, reason),
        "make a new one, or go without: unset HF_TOKEN, remove the token file");
  }
  if (is_denied || response.status == 404) {
    // Without a token the Hub answers the same for both, so as not to tell what there is.
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a model on {}, found none, or one that is private ({})",
                            id_.text(), settings_.endpoint, token),
                "check the spelling; for a private model set HF_TOKEN");
  }
  throw Error(ErrorCode::kUnavailable,
              fmt::format("{}: {}{}", file.empty() ? id_.text() : id_.text() + ": " + file,
                          describe(response), reason),
              "check HF_ENDPOINT and the connection");
}

}  // namespace lockstep
