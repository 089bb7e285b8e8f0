// The safetensors file format: an 8-byte little-endian header length, a JSON header, raw data.
// https://github.com/huggingface/safetensors (format section of its README)
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "tensor/view.h"

namespace lockstep {

/// One tensor of a header. `begin` and `end` count bytes from the start of the data section.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // in order of `begin`
  std::map<std::string, std::string> metadata;
  uint64_t data_offset = 0;  // where the data section starts in the file
};

/// Parses the leading bytes of a file of `file_size` bytes (`bytes` may be the header alone, as an
/// HTTP range gives it). Checks everything: header length (at most 100 MB and within the file),
/// JSON, dtypes, shapes, offsets in order without gap or overlap and up to the file's end, sizes
/// against shapes, duplicate names. Throws kInvalidArgument naming `file`, the tensor, expected
/// and found, and kUnimplemented for a type of the format that DType lacks (F4, F8_E8M0, ...).
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes, uint64_t file_size,
                                           const std::string& file);

/// A memory-mapped safetensors file.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::filesystem::path& path);
  const std::vector<TensorEntry>& tensors() const noexcept { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const noexcept { return header_.metadata; }
  const std::filesystem::path& path() const noexcept { return map_.path(); }
  /// nullptr when there is no such tensor.
  const TensorEntry* find(std::string_view name) const noexcept;
  /// A read-only view on the mapped bytes; its address need not be aligned to the dtype.
  View view(const TensorEntry& entry) const;
  /// As above, by name. Throws kNotFound naming file and tensor.
  View view(std::string_view name) const;

 private:
  SafetensorsFile(MappedFile map, SafetensorsHeader header);
  MappedFile map_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

/// Writes a file whose tensors are declared first and filled in any order, in parts, so that
/// nothing has to fit in memory. The file appears on commit(), whole, or never.
class SafetensorsWriter {
 public:
  explicit SafetensorsWriter(std::filesystem::path path);
  ~SafetensorsWriter();
  /// Throws kInvalidArgument for a duplicate name or after begin().
  void declare(const std::string& name, DType dtype, std::span<const int64_t> shape);
  void set_metadata(std::map<std::string, std::string> metadata);
  /// Writes the header; the data section follows.
  void begin();
  /// Bytes of `name` from `offset` on. Throws kOutOfRange beyond the declared size.
  void write(std::string_view name, uint64_t offset, std::span<const std::byte> bytes);
  /// Throws kFailedPrecondition when a declared byte was never written.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
