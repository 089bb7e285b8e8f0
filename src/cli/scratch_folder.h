// A folder for what a command computes on the way, removed at its end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "lockstep/error.h"

namespace lockstep::cli {

class ScratchFolder {
 public:
  /// Throws kUnavailable where no folder can be made.
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      throw Error(ErrorCode::kUnavailable, pattern + ": cannot be created", "check TMPDIR");
    }
    path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  /// Not made yet.
  std::filesystem::path dump() const { return path_ / "dump"; }

 private:
  std::filesystem::path path_;
};

}  // namespace lockstep::cli
