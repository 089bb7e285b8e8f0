// What a port of a model would be: where it runs, in what type, how far it is verified, from which
// donor. Defaults are stated, for a person to veto.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "port/delta.h"
#include "port/walls.h"

namespace lockstep::port {

struct PlanRequest {
  std::string model;
  int tier = 0;            // of lockstep verify; 0: the deepest that this machine can do
  std::string dtype;       // empty: what most weights are stored as
  std::string start_from;  // a donor's slug; empty: the nearest
  int64_t context = 4096, batch = 1;
  uint64_t memory = 0;  // of one device, in bytes; 0: this machine's
  int devices = 0;      // 0: as many as are needed
  std::string python;   // as find_python() takes it
};

struct Plan {
  std::string model, class_name;
  std::string registered;   // the slug of a class that needs no port; then nothing below is filled
  std::vector<Wall> walls;  // those that block

  double parameters = 0;
  std::string dtype;
  uint64_t weight_bytes = 0, cache_bytes = 0, memory = 0;
  bool knows_cache = false;  // no donor could be traced otherwise
  int64_t context = 0, batch = 0;
  int devices = 0;
  bool devices_fit = true;  // false: fewer were asked for than are needed
  bool has_experts = false;
  std::vector<std::string> siblings;  // quantised models of the same name on the Hub
  std::string siblings_note;          // why none were looked for; else empty
  int tier = 0;
  bool reference_fits = false;  // in float32 on this machine
  std::string hardware;

  std::vector<DonorReport> donors;        // the nearest first
  size_t donor = 0;                       // the one chosen, in `donors`
  std::string compared;                   // what deltas are from
  std::vector<std::string> not_compared;  // and what they are not from, with why

  const DonorReport& chosen() const { return donors.at(donor); }
  bool is_blocked() const { return !walls.empty(); }
  /// Three structural deltas or fewer.
  bool is_good_donor() const { return chosen().n_structural() <= 3; }

  /// Distribution, quantisation, validation, hardware and donor in one paragraph.
  std::string paragraph() const;
  /// What to do now, in one sentence.
  std::string route() const;
  /// The section `plan` of PORT.md.
  std::string record() const;
  /// The command that comes next.
  std::string next() const;
};

/// Throws as ModelFacts::open() and find_walls(); kNotFound for an unknown donor, naming the
/// nearest and all; kInvalidArgument for a value that no plan can have. `progress` gets a line for
/// each step that takes long.
Plan make_plan(const PlanRequest& request, const Registry& registry,
               const std::function<void(const std::string&)>& progress);

/// ceil(bytes / (memory x 0.6)), at least 1. `memory` is above 0.
int devices_for(uint64_t bytes, uint64_t memory);

}  // namespace lockstep::port
