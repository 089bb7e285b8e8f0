// The Python recorder, reference/record.py, run in the user's own environment.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace lockstep::cli {

/// What is recorded, as `lockstep reference` takes it.
struct ReferenceFlags {
  std::string model, output, taps, layers, device, python;
  std::vector<std::string> dtypes, attentions, prompts, chats, ids;
  std::vector<std::pair<std::string, std::string>> ordered;  // the three kinds, as they were given
  int steps = 0;
  bool taps_given = false, detail = false, trust = false, self_test = false, json = false;
};

/// Records, with progress on stderr; returns what the recorder says at its end ("message", ...).
/// Nothing is left behind when it fails. Throws kNotFound without a Python that has what it takes,
/// kFailedPrecondition in the recorder's words, kResourceExhausted, kUnavailable, kCancelled.
nlohmann::json run_recorder(const ReferenceFlags& flags);

}  // namespace lockstep::cli
