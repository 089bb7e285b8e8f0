// Where the sources of a port and of what it inherits from lie.
#pragma once

#include <filesystem>
#include <vector>

#include "cli/model_options.h"

namespace lockstep::cli {

/// The port's own first, then the SDK's architectures and modules, where they are found.
std::vector<std::filesystem::path> source_folders(const ModelOptions& options);

}  // namespace lockstep::cli
