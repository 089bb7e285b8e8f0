// What ports are compiled with: this program's own headers, and the system's compiler.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lockstep::port {

/// The folder that holds lockstep/lockstep.h and lockstep/archs/<slug>.h: `include` beside the
/// program's `bin`, of an installation as of a build tree. Throws kNotFound naming it.
std::filesystem::path find_sdk();

/// The compiler and its own arguments: $CXX, which may have several words, else c++. The first is a
/// path. Throws kNotFound naming what was looked for.
std::vector<std::string> find_compiler();

/// Changes with every header below `sdk` and with the compiler's arguments or program.
std::string tools_hash(const std::filesystem::path& sdk, const std::vector<std::string>& compiler);

}  // namespace lockstep::port
