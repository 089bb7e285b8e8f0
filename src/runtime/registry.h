// Which architectures this program knows: those compiled in, and ports loaded from folders.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "hub/config.h"
#include "lockstep/abi.h"

namespace lockstep {

class Registry {
 public:
  struct Entry {
    const LockstepArchitecture* architecture;
    std::string origin;  // "built in", or the port's file
  };

  /// The built-in ones.
  Registry();

  /// Loads every compiled port (*.so) in `folder`. A port takes precedence over a built-in
  /// architecture of its class name. Nothing is ever unloaded. Throws kNotFound when the folder
  /// holds none (naming ports in folders below it), kFailedPrecondition when a file is no port or
  /// was built for another version (naming both).
  void load_ports(const std::filesystem::path& folder);

  /// Forgets the architectures of `class_name`: what the program would say if it knew none.
  void leave_out(std::string_view class_name);

  /// The architecture of `class_name`, or nullptr.
  const LockstepArchitecture* find(std::string_view class_name) const;
  /// As config.json's `architectures` names it. Throws kNotFound naming file, class and what is
  /// registered.
  const LockstepArchitecture& resolve(const ConfigFile& config) const;

  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace lockstep
