#include "cli/served_gate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "hub/checkpoint.h"
#include "parity/served.h"

namespace lockstep::cli {
namespace {

using Status = port::Gate::Status;
using Kind = parity::ServedPosition::Outcome;

std::string lines_of(const parity::ServedReport& report) {
  std::string text;
  for (const parity::ServedPosition& position : report.positions) {
    text += fmt::format("\n{} {} after {}: {}{}{}", position.part, position.prompt,
                        counted(static_cast<uint64_t>(position.length), "token"),
                        parity::outcome_name(position.outcome), position.reason.empty() ? "" : ", ",
                        position.reason);
  }
  return text;
}

}  // namespace

port::Gate served_gate(const port::GateRun& run, const std::string& slug,
                       const client::Target& target, const std::string& reference) {
  port::Gate gate{"logits_multi", Status::kPass, "", ""};
  const std::string name = slug.empty() ? run.slug : slug;
  if (name.empty()) {
    gate.status = Status::kSkip;
    gate.detail = "needs import";
    return gate;
  }
  client::ApiClient api(target);
  // Nobody there is no answer about the port.
  const client::Answer health = api.try_get("/v1/models");
  if (health.http.status == 0) throw client::to_error(health.http);
  const parity::Recording recording = parity::read_recording(reference);
  parity::ServedOptions options;
  options.dtype = run.dtype;
  parity::ServedTokens tokens(nullptr);
  const parity::ServedReport report = parity::compare_served(api, name, recording, options, tokens);
  gate.detail = fmt::format("{} as {}: {} of {} compared", report.url, name, report.n_compared(),
                            counted(report.positions.size(), "position"));
  if (report.outcome == parity::Outcome::kPass) {
    gate.detail += ", none differs" + lines_of(report);
    return gate;
  }
  gate.status = Status::kFail;
  const parity::ServedPosition* first = report.first_difference();
  if (first == nullptr) {
    gate.detail += "; that is no answer" + lines_of(report);
    gate.next = fmt::format("lockstep serve --model {} --custom-architectures {} --port N",
                            run.report.model, run.report.port_dir);
    return gate;
  }
  gate.detail += fmt::format("; differs from {} on: {}{}",
                             counted(static_cast<uint64_t>(first->length), "token"),
                             parity::suspect_of(first->length), lines_of(report));
  gate.next = fmt::format("lockstep isolate {} --reference {} --custom-architectures {}",
                          run.report.model, reference, run.report.port_dir);
  return gate;
}

}  // namespace lockstep::cli
