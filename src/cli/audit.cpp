// lockstep audit: what a port's text claims, against its traced graph.
#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/command.h"
#include "port/audit_port.h"

namespace lockstep::cli {
namespace {

using port::Claim;

struct AuditOptions {
  std::string port_dir, model;
  bool all = false, json = false;
};

void print_json(const AuditOptions& options, const port::AuditReport& report) {
  nlohmann::ordered_json claims = nlohmann::ordered_json::array();
  for (const Claim& claim : report.claims) {
    claims.push_back({{"file", claim.file},
                      {"line", claim.line},
                      {"verdict", port::verdict_name(claim.verdict)},
                      {"words", claim.words},
                      {"evidence", claim.evidence}});
  }
  const nlohmann::ordered_json document = {{"port_dir", options.port_dir},
                                           {"holds", report.holds()},
                                           {"hits", report.claims.size()},
                                           {"lies", report.count(Claim::Verdict::kLie)},
                                           {"stale", report.count(Claim::Verdict::kStale)},
                                           {"content_hash", report.content_hash},
                                           {"claims", claims}};
  fmt::print("{}\n",
             document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_claim(const Claim& claim) {
  const bool is_bad = claim.verdict != Claim::Verdict::kOk;
  const bool is_coloured = is_bad && isatty(STDOUT_FILENO) != 0;
  fmt::print(is_coloured ? fg(fmt::terminal_color::red) : fmt::text_style(), "{:<5}",
             port::verdict_name(claim.verdict));
  fmt::print(" {}:{}: {}\n      {}\n", claim.file, claim.line, quote_text(claim.words),
             claim.evidence);
}

int audit(const AuditOptions& options) {
  const port::AuditReport report = port::audit_port(options.port_dir, options.model);
  if (options.json) {
    print_json(options, report);
    return report.holds() ? 0 : 1;
  }
  for (const Claim& claim : report.claims) {
    if (options.all || claim.verdict != Claim::Verdict::kOk) print_claim(claim);
  }
  fmt::print("{}: {}: {}\n", options.port_dir, report.holds() ? "PASS" : "FAIL", report.summary());
  fmt::print("next: lockstep {}\n",
             report.holds()
                 ? fmt::format("gates {} --port-dir {}",
                               options.model.empty() ? port::model_of_port(options.port_dir)
                                                     : options.model,
                               options.port_dir)
                 : fmt::format("audit {}, after the text is true", options.port_dir));
  return report.holds() ? 0 : 1;
}

}  // namespace

void add_audit(CLI::App& app, Action& action) {
  auto options = std::make_shared<AuditOptions>();
  CLI::App* command =
      add_command(app, "audit", "Hold a port's comments and PORT.md against its traced graph",
                  "lockstep audit ports/my_model");
  command->add_option("PORT_DIR", options->port_dir, "folder of a port")->required();
  command->add_option("--model", options->model, "the model it is for (default: as it says)")
      ->type_name("MODEL");
  command->add_flag("--all", options->all, "claims that hold as well");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return audit(*options); };
  });
}

}  // namespace lockstep::cli
