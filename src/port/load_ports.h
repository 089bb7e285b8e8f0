// What --custom-architectures means: ports as sources, compiled where needed, or as plug-ins.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "runtime/registry.h"

namespace lockstep::port {

/// Loads the port in `folder`: compiled from arch.cpp where there is one (unless this content was
/// compiled before), else its *.so. `say` gets a line when the compiler runs, with its warnings,
/// and one for each class that was registered already: the port's is taken. Throws as
/// PortFolder::open, build_port and Registry::load_ports.
void load_port(Registry& registry, const std::filesystem::path& folder,
               const std::function<void(const std::string&)>& say);

}  // namespace lockstep::port
