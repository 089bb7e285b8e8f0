// One file of a model from the Hub into the cache: continued, checked, and then named.
#pragma once

#include <atomic>
#include <cstdint>

#include "hub/hub_cache.h"
#include "hub/hub_repository.h"

namespace lockstep {

/// What is still to come of `file`: 0 when its blob is there, less than its size when a part is.
uint64_t missing_bytes(const HubCache& cache, const HubFile& file);

/// Brings `file` into snapshots/<commit>/. It comes under <etag>.incomplete, which a later call
/// continues, and takes its name when size and hash are right, so that a file of a snapshot is
/// absent or whole. `n_bytes` counts what is there, on the way up and, when a part is given up,
/// down. Throws kFailedPrecondition for another size or hash than the Hub said.
void fetch_file(const HubRepository& repository, const HubCache& cache, HttpSession& session,
                const HubListing& listing, HubFile file, std::atomic<uint64_t>& n_bytes);

}  // namespace lockstep
