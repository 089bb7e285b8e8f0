// A port's folder, and its plug-in: compiled when its content changed, else taken as it was.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lockstep::port {

struct PortFolder {
  std::filesystem::path folder;                // absolute
  std::string slug;                            // the folder's name
  std::vector<std::filesystem::path> sources;  // *.cpp and *.h of the folder itself, sorted

  /// Throws kNotFound for no folder or one without arch.cpp, naming the ports inside it if any.
  static PortFolder open(const std::filesystem::path& folder);
  /// Of sources and their names: changes whenever what is compiled changes.
  std::string content_hash() const;
};

struct BuiltPort {
  std::filesystem::path library;  // <slug>.so, alone in its folder
  bool was_built;                 // false: this content was compiled before
  double seconds;                 // of the compiler
};

/// Compiles arch.cpp (which includes the rest) against this program's SDK. Throws
/// kFailedPrecondition with the compiler's own messages, in the user's files.
BuiltPort build_port(const PortFolder& port);

}  // namespace lockstep::port
