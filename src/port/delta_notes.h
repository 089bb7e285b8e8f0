// What a port's sources say of each delta: still to do, done, or not applicable.
//
//   TODO(delta 3)                                      open, anywhere in a source
//   // Delta 3 (modeling_x.py:120): what was done      done
//   // Delta 3: N/A (modeling_x.py:120): why           not applicable
//
// The place is the reference's file and line. Where config and headers alone were compared it may
// be `config.json: KEY` with a key that config.json has, or a stored tensor's name with * for
// numbers.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "port/delta.h"
#include "tensor/safetensors.h"

namespace lockstep::port {

struct DeltaNote {
  enum class Kind { kTodo, kDone, kNotApplicable };
  Kind kind = Kind::kTodo;
  int number = 0;
  std::string place;  // as written; empty for a TODO
  std::string text;
  std::string at;  // "smollm3.h:41"
};

/// The notes of one source, in its order; `file` is how messages name it.
std::vector<DeltaNote> find_delta_notes(std::string_view source, const std::string& file);

struct DeltaState {
  enum class Status { kOpen, kDone, kNotApplicable, kConfigured };
  int number = 0;
  Status status = Status::kOpen;
  std::string place;  // of the reference, or what stands for it
  std::string why;    // open: because of what; else the note's text
  std::string at;     // where the sources say so; empty where they do not
};

/// What a note's place may name.
struct DeltaEvidence {
  std::set<std::string> config_keys;  // dotted, all that config.json has
  std::set<std::string> unread_keys;  // those that nobody read when the port was traced
  std::span<const TensorEntry> tensors;
};

/// Every delta of `report` and every number that notes mention besides, by number. A cosmetic delta
/// without a note is configured when all of its keys were read, else open.
std::vector<DeltaState> judge_deltas(const DonorReport& report, const std::vector<DeltaNote>& notes,
                                     const DeltaEvidence& evidence);

}  // namespace lockstep::port
