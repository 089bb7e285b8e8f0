// A port compiled, loaded and told apart from what is registered.
#pragma once

#include <string>

#include "port/port_folder.h"
#include "runtime/registry.h"

namespace lockstep::port {

struct LoadedPort {
  BuiltPort built;
  const LockstepArchitecture* architecture;  // never unloaded
};

/// Compiles where needed, loads, and finds the architecture that the plug-in registers. Throws as
/// build_port() and Registry::load_ports(), and kFailedPrecondition for a plug-in that registers
/// none, or several.
LoadedPort load_architecture(const PortFolder& port);

}  // namespace lockstep::port
