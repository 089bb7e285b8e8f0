#include "port/audit_port.h"

#include <fmt/format.h>

#include <optional>

#include "lockstep/error.h"
#include "port/loaded_port.h"
#include "port/model_facts.h"
#include "port/port_record.h"
#include "port/port_state.h"

namespace lockstep::port {
namespace fs = std::filesystem;

std::string model_of_port(const fs::path& port_folder) {
  if (const auto gates = read_state(port_folder).gates; gates && !gates->model.empty()) {
    return gates->model;
  }
  // "- model: `org/name`"
  const std::string card = read_record(port_folder, "card");
  constexpr std::string_view kLabel = "model: `";
  const size_t at = card.find(kLabel);
  if (at == std::string::npos) return "";
  const size_t begin = at + kLabel.size();
  const size_t end = card.find_first_of("`\n", begin);
  return end == std::string::npos || card[end] != '`' ? "" : card.substr(begin, end - begin);
}

AuditReport audit_port(const fs::path& port_folder, const std::string& model) {
  const PortFolder port = PortFolder::open(port_folder);
  const std::string name = model.empty() ? model_of_port(port.folder) : model;
  if (name.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: nothing says which model it is for", port.folder.string()),
                "name it: --model MODEL");
  }
  const LoadedPort loaded = load_architecture(port);
  const ModelFacts facts = ModelFacts::open(name);
  const Checkpoint headers = facts.headers();
  const Trace traced = trace(*loaded.architecture, facts.config, headers, DType::kFloat32);
  std::optional<DonorReport> donor;
  if (fs::exists(port.folder / "deltas.json")) donor = read_deltas(port.folder / "deltas.json");
  return audit({port, facts.config, traced, donor ? &*donor : nullptr});
}

}  // namespace lockstep::port
