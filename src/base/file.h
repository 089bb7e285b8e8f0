// Files: read-only memory maps, and writes that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

/// A read-only map of a whole file. Movable; unmaps when destroyed. An empty file has no bytes.
class MappedFile {
 public:
  /// Throws kNotFound (no such file, a directory, a dangling link) or kUnavailable, naming `path`.
  static MappedFile open(const std::filesystem::path& path);

  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes to a temporary sibling and renames it over `path` on commit(); without commit() the
/// temporary is removed and `path` stays as it was.
class AtomicFile {
 public:
  /// Throws kNotFound when the folder does not exist, kUnavailable when it cannot be written to.
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  /// Appends. Throws kResourceExhausted when the disk is full, kUnavailable on other failures.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Writes at `offset`, growing the file where needed; does not move the append position.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  uint64_t end_ = 0;
};

/// The whole of a small text file (at most `max_bytes`). Throws as MappedFile::open, and
/// kOutOfRange when it is larger.
std::string read_text_file(const std::filesystem::path& path, size_t max_bytes = 64u << 20);

}  // namespace lockstep
