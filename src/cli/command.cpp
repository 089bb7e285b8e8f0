#include "cli/command.h"

#include <fmt/format.h>

namespace lockstep::cli {

CLI::App* add_command(CLI::App& app, const char* name, const char* description,
                      const char* example) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer(std::string("Example:\n  ") + example);
  return command;
}

void print_wrapped(const std::string& label, const std::string& text) {
  constexpr size_t kColumns = 100;
  std::string rest = text;
  for (char& c : rest) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  std::string before = label;
  const size_t width = kColumns - label.size();
  while (rest.size() > width) {
    size_t end = rest.rfind(' ', width);
    if (end == std::string::npos || end == 0) end = rest.find(' ', width);
    if (end == std::string::npos) break;
    fmt::print("{}{}\n", before, rest.substr(0, end));
    rest.erase(0, end + 1);
    before.assign(label.size(), ' ');
  }
  fmt::print("{}{}\n", before, rest);
}

}  // namespace lockstep::cli
