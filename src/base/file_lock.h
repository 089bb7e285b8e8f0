// A lock that processes of one machine share: flock on a file, as Python's filelock takes it.
#pragma once

#include <filesystem>

namespace lockstep {

class FileLock {
 public:
  /// Creates `path` and its folders where needed, and waits until nobody else holds it. The file
  /// stays. Throws kUnavailable naming `path` when it cannot be made.
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace lockstep
