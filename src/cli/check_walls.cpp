// lockstep check-walls: what blocks or endangers a port of a model with this build.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/text.h"
#include "cli/command.h"
#include "port/load_ports.h"
#include "port/walls.h"

namespace lockstep::cli {
namespace {

struct WallsOptions {
  std::string model;
  std::vector<std::string> custom_architectures;
  bool json = false;
};

constexpr int kNone = 0, kWarnings = 1, kBlocked = 2;

int status_of(const std::vector<port::Wall>& walls) {
  int status = kNone;
  for (const port::Wall& wall : walls) {
    const bool blocks = wall.level == port::Wall::Level::kBlock;
    status = std::max(status, blocks ? kBlocked : kWarnings);
  }
  return status;
}

void print_json(const std::string& model, const std::vector<port::Wall>& walls) {
  nlohmann::json findings = nlohmann::json::array();
  for (const port::Wall& wall : walls) {
    findings.push_back({{"level", wall.level == port::Wall::Level::kBlock ? "block" : "warn"},
                        {"code", wall.code},
                        {"message", wall.message},
                        {"evidence", wall.evidence},
                        {"way_out", wall.way_out}});
  }
  const nlohmann::json document = {
      {"hf_id", model}, {"exit_code", status_of(walls)}, {"findings", findings}};
  fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_text(const std::string& model, const std::vector<port::Wall>& walls) {
  size_t n_blocks = 0;
  for (const port::Wall& wall : walls) {
    const bool blocks = wall.level == port::Wall::Level::kBlock;
    n_blocks += blocks ? 1 : 0;
    fmt::print("{} [{}] {}\n", blocks ? "BLOCK" : "WARN", wall.code, wall.message);
    print_wrapped("      evidence: ", wall.evidence);
    print_wrapped("      way out:  ", wall.way_out);
  }
  fmt::print("{}: {}, {}\n", model, counted(n_blocks, "wall"),
             counted(walls.size() - n_blocks, "warning"));
  fmt::print("next: {}\n",
             n_blocks == 0 ? fmt::format("lockstep plan {}", model)
                           : std::string("take a way out, then run lockstep check-walls again"));
}

int check(const WallsOptions& options) {
  Registry registry;
  for (const std::string& folder : options.custom_architectures) {
    port::load_port(registry, folder, log_info);
  }
  const port::ModelFacts facts = port::ModelFacts::survey(options.model);
  const std::vector<port::Wall> walls = port::find_walls(facts, registry);
  if (options.json) {
    print_json(options.model, walls);
  } else {
    print_text(options.model, walls);
  }
  return status_of(walls);
}

}  // namespace

void add_check_walls(CLI::App& app, Action& action) {
  auto options = std::make_shared<WallsOptions>();
  CLI::App* command =
      add_command(app, "check-walls", "What blocks or endangers a port, with the way out",
                  "lockstep check-walls org/name");
  command->add_option("MODEL", options->model, "folder in Hugging Face layout, or a Hub id")
      ->required();
  command
      ->add_option("--custom-architectures", options->custom_architectures,
                   "folder of a port; may be given more than once")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return check(*options); };
  });
}

}  // namespace lockstep::cli
