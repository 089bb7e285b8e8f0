// A lock that processes of one machine share.
#include "base/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "lockstep/error.h"

namespace lockstep {

FileLock::FileLock(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::create_directories(path.parent_path(), ignored);
  // Group-writable, so that users who share a cache wait for each other.
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664);
  if (fd_ < 0) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("{}: cannot be created: {}", path.string(),
                            std::generic_category().message(errno)),
                "check the permissions of the folder");
  }
  // A file system without locks is used without: what is written appears whole either way.
  while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
  }
}

FileLock::~FileLock() { ::close(fd_); }

}  // namespace lockstep
