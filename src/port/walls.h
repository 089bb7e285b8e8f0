// What blocks or endangers a port with this build, each with a stable code, evidence and a way out.
#pragma once

#include <string>
#include <vector>

#include "port/model_facts.h"
#include "runtime/registry.h"

namespace lockstep::port {

struct Wall {
  enum class Level { kWarn, kBlock };
  Level level;
  std::string code;      // "custom_code"
  std::string message;   // one sentence
  std::string evidence;  // key = value, or a tensor's name
  std::string way_out;   // what a person can do
};

/// In the order of the codes' list in docs/porting.md. What this build has ops for is no wall.
std::vector<Wall> find_walls(const ModelFacts& facts, const Registry& registry);

}  // namespace lockstep::port
