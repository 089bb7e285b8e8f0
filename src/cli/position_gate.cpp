#include "cli/position_gate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/pipelines.h"
#include "lockstep/error.h"
#include "parity/position_probe.h"

namespace lockstep::cli {
namespace {

using Status = port::Gate::Status;

std::string probe_line(const parity::PositionProbes& probes) {
  std::string text = probes.dtype + ":";
  for (const parity::PositionProbe& probe : probes.probes) {
    text += fmt::format(" {}{} {:.1e}", probe.length, probe.differs() ? " DIFFERS" : "", probe.g);
    if (probe.differs() && probe.reference_top != probe.port_top) {
      text += fmt::format(" (token {}, not {})", probe.port_top, probe.reference_top);
    }
    text += ",";
  }
  text.back() = ';';
  return text + fmt::format(" bar {:.1e}", probes.probes.front().bar);
}

}  // namespace

port::Gate position_gate(const port::GateReport& preflight, const ModelOptions& model,
                         const std::string& reference) {
  port::Gate gate{"logits_multi", Status::kPass, "", ""};
  for (const char* needed : {"import", "dry_build", "keys"}) {
    const auto at = std::ranges::find(preflight.gates, needed, &port::Gate::name);
    if (at->status == Status::kFail || at->status == Status::kSkip) {
      gate.status = Status::kSkip;
      gate.detail = fmt::format("needs {}", needed);
      return gate;
    }
  }
  const parity::Recording recording = parity::read_recording(reference);
  const Pipelines pipelines(model, recording);
  ThreadPool pool(model.threads);
  const auto all = parity::probe_positions(pipelines.all(), recording, pool);
  if (all.empty()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected logits of every token of a prompt, found none", reference),
        fmt::format("lockstep reference {} --output REF records them", model.model));
  }
  const parity::PositionProbe* first = nullptr;
  for (const parity::PositionProbes& probes : all) {
    gate.detail += (gate.detail.empty() ? "" : "\n") + probe_line(probes);
    const parity::PositionProbe* differs = probes.first();
    if (differs != nullptr && (first == nullptr || differs->length < first->length))
      first = differs;
  }
  if (first == nullptr) {
    gate.detail = fmt::format("no prefix differs\n{}", gate.detail);
    return gate;
  }
  gate.status = Status::kFail;
  gate.detail = fmt::format("differs from {} on: {}\n{}",
                            counted(static_cast<uint64_t>(first->length), "token"),
                            parity::suspect_of(first->length), gate.detail);
  gate.next = fmt::format("lockstep isolate {} --reference {} --custom-architectures {}",
                          model.model, reference, model.custom_architectures.front());
  return gate;
}

}  // namespace lockstep::cli
