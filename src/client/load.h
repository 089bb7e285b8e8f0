// Load on one server of the OpenAI API: requests that arrive at a rate, or so many at once, each a
// stream whose tokens are timed as they come. One thread drives all, so that the clock is one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client/api_client.h"
#include "client/target.h"

namespace lockstep::client {

/// One request: a text or a list of ids, and how many tokens are asked for.
struct LoadRequest {
  Json prompt;
  int64_t max_tokens = 0;
};

/// How requests arrive.
struct LoadLevel {
  enum class Kind : uint8_t { kOpen, kClosed };
  Kind kind = Kind::kClosed;
  /// kOpen: requests a second on average, by a Poisson process. kClosed: requests under way.
  double value = 1;
  /// "2 req/s", "8 at once".
  std::string label() const;
};

enum class Route : uint8_t { kCompletions, kChat };

/// How one server wants to be asked.
struct LoadServer {
  Target target;
  std::string model;
  Route route = Route::kCompletions;
  double temperature = 0;
  /// Fields that not every server knows; learn_dialect() drops what is refused.
  bool ignores_eos = true, reports_usage = true;
};

/// What came of one request. Times in seconds; `ttft` and `e2e` from the moment it was due.
struct RequestTimes {
  std::string failure;  // empty: it ended as a stream should
  double start = 0;     // since the level began: when it was due
  double lag = 0;       // sent so much later
  double ttft = 0, e2e = 0;
  std::vector<double> gaps;  // between parts with text
  int64_t prompt_tokens = 0, output_tokens = 0;
  /// Who counted: "usage", "timings" (llama-server's), or "parts": nobody, a part is taken for one.
  std::string counted_by;
};

struct LevelTimes {
  std::vector<RequestTimes> requests;
  double seconds = 0;  // from the first that was due to the last that ended
};

/// Sends one short request and leaves out what the server refuses until it answers. Returns the
/// prompt tokens that it counted, 0 where it does not say. Throws as ApiClient::post().
int64_t learn_dialect(LoadServer& server, const LoadRequest& request);

/// Sends all of `requests` in order; `seed` gives the arrival times. A request that fails is a row
/// with its reason. Throws for faults of this machine alone.
LevelTimes run_level(const LoadServer& server, const LoadLevel& level,
                     const std::vector<LoadRequest>& requests, uint64_t seed);

}  // namespace lockstep::client
