// Another program run without a shell, line by line, ended together with this one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

struct ChildResult {
  int pid = 0;
  int status = 0;  // what it exited with
  int signal = 0;  // what ended it, or 0
  bool cancelled = false;
  bool ok() const noexcept { return signal == 0 && status == 0; }
};

enum class ChildOutput { kInherited, kLines };

/// Runs `arguments` (the first is a path, passed on as it is) with stdin closed, and hands on each
/// line that it writes to stderr; with kLines those of stdout as well, with kInherited stdout is
/// this program's. Waits until it ends. SIGINT, SIGTERM and SIGHUP that arrive meanwhile go to the
/// child as SIGINT and set `cancelled`; a child that is still there five seconds later, or at the
/// second signal, is killed. It dies with this process. Throws kNotFound naming the program when
/// it cannot be started, kResourceExhausted when no process can be made.
ChildResult run_child(const std::vector<std::string>& arguments, ChildOutput output,
                      const std::function<void(std::string_view)>& on_line);

/// The file that a shell would run for `name`: itself when it holds a slash and can be run, else
/// the first of that name on PATH.
std::optional<std::string> find_program(const std::string& name);

}  // namespace lockstep
