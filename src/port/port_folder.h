// A port's folder, and its plug-in: compiled when its content changed, else taken as it was.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lockstep::port {

struct PortFolder {
  std::filesystem::path folder;  // absolute
  std::string slug;              // the folder's name
  /// *.cpp and *.h of the folder and the folders in it, sorted; tests/ and hidden ones left out.
  std::vector<std::filesystem::path> sources;

  /// Throws kNotFound for no folder or one without arch.cpp, naming the ports inside it if any.
  static PortFolder open(const std::filesystem::path& folder);
  /// Of sources and their names: changes whenever what is compiled changes.
  std::string content_hash() const;
};

struct BuiltPort {
  std::filesystem::path library;  // <slug>.so, alone in its folder
  bool was_built;                 // false: this content was compiled before
  double seconds;                 // of the compiler
  std::string messages;           // the compiler's warnings, in the user's files
};

/// The plug-in of this content, SDK and compiler, where it was compiled before.
std::optional<BuiltPort> find_built(const PortFolder& port);

/// Compiles arch.cpp (which includes the rest) against this program's SDK with $CXX, else c++, and
/// keeps the result in the port's `.lockstep`, or in the user's cache where the port cannot be
/// written to. Two processes that build at once compile once. Throws kFailedPrecondition with the
/// compiler's own messages, in the user's files, and for a source outside the folder; kNotFound
/// without a compiler or an SDK.
BuiltPort build_port(const PortFolder& port);

}  // namespace lockstep::port
