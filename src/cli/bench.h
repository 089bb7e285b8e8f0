// The parts of `lockstep bench`, one a subcommand.
#pragma once

#include "cli/command.h"

namespace lockstep::cli {

void add_bench_serve(CLI::App& bench, Action& action);

}  // namespace lockstep::cli
