// lockstep gates: the checks of a port before any serving.
#include "port/gates.h"

#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/file.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/position_gate.h"
#include "cli/served_gate.h"
#include "cli/server_options.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

using port::Gate;

struct GatesOptions {
  std::string model, port_dir, phase = "preflight", slug, dtype, reference, json_out;
  int port = 0;
  bool json = false;
};

fmt::text_style style_of(Gate::Status status) {
  if (isatty(STDOUT_FILENO) == 0) return {};
  switch (status) {
    case Gate::Status::kPass:
      return fg(fmt::terminal_color::green);
    case Gate::Status::kFail:
      return fg(fmt::terminal_color::red);
    case Gate::Status::kWarn:
      return fg(fmt::terminal_color::yellow);
    case Gate::Status::kSkip:
      break;
  }
  return {};
}

void print_gate(const Gate& gate) {
  std::string label = fmt::format("{:<16} {}  ", gate.name, port::status_name(gate.status));
  const size_t width = label.size();
  std::string text = gate.detail + (gate.next.empty() ? "" : "\nnext: " + gate.next);
  do {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string line = text.substr(0, end);
    text.erase(0, end + 1);
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    print_wrapped(label + std::string(indent, ' '), line.substr(indent));
    label.assign(width, ' ');
  } while (!text.empty());
}

void print_report(const port::GateReport& report) {
  for (const Gate& gate : report.gates) print_gate(gate);
  const Gate* first = report.first_failing();
  fmt::print("{} ({}): ", report.port_dir, report.phase);
  fmt::print(style_of(report.overall()), "{}", port::status_name(report.overall()));
  fmt::print("{}\n", first == nullptr ? "" : " at " + first->name);
  if (first != nullptr) {
    const bool is_command = first->next.starts_with("lockstep ");
    fmt::print("next: {}\n", is_command ? first->next
                                        : fmt::format("lockstep gates {} --port-dir {}, after {}",
                                                      report.model, report.port_dir, first->name));
  } else {
    fmt::print("next: lockstep verify {} --reference REF --custom-architectures {}\n", report.model,
               report.port_dir);
  }
}

void write_json(const std::string& file, const std::string& document) {
  AtomicFile out(file);
  out.write(document + "\n");
  out.commit();
}

void expect_usage(const GatesOptions& options) {
  if (options.port != 0 && options.phase != "verify") {
    throw Error(ErrorCode::kInvalidArgument, "--port: needs --phase verify");
  }
  if (options.phase == "verify" && options.reference.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--phase verify: expected --reference, found none",
                fmt::format("lockstep reference {} --output REF records one", options.model));
  }
  if (options.phase != "verify" && !options.reference.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--reference: needs --phase verify");
  }
}

int gates(const GatesOptions& options) {
  expect_usage(options);
  port::GateOptions asked{options.model, options.port_dir, options.phase, options.slug, {}};
  if (!options.dtype.empty()) asked.dtype = parse_activation_dtype("--dtype", options.dtype);
  port::GateRun run = port::run_gates(asked);
  if (options.phase == "verify" && options.port != 0) {
    const std::string key = api_key_or_environment("");
    run.report.gates.push_back(served_gate(
        run, options.slug, client::Target::local(options.port, key), options.reference));
  } else if (options.phase == "verify") {
    ModelOptions model;
    model.model = options.model;
    model.dtype = options.dtype;
    model.custom_architectures = {options.port_dir};
    model.quiet = true;
    run.report.gates.push_back(position_gate(run.report, model, options.reference));
  }
  // An answer that cannot be kept is an answer all the same.
  try {
    port::record_gates(run);
  } catch (const Error& error) {
    log_warn(fmt::format("not recorded: {}", error.message()));
  }
  const std::string document = run.report.json();
  if (!options.json_out.empty()) write_json(options.json_out, document);
  if (options.json) {
    fmt::print("{}\n", document);
  } else {
    print_report(run.report);
  }
  return run.report.overall() == Gate::Status::kFail ? 1 : 0;
}

}  // namespace

void add_gates(CLI::App& app, Action& action) {
  auto options = std::make_shared<GatesOptions>();
  CLI::App* command =
      add_command(app, "gates", "Check a port before it runs: PASS, FAIL, WARN or SKIP a gate",
                  "lockstep gates org/name --port-dir ports/my_model");
  command->add_option("MODEL", options->model, "folder in Hugging Face layout, or a Hub id")
      ->required();
  command->add_option("--port-dir", options->port_dir, "folder of the port")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--phase", options->phase,
                   "preflight, or verify: logits against a recording as well")
      ->check(CLI::IsMember({"preflight", "verify"}))
      ->capture_default_str();
  command->add_option("--reference", options->reference, "recording of the reference")
      ->type_name("REF");
  command->add_option("--slug", options->slug, "what the port must be registered as");
  command->add_option("--dtype", options->dtype, "float32 or bfloat16 between modules");
  command
      ->add_option("--port", options->port,
                   "with --phase verify: ask the server at this port, which serves the port")
      ->type_name("N");
  command->add_option("--json-out", options->json_out, "write the JSON document to a file")
      ->type_name("F");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return gates(*options); };
  });
}

}  // namespace lockstep::cli
