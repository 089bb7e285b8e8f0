// lockstep build: compiles a port's folder to its plug-in.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "lockstep/error.h"
#include "port/port_folder.h"

namespace lockstep::cli {
namespace {

constexpr int kDoesNotCompile = 1;

struct BuildOptions {
  std::string port_dir;
  bool json = false;
};

void print(const nlohmann::json& document) {
  fmt::print("{}\n", document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

int refuse(const BuildOptions& options, const Error& error) {
  if (options.json) print({{"port_dir", options.port_dir}, {"messages", error.message()}});
  fmt::print(stderr, "lockstep: {}\n  {}\n", error.message(), error.hint());
  return kDoesNotCompile;
}

int build(const BuildOptions& options) {
  const port::PortFolder port = port::PortFolder::open(options.port_dir);
  port::BuiltPort built;
  try {
    built = port::build_port(port);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kFailedPrecondition) throw;
    return refuse(options, error);
  }
  fmt::print(stderr, "{}", built.messages);
  if (options.json) {
    print({{"port_dir", options.port_dir},
           {"slug", port.slug},
           {"library", built.library.string()},
           {"was_built", built.was_built},
           {"seconds", built.seconds},
           {"messages", built.messages}});
    return 0;
  }
  fmt::print("{}: {}\n", built.library.string(),
             built.was_built ? fmt::format("compiled in {:.1f} s", built.seconds)
                             : "this content was compiled before");
  fmt::print("next: lockstep gates MODEL --port-dir {}\n", options.port_dir);
  return 0;
}

}  // namespace

void add_build(CLI::App& app, Action& action) {
  auto options = std::make_shared<BuildOptions>();
  CLI::App* command = add_command(app, "build", "Compile a port's folder, where it changed",
                                  "lockstep build ports/my_model");
  command->add_option("PORT_DIR", options->port_dir, "folder of a port: arch.cpp and the rest")
      ->required();
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return build(*options); };
  });
}

}  // namespace lockstep::cli
