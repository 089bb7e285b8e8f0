// lockstep bench: measuring.
#include "cli/bench.h"

namespace lockstep::cli {

void add_bench(CLI::App& app, Action& action) {
  CLI::App* command = add_command(app, "bench", "Measure a server under load",
                                  "lockstep bench serve --base-url http://localhost:8000");
  command->require_subcommand(1);
  add_bench_serve(*command, action);
}

}  // namespace lockstep::cli
