// Files: read-only memory maps, and writes that appear whole or not at all.
#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// strerror is not thread-safe; this is.
std::string reason(int error) { return std::generic_category().message(error); }

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void throw_open_error(const fs::path& path, int error) {
  if (error == ENOENT || error == ENOTDIR || error == ELOOP) {
    std::error_code ignored;
    const fs::path target = fs::read_symlink(path, ignored);
    if (!ignored) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{}: a link to {}, which cannot be followed: {}", path.string(),
                              target.string(), reason(error)),
                  "fetch the file again, or repair the link");
    }
    throw Error(ErrorCode::kNotFound, fmt::format("{}: {}", path.string(), reason(error)),
                "check the path");
  }
  throw Error(ErrorCode::kUnavailable,
              fmt::format("{}: cannot be opened for reading: {}", path.string(), reason(error)),
              error == EACCES ? "check the permissions of the file and its folders" : "");
}

[[noreturn]] void throw_write_error(const fs::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
              fmt::format("{}: cannot be written: {}", path.string(), reason(error)),
              full ? "free some space, or write elsewhere" : "");
}

fs::path temporary_name(const fs::path& path) {
  static std::atomic<unsigned> counter{0};
  fs::path temporary = path;
  temporary += fmt::format(".{}.{}.tmp", ::getpid(), counter.fetch_add(1));
  return temporary;
}

void write_all(int fd, const fs::path& path, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      throw_write_error(path, errno);
    }
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

}  // namespace

MappedFile MappedFile::open(const fs::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; it is refused below.
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) throw_open_error(path, errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) throw_open_error(path, errno);
  if (S_ISDIR(info.st_mode)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a file, found a directory", path.string()),
                "name a file inside it");
  }
  if (!S_ISREG(info.st_mode)) {
    throw Error(
        ErrorCode::kUnavailable,
        fmt::format("{}: expected a regular file, found a device, pipe or socket", path.string()),
        "copy its contents to a file first");
  }
  MappedFile file;
  file.path_ = path;
  file.size_ = static_cast<size_t>(info.st_size);
  if (file.size_ > 0) {
    void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (data == MAP_FAILED) {
      throw Error(ErrorCode::kUnavailable, fmt::format("{}: cannot map {} bytes: {}", path.string(),
                                                       info.st_size, reason(errno)));
    }
    file.data_ = static_cast<const std::byte*>(data);
  }
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)), temporary_(temporary_name(path_)) {
  fd_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ >= 0) return;
  const int error = errno;
  const bool missing = error == ENOENT || error == ENOTDIR;
  throw Error(missing ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
              fmt::format("{}: cannot be created: {}", path_.string(), reason(error)),
              missing ? "create the folder first" : "");
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write_at(end_, bytes);
  end_ += bytes.size();
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  if (fd_ < 0) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: written after commit", path_.string()));
  }
  write_all(fd_, path_, offset, bytes);
}

void AtomicFile::commit() {
  if (fd_ < 0) {
    throw Error(ErrorCode::kFailedPrecondition, fmt::format("{}: committed twice", path_.string()));
  }
  // Without it a crash after the rename could leave an empty file under the final name.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) throw_write_error(path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_write_error(path_, errno);
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) throw_write_error(path_, errno);
}

std::string read_text_file(const fs::path& path, size_t max_bytes) {
  const MappedFile file = MappedFile::open(path);
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() > max_bytes) {
    throw Error(ErrorCode::kOutOfRange,
                fmt::format("{}: expected at most {} bytes, found {}", path.string(), max_bytes,
                            bytes.size()),
                "check that this is the intended file");
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace lockstep
