// lockstep list-archs: what this program can run.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/command.h"
#include "port/load_ports.h"
#include "runtime/registry.h"

namespace lockstep::cli {
namespace {

struct ListOptions {
  std::string match;
  std::vector<std::string> custom_architectures;
  bool json = false;
};

int list(const ListOptions& options) {
  Registry registry;
  for (const std::string& folder : options.custom_architectures) {
    port::load_port(registry, folder, log_info);
  }
  nlohmann::json found = nlohmann::json::array();
  for (const Registry::Entry& entry : registry.entries()) {
    const LockstepArchitecture& a = *entry.architecture;
    if (!options.match.empty() && options.match != a.class_name) continue;
    found.push_back({{"class", a.class_name}, {"slug", a.slug}, {"origin", entry.origin}});
    if (!options.json) fmt::print("{}\t{}\n", a.class_name, a.slug);
  }
  if (options.json) fmt::print("{}\n", found.dump());
  return options.match.empty() || !found.empty() ? 0 : 1;
}

}  // namespace

void add_list_archs(CLI::App& app, Action& action) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* command = add_command(app, "list-archs", "Registered architectures, class and slug",
                                  "lockstep list-archs --match LlamaForCausalLM");
  command->add_option("--match", options->match, "one class name; status 1 when not registered")
      ->type_name("CLASS");
  command
      ->add_option("--custom-architectures", options->custom_architectures,
                   "folder of a port, compiled where needed")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return list(*options); };
  });
}

}  // namespace lockstep::cli
