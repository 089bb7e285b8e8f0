// Where in a port's sources a module is called, found by reading them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace lockstep::parity {

/// "file:line" of the call that gives the value of tap `path`, in the first of `folders` that has
/// the class whose forward() calls it, or of a struct that the class's file names where it inherits
/// its forward(): the line where the member is called, for a value inside a module the line that
/// computes it, else the line where the class begins. Empty where no source has that class.
std::string source_line(const std::vector<std::filesystem::path>& folders, const Graph& graph,
                        const std::string& path);

}  // namespace lockstep::parity
