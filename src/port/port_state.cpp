#include "port/port_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/file.h"
#include "hub/content_hash.h"
#include "lockstep/error.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

constexpr int kVersion = 1;

std::string sha256(const std::string& text) {
  ContentHash hash(ContentHash::Kind::kSha256, text.size());
  hash.add(std::as_bytes(std::span(text)));
  return hash.finish();
}

fs::path state_file(const fs::path& port_folder) {
  return port_folder / ".lockstep" / "state.json";
}

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

}  // namespace

std::string model_hash(const ConfigFile& config, std::span<const TensorEntry> tensors) {
  std::vector<std::string> lines;
  for (const TensorEntry& entry : tensors) {
    lines.push_back(
        fmt::format("{} {} {}", entry.name, dtype_name(entry.dtype), fmt::join(entry.shape, ",")));
  }
  std::ranges::sort(lines);
  return sha256(fmt::format("{}\n{}", config.text(), fmt::join(lines, "\n")));
}

std::map<std::string, std::string> file_hashes(const PortFolder& port) {
  std::map<std::string, std::string> hashes;
  for (const fs::path& source : port.sources) {
    hashes[source.lexically_relative(port.folder).string()] = sha256(read_text_file(source));
  }
  return hashes;
}

PortState read_state(const fs::path& port_folder) {
  const fs::path file = state_file(port_folder);
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return {};
  const nlohmann::json document =
      nlohmann::json::parse(read_text_file(file), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || document.value("version", nlohmann::json()) != kVersion) return {};
  PortState state;
  if (const auto gates = document.find("gates"); gates != document.end() && gates->is_object()) {
    state.gates = {text_of(*gates, "model"),   text_of(*gates, "phase"),
                   text_of(*gates, "overall"), text_of(*gates, "first_failing_gate"),
                   text_of(*gates, "port"),    text_of(*gates, "model_hash")};
  }
  if (const auto files = document.find("files"); files != document.end() && files->is_object()) {
    for (const auto& [name, hash] : files->items()) {
      if (hash.is_string()) state.files[name] = hash;
    }
  }
  return state;
}

void write_state(const fs::path& port_folder, const PortState& state) {
  nlohmann::json document = {{"version", kVersion}, {"files", state.files}};
  if (state.gates) {
    document["gates"] = {
        {"model", state.gates->model},     {"phase", state.gates->phase},
        {"overall", state.gates->overall}, {"first_failing_gate", state.gates->first_failing_gate},
        {"port", state.gates->port_hash},  {"model_hash", state.gates->model_hash}};
  }
  const fs::path file = state_file(port_folder);
  std::error_code error;
  if (fs::create_directories(file.parent_path(), error)) {
    AtomicFile ignore(file.parent_path() / ".gitignore");
    ignore.write("*\n");
    ignore.commit();
  }
  if (error) {
    throw Error(ErrorCode::kUnavailable, fmt::format("{}: cannot be made: {}",
                                                     file.parent_path().string(), error.message()));
  }
  AtomicFile out(file);
  out.write(document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  out.commit();
}

std::string gates_notice(const fs::path& folder, const std::string& model, const ConfigFile& config,
                         std::span<const TensorEntry> tensors) {
  std::error_code ignored;
  if (!fs::is_regular_file(folder / "arch.cpp", ignored)) return "";
  const PortFolder port = PortFolder::open(folder);
  const std::optional<GatesState> gates = read_state(port.folder).gates;
  std::string why;
  if (!gates) {
    why = "have not been run";
  } else if (gates->port_hash != port.content_hash()) {
    why = "were run before its sources changed";
  } else if (gates->model_hash != model_hash(config, tensors)) {
    why = "were run on another model";
  } else if (!gates->passed()) {
    why = fmt::format("failed at {}", gates->first_failing_gate);
  } else {
    return "";
  }
  return fmt::format("{}: the gates {}: lockstep gates {} --port-dir {}", port.slug, why, model,
                     folder.string());
}

}  // namespace lockstep::port
