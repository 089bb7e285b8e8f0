#include "cli/run_to_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "lockstep/error.h"
#include "port/port_folder.h"
#include "port/port_state.h"
#include "port/run_record.h"

namespace lockstep::cli {
namespace fs = std::filesystem;
namespace {

// The folder of the port that runs the model; nothing where it is registered.
std::optional<port::PortFolder> port_of(const ModelOptions& options) {
  std::error_code ignored;
  for (const std::string& folder : options.custom_architectures) {
    if (fs::is_regular_file(fs::path(folder) / "arch.cpp", ignored)) {
      return port::PortFolder::open(folder);
    }
  }
  return std::nullopt;
}

std::optional<fs::path> history_folder(const std::optional<port::PortFolder>& port,
                                       const Model& model) {
  if (!port) return port::model_history_folder(model.files.folder);
  // Where its plug-in lies: in the port, or in the user's cache where the port cannot be written to.
  const fs::path beside = port->folder / ".lockstep";
  if (::access(beside.c_str(), W_OK) == 0) return beside;
  return port::model_history_folder(port->folder);
}

}  // namespace

port::RunToRun run_to_run(const ModelOptions& options, const Model& model,
                          const std::string& recording, const FoundVerdict& found,
                          const std::vector<std::string>& order) {
  try {
    const std::optional<port::PortFolder> port = port_of(options);
    const std::optional<fs::path> folder = history_folder(port, model);
    if (!folder) return {};
    const std::string code = port ? port->content_hash() : port::program_hash();
    const port::KeptVerdict now = {
        found.command,
        port::recording_hash(recording) + " " + options.dtype,
        code + " " + port::model_hash(model.files.config, model.files.checkpoint.tensors()),
        found.verdict,
        found.first,
        found.cause,
        port::record_time()};
    return port::keep_verdict(*folder, now, order);
  } catch (const std::exception& error) {
    log_warn(fmt::format("the verdict is not kept for the next run: {}", error.what()));
    return {};
  }
}

std::vector<std::string> execution_order(const Graph& graph) {
  std::vector<std::string> order;
  for (const Tap& tap : list_taps(graph, "*", TapInputs::kNo)) order.push_back(tap.path);
  order.emplace_back("logits");
  return order;
}

nlohmann::json run_to_run_json(const port::RunToRun& run) {
  return {{"move", move_name(run.move)},
          {"first_before", run.before ? run.before->first : ""},
          {"text", run.text}};
}

}  // namespace lockstep::cli
