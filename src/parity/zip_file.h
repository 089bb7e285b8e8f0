// Zip archives as numpy writes them (.npz): members stored or deflated, zip64 included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lockstep::parity {

struct ZipMember {
  std::string name;
  bool deflated = false;
  uint64_t size = 0;                 // unpacked
  std::span<const std::byte> bytes;  // as they lie in the archive
};

/// Reads the central directory. Throws kInvalidArgument naming `file` for anything broken,
/// encrypted or packed in another way.
std::vector<ZipMember> read_zip_directory(std::span<const std::byte> archive,
                                          const std::string& file);
/// Inflates a deflated member and checks its size.
std::vector<std::byte> inflate_member(const ZipMember& member, const std::string& file);

}  // namespace lockstep::parity
