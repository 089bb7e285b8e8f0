// A file that is filled over several runs.
#include "base/partial_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr size_t kBlockBytes = 1u << 20;

[[noreturn]] void fail(const std::filesystem::path& path, const char* what, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
              fmt::format("{}: cannot be {}: {}", path.string(), what,
                          std::generic_category().message(error)),
              full ? "free some space, or write elsewhere" : "check the permissions of the folder");
}

}  // namespace

PartialFile::PartialFile(std::filesystem::path path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) fail(path_, "created", errno);
  struct stat info {};
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    const int error = errno;
    ::close(fd_);
    fail(path_, "written", error);
  }
  size_ = static_cast<uint64_t>(info.st_size);
}

PartialFile::~PartialFile() { ::close(fd_); }

void PartialFile::read(const std::function<void(std::span<const std::byte>)>& use) const {
  std::vector<std::byte> block(kBlockBytes);
  for (uint64_t offset = 0; offset < size_;) {
    const ssize_t n = ::pread(fd_, block.data(), block.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(path_, "read", n < 0 ? errno : EIO);
    use(std::span(block).first(static_cast<size_t>(n)));
    offset += static_cast<uint64_t>(n);
  }
}

void PartialFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path_, "written", errno);
    size_ += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void PartialFile::truncate() {
  if (::ftruncate(fd_, 0) != 0) fail(path_, "emptied", errno);
  size_ = 0;
}

void PartialFile::move_to(const std::filesystem::path& path) {
  // Without it a crash after the rename could leave an empty file under the final name.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) fail(path_, "written", errno);
  if (::rename(path_.c_str(), path.c_str()) != 0) fail(path, "written", errno);
}

void PartialFile::remove() noexcept { ::unlink(path_.c_str()); }

}  // namespace lockstep
