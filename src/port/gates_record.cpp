// What the gates leave behind: the answer for later commands, and PORT.md's sections.
#include <fmt/format.h>

#include <algorithm>

#include "port/gates.h"
#include "port/port_record.h"
#include "port/port_state.h"
#include "port/run_record.h"

namespace lockstep::port {
namespace {

using Status = DeltaState::Status;

std::string card_text(const GateRun& run) {
  std::string text = fmt::format("- model: `{}`\n- class: {}\n", run.report.model, run.class_name);
  if (!run.model_type.empty()) text += fmt::format("- model_type: {}\n", run.model_type);
  if (!run.checkpoint.empty()) text += fmt::format("- checkpoint: {}\n", run.checkpoint);
  return text;
}

std::string config_text(const GateRun& run) {
  if (run.read_keys.empty() && run.unread_keys.empty()) return "";
  std::string text = "| key of config.json | wired |\n|---|---|\n";
  for (const std::string& key : run.read_keys) {
    text += fmt::format("| {} | read |\n", table_cell(key));
  }
  for (const std::string& key : run.unread_keys) {
    const auto note = std::ranges::find(run.key_notes, key, &DeltaNote::place);
    text += fmt::format("| {} | {} |\n", table_cell(key),
                        note == run.key_notes.end()
                            ? "**read by nobody**"
                            : table_cell(fmt::format("left out: {} ({})", note->text, note->at)));
  }
  return text;
}

std::string status_text(const DeltaState& state) {
  switch (state.status) {
    case Status::kOpen:
      return "**open**: " + state.why;
    case Status::kDone:
      return fmt::format("done in {}: {}", state.at, state.why);
    case Status::kNotApplicable:
      return fmt::format("N/A: {}", state.why);
    case Status::kConfigured:
      return state.why;
  }
  return "";
}

std::string deltas_text(const GateRun& run) {
  if (run.deltas.empty()) return run.donor ? "None.\n" : "";
  std::string text;
  if (run.donor) text = fmt::format("Against {} ({}).\n\n", run.donor->slug, run.donor->class_name);
  text +=
      "| # | kind | part | reference | donor | change | where | status |\n"
      "|---|---|---|---|---|---|---|---|\n";
  for (const DeltaState& state : run.deltas) {
    Delta delta;
    if (run.donor) {
      const auto at = std::ranges::find(run.donor->deltas, state.number, &Delta::number);
      if (at != run.donor->deltas.end()) delta = *at;
    }
    text += fmt::format(
        "| {} | {} | {} | {} | {} | {} | {} | {} |\n", state.number, delta_kind_name(delta.kind),
        table_cell(delta.part), table_cell(delta.reference), table_cell(delta.donor),
        table_cell(delta.change), table_cell(state.place), table_cell(status_text(state)));
  }
  return text;
}

std::string gates_text(const GateRun& run) {
  const GateReport& report = run.report;
  const Gate* first = report.first_failing();
  std::string text = fmt::format(
      "{} UTC, {}, content `{}`: **{}**{}\n\n| gate | status | detail |\n|---|---|---|\n",
      record_time(), report.phase, run.port_hash.substr(0, 12), status_name(report.overall()),
      first == nullptr ? "" : fmt::format(" at {}", first->name));
  for (const Gate& gate : report.gates) {
    text += fmt::format("| {} | {} | {} |\n", gate.name, status_name(gate.status),
                        table_cell(gate.detail));
  }
  return text;
}

std::string attestation_text(const GateRun& run) {
  const Gate* first = run.report.first_failing();
  if (first != nullptr) {
    return fmt::format("None: content `{}` fails at {}.\n", run.port_hash.substr(0, 12),
                       first->name);
  }
  return fmt::format("{} UTC: all gates ({}) hold on content `{}`. Audit: {}.\n", record_time(),
                     run.report.phase, run.port_hash.substr(0, 12),
                     run.audit ? run.audit->summary() : "not run");
}

}  // namespace

void record_gates(const GateRun& run) {
  const std::filesystem::path folder = run.report.port_dir;
  PortState state = read_state(folder);
  const Gate* first = run.report.first_failing();
  state.gates = GatesState{run.report.model,
                           run.report.phase,
                           std::string(status_name(run.report.overall())),
                           first == nullptr ? "" : first->name,
                           run.port_hash,
                           run.model_hash};
  write_state(folder, state);
  if (read_record(folder, "card").empty()) update_record(folder, "card", card_text(run));
  // What could not be found out this time stays as it was.
  const std::string config = config_text(run), deltas = deltas_text(run);
  if (!config.empty()) update_record(folder, "config", config);
  if (!deltas.empty()) update_record(folder, "deltas", deltas);
  update_record(folder, "gates", gates_text(run));
  update_record(folder, "attestation", attestation_text(run));
}

}  // namespace lockstep::port
