// What is remembered of a port between commands: `.lockstep/state.json` in its folder, for nobody
// to commit. Losing it costs a run of `lockstep gates`.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "hub/config.h"
#include "port/port_folder.h"
#include "tensor/safetensors.h"

namespace lockstep::port {

/// The last answer of the gates, and on what.
struct GatesState {
  std::string model;    // as the user named it
  std::string phase;    // "preflight" or "verify"
  std::string overall;  // "PASS", "WARN" or "FAIL"
  std::string first_failing_gate;
  std::string port_hash, model_hash;

  bool passed() const { return overall == "PASS" || overall == "WARN"; }
};

struct PortState {
  std::optional<GatesState> gates;
  /// Of the last run that PORT.md has: file of the port -> hash of its contents.
  std::map<std::string, std::string> files;
};

/// Changes with config.json and with names, types and shapes of the tensors, in any order.
std::string model_hash(const ConfigFile& config, std::span<const TensorEntry> tensors);
/// Of each source and tests apart, by its path in the folder.
std::map<std::string, std::string> file_hashes(const PortFolder& port);

/// A state that is absent or cannot be read is an empty one.
PortState read_state(const std::filesystem::path& port_folder);
/// Atomic. Throws as AtomicFile.
void write_state(const std::filesystem::path& port_folder, const PortState& state);

/// One line where the gates have not passed on the present content of the port in `folder` and of
/// the model; empty where they have, and for a folder without arch.cpp.
std::string gates_notice(const std::filesystem::path& folder, const std::string& model,
                         const ConfigFile& config, std::span<const TensorEntry> tensors);

}  // namespace lockstep::port
