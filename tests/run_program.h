// Runs programs as a person does: through a shell, with status and output.
#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <string>

namespace lockstep::test {

struct Outcome {
  int status;
  std::string text;  // stdout and stderr
};

inline Outcome run_shell(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof(buffer), pipe)) text.append(buffer, n);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

/// `redirect` decides what of stderr joins stdout.
inline Outcome run_lockstep(const std::string& arguments, const char* redirect = "2>&1") {
  return run_shell(LOCKSTEP_BINARY_DIR "/bin/lockstep " + arguments + " " + redirect);
}

}  // namespace lockstep::test
