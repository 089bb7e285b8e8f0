#include "port/load_ports.h"

#include <fmt/format.h>

#include "port/port_folder.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

bool has_plugin(const fs::path& folder) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".so") return true;
  }
  return false;
}

// The folder of the plug-in, compiled where needed.
fs::path folder_of_plugin(const fs::path& folder,
                          const std::function<void(const std::string&)>& say) {
  if (!fs::exists(folder / "arch.cpp") && has_plugin(folder)) return folder;
  const PortFolder port = PortFolder::open(folder);
  if (const auto built = find_built(port)) return built->library.parent_path();
  say(fmt::format("compiling {}", port.folder.string()));
  const BuiltPort built = build_port(port);
  if (!built.messages.empty()) say(built.messages);
  return built.library.parent_path();
}

}  // namespace

void load_port(Registry& registry, const fs::path& folder,
               const std::function<void(const std::string&)>& say) {
  const fs::path plugin = folder_of_plugin(folder, say);
  const Registry before = registry;
  registry.load_ports(plugin);
  for (const Registry::Entry& entry : registry.entries()) {
    const char* const name = entry.architecture->class_name;
    const LockstepArchitecture* const known = before.find(name);
    const bool is_replaced = known != nullptr && known != entry.architecture;
    if (is_replaced && registry.find(name) == entry.architecture) {
      say(fmt::format("{} is taken from the port {}, not from the registered {}", name,
                      folder.string(), known->slug));
    }
  }
}

}  // namespace lockstep::port
