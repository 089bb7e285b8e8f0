// What a model on the Hub consists of, as its API says (https://huggingface.co/docs/hub/api).
#include "hub/hub_listing.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>

#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace dom = simdjson::dom;

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

HubFile read_file(const dom::element& element) {
  HubFile file;
  std::string_view path, etag;
  if (element["rfilename"].get(path) != simdjson::SUCCESS) return file;
  file.path = path;
  dom::element large;
  const bool is_large = element["lfs"].get(large) == simdjson::SUCCESS && large.is_object();
  const dom::element& source = is_large ? large : element;
  file.known = source["size"].get(file.size) == simdjson::SUCCESS &&
               source[is_large ? "sha256" : "blobId"].get(etag) == simdjson::SUCCESS &&
               is_hub_name(etag);
  if (file.known) file.etag = etag;
  return file;
}

}  // namespace

std::optional<ContentHash::Kind> HubFile::hash_kind() const {
  if (is_hex(etag, 64)) return ContentHash::Kind::kSha256;
  if (is_hex(etag, 40)) return ContentHash::Kind::kGitBlob;
  return std::nullopt;
}

const HubFile* HubListing::find(std::string_view path) const {
  const auto found = std::lower_bound(
      files.begin(), files.end(), path,
      [](const HubFile& file, std::string_view wanted) { return file.path < wanted; });
  return found == files.end() || found->path != path ? nullptr : &*found;
}

HubListing parse_listing(std::string_view json, const HubId& id, const std::string& source) {
  const auto fail = [&](const std::string& found) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected the Hub's description of a model from {}, found {}",
                            id.text(), source, found),
                "check that HF_ENDPOINT is the address of a Hub");
  };
  dom::parser parser;
  dom::element root;
  if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS || !root.is_object()) {
    fail("no JSON object");
  }
  HubListing listing;
  listing.id = id;
  std::string_view commit;
  if (root["sha"].get(commit) != simdjson::SUCCESS || !is_hub_name(commit)) fail("no commit");
  listing.commit = commit;
  dom::array siblings;
  if (root["siblings"].get(siblings) != simdjson::SUCCESS) fail("no list of files");
  for (const dom::element element : siblings) {
    HubFile file = read_file(element);
    if (!stays_inside(file.path)) fail("a file named " + quote_text(file.path));
    listing.files.push_back(std::move(file));
  }
  std::sort(listing.files.begin(), listing.files.end(),
            [](const HubFile& a, const HubFile& b) { return a.path < b.path; });
  return listing;
}

}  // namespace lockstep
