// A file that is filled over several runs and takes its name when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

namespace lockstep {

/// Bytes are appended to `path`, which is kept when the process ends half way; move_to() gives the
/// file its final name. For one owner at a time.
class PartialFile {
 public:
  /// Opens or creates; a file that is there already is continued. Throws kUnavailable.
  explicit PartialFile(std::filesystem::path path);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  uint64_t size() const noexcept { return size_; }
  /// Calls `use` with all bytes there are, in order. Throws kUnavailable.
  void read(const std::function<void(std::span<const std::byte>)>& use) const;
  /// Throws kResourceExhausted when the disk is full, kUnavailable on other failures.
  void append(std::span<const std::byte> bytes);
  void truncate();
  /// Brings the bytes to the disk, then renames. Nothing may be written afterwards.
  void move_to(const std::filesystem::path& path);
  /// Takes the file away.
  void remove() noexcept;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace lockstep
