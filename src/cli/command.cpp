#include "cli/command.h"

namespace lockstep::cli {

CLI::App* add_command(CLI::App& app, const char* name, const char* description,
                      const char* example) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer(std::string("Example:\n  ") + example);
  return command;
}

}  // namespace lockstep::cli
