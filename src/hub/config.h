// config.json of a model, with a record of which keys were read.
// Both generations of keys are served under the newer names: `rope_theta`, `rope_scaling` and
// `torch_dtype` appear as `rope_parameters.*` and `dtype`, as transformers 5 resolves them
// (rope_keys.cpp has the rules), at the top and in `text_config`. The old names stay readable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

class ConfigFile {
 public:
  enum class Kind { kAbsent, kNull, kBool, kInt, kFloat, kString, kArray, kObject };

  /// Python's `Infinity`, `-Infinity`, `NaN` are accepted as numbers, as json.load does, and so is
  /// transformers' {"__float__": "Infinity"}. Throws kInvalidArgument naming `file`, with line,
  /// for anything but one JSON object of at most 4 MiB and 64 levels without duplicate keys.
  static ConfigFile parse(std::string_view json, std::string file);
  static ConfigFile load(const std::filesystem::path& path);

  ConfigFile(ConfigFile&&) noexcept;
  ConfigFile& operator=(ConfigFile&&) noexcept;
  ~ConfigFile();

  /// `path` is dotted: "rope_parameters.rope_theta", "layer_types.3". Every getter marks the key
  /// as read. They throw kNotFound when absent and kInvalidArgument when it is of another kind,
  /// naming file, key, expected and found. get_number accepts integers.
  Kind kind(std::string_view path) const;
  int64_t get_int(std::string_view path) const;
  double get_number(std::string_view path) const;
  bool get_bool(std::string_view path) const;
  const std::string& get_string(std::string_view path) const;
  size_t length(std::string_view path) const;  // of an array

  /// Keys nobody read, dotted, under the names the file uses, in its order. An object or array of
  /// which no part was read is one entry. Keys that never reach the computation are left out
  /// (transformers_version, use_cache, the token ids, initializer_range, ...: one short list).
  std::vector<std::string> unread() const;
  /// Keys that somebody asked for and that are not there, dotted, sorted.
  std::vector<std::string> missed() const;
  const std::string& file() const noexcept;
  /// The file's text, for reports.
  const std::string& text() const noexcept;

 private:
  struct Impl;
  explicit ConfigFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
