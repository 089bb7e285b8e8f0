// The gates before any serving: cheap checks of a port against a model's config.json and headers.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "port/audit.h"
#include "port/delta.h"
#include "port/delta_notes.h"
#include "tensor/dtype.h"

namespace lockstep::port {

struct Gate {
  enum class Status { kPass, kFail, kWarn, kSkip };
  std::string name;
  Status status = Status::kPass;
  std::string detail;  // may have several lines
  std::string next;    // what to do about a failure or warning
};
std::string_view status_name(Gate::Status status);

struct GateReport {
  std::string model, port_dir, phase;
  std::vector<Gate> gates;  // in the order of docs/porting.md

  /// FAIL with any failure, else WARN with any warning, else PASS.
  Gate::Status overall() const;
  const Gate* first_failing() const;
  /// `gates --json-out`'s document.
  std::string json() const;
};

struct GateOptions {
  std::string model;
  std::filesystem::path port_dir;
  std::string phase = "preflight";
  std::string slug;            // what the port must register; empty: anything
  std::optional<DType> dtype;  // between modules; none: the checkpoint's own
};

/// What the gates found, and what PORT.md is filled from.
struct GateRun {
  GateReport report;
  std::string port_hash, model_hash;  // model_hash is empty where the headers cannot be read
  std::string class_name, model_type;
  std::string slug;        // that the port registers; empty where it does not load
  std::string dtype;       // between modules
  std::string checkpoint;  // files, tensors, parameters
  std::optional<DonorReport> donor;
  std::vector<DeltaState> deltas;
  std::vector<std::string> read_keys, unread_keys;  // of config.json, by the traced port
  std::vector<DeltaNote> key_notes;  // unread keys that the sources give a reason for
  std::optional<AuditReport> audit;
};

/// The preflight gates: walls, checkpoint_meta, arch_name, encoding, config_keys, deltas, import,
/// dry_build, keys, weights_format, docstrings. Never throws for what a gate is there to find.
/// Throws kNotFound for a model or a port that is not there, kInvalidArgument for a config.json or
/// deltas.json that cannot be read and for a port of another slug than options.slug, and
/// kUnavailable when the Hub does not answer.
GateRun run_gates(const GateOptions& options);

/// Keeps the answer for gates_notice(), and fills PORT.md: card (where it is empty), config,
/// deltas, gates, attestation.
void record_gates(const GateRun& run);

}  // namespace lockstep::port
