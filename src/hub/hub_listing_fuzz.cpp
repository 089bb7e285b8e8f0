// Any bytes as the Hub's answers: an Error, or names that stay inside their folder.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "hub/hub_listing.h"
#include "hub/shard_index.h"
#include "lockstep/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const lockstep::HubListing listing = lockstep::parse_listing(text, {"org/name"}, "fuzz");
    if (!lockstep::is_hub_name(listing.commit)) std::abort();
    for (const lockstep::HubFile& file : listing.files) {
      if (!lockstep::stays_inside(file.path)) std::abort();
      if (file.known != lockstep::is_hub_name(file.etag)) std::abort();
      if (listing.find(file.path) == nullptr) std::abort();
    }
  } catch (const lockstep::Error&) {
  }
  try {
    for (const std::string& shard : lockstep::parse_shard_index(text, "fuzz").shards()) {
      if (!lockstep::stays_inside(shard)) std::abort();
    }
  } catch (const lockstep::Error&) {
  }
  return 0;
}
