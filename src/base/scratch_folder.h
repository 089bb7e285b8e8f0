// A folder of a process's own that nobody keeps.
#pragma once

#include <filesystem>
#include <string_view>

namespace lockstep {

/// Made below TMPDIR, removed with all that is in it when destroyed.
class ScratchFolder {
 public:
  /// `name` begins the folder's. Throws kUnavailable.
  explicit ScratchFolder(std::string_view name);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace lockstep
