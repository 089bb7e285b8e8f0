// The user's Python, and the files that are installed beside this program.
#pragma once

#include <filesystem>
#include <string>

namespace lockstep {

/// A Python with torch, transformers and safetensors: `named` alone where it is not empty, else
/// $LOCKSTEP_PYTHON alone, else an active environment's, then python3 and python. Nothing that
/// takes long is imported. Throws kNotFound saying what was tried and what each lacks; kCancelled.
std::string find_python(const std::string& named);

/// `relative` ("reference/record.py") below $LOCKSTEP_SHARE, else below share/lockstep where it was
/// installed, else in the source tree that this program was built in. Throws kNotFound.
std::filesystem::path find_shared_file(const std::string& relative);

}  // namespace lockstep
