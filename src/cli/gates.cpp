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
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

using port::Gate;

struct GatesOptions {
  std::string model, port_dir, phase = "preflight", slug, dtype, reference, json_out;
  int port = 0;
  bool json = false;
};

constexpr size_t kNameWidth = 16, kStatusWidth = 4, kWidth = 100;

// A line cut where words end; a word that is longer than the line stays whole.
std::vector<std::string> wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, newline - begin);
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    while (line.size() > width) {
      size_t cut = line.rfind(' ', width);
      if (cut == std::string::npos || cut <= indent) cut = line.find(' ', width);
      if (cut == std::string::npos) break;
      lines.push_back(line.substr(0, cut));
      line = std::string(indent + 2, ' ') + line.substr(cut + 1);
    }
    lines.push_back(line);
    begin = newline + 1;
  }
  if (lines.empty()) lines.emplace_back();
  return lines;
}

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
  constexpr size_t kIndent = kNameWidth + 1 + kStatusWidth + 2;
  std::vector<std::string> lines = wrapped(gate.detail, kWidth - kIndent);
  if (!gate.next.empty()) {
    for (const std::string& line : wrapped("next: " + gate.next, kWidth - kIndent)) {
      lines.push_back(line);
    }
  }
  fmt::print("{:<{}} ", gate.name, kNameWidth);
  fmt::print(style_of(gate.status), "{}", port::status_name(gate.status));
  fmt::print("  {}\n", lines.front());
  for (size_t i = 1; i < lines.size(); ++i) fmt::print("{:{}}{}\n", "", kIndent, lines[i]);
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
  if (options.port != 0) {
    throw Error(ErrorCode::kUnimplemented, "--port: this build probes no server",
                "compare with a recording instead: --reference REF");
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
  if (options.phase == "verify") {
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
  command->add_option("--port", options->port, "a server to probe")->type_name("N");
  command->add_option("--json-out", options->json_out, "write the JSON document to a file")
      ->type_name("F");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return gates(*options); };
  });
}

}  // namespace lockstep::cli
