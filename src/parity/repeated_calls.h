// Which call of a module in one recording is which in another, where it is called more than once.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "base/thread_pool.h"
#include "parity/recording.h"

namespace lockstep::parity {

/// The port's number of each of the reference's calls, by path. Only paths whose calls come in
/// another order on the two sides are listed: the reference goes through a set for some models
/// (Gemma 3's rotary embedding, once a layer type), so that its order differs between runs.
/// Told by content: all calls of a path agree in that order, and do not in the order recorded.
std::map<std::string, std::map<int, int>> reordered_calls(const Run& reference, const Run& port,
                                                          ThreadPool& pool);

}  // namespace lockstep::parity
