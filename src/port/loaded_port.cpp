#include "port/loaded_port.h"

#include <fmt/format.h>

#include "lockstep/error.h"

namespace lockstep::port {

LoadedPort load_architecture(const PortFolder& port) {
  LoadedPort loaded{build_port(port), nullptr};
  Registry registry;
  registry.load_ports(loaded.built.library.parent_path());
  size_t n = 0;
  for (const Registry::Entry& entry : registry.entries()) {
    if (entry.origin != loaded.built.library.string()) continue;
    loaded.architecture = entry.architecture;
    ++n;
  }
  if (n != 1) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected one architecture, found {}", port.folder.string(), n),
                "arch.cpp has one LOCKSTEP_ARCHITECTURE(slug, class, prefix, model) and one "
                "LOCKSTEP_PORT(slug)");
  }
  return loaded;
}

}  // namespace lockstep::port
