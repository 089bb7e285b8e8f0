// The two names that the Hub gives contents: sha256 of large files, git's blob id of the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace lockstep {

class ContentHash {
 public:
  enum class Kind { kSha256, kGitBlob };

  /// git's id covers the size as well: sha1 of "blob <size>\0" and the contents.
  ContentHash(Kind kind, uint64_t size);
  ~ContentHash();
  ContentHash(ContentHash&&) noexcept;
  ContentHash& operator=(ContentHash&&) noexcept;

  void add(std::span<const std::byte> bytes);
  /// Lower-case hexadecimal. Nothing can be added afterwards.
  std::string finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
