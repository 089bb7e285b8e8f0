// Attributes of a graph node: a short list of named constants.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lockstep {

class Attrs {
 public:
  using Value =
      std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

  void set(std::string name, Value value);
  bool has(std::string_view name) const noexcept;

  /// Throw kInvalidArgument naming the attribute when it is absent or of another type; the forms
  /// with a fallback only when it is of another type. get_float accepts an integer.
  int64_t get_int(std::string_view name) const;
  int64_t get_int(std::string_view name, int64_t fallback) const;
  double get_float(std::string_view name) const;
  double get_float(std::string_view name, double fallback) const;
  const std::string& get_string(std::string_view name) const;
  std::string_view get_string(std::string_view name, std::string_view fallback) const;
  std::span<const int64_t> get_ints(std::string_view name) const;
  std::span<const double> get_floats(std::string_view name) const;

  const std::vector<std::pair<std::string, Value>>& all() const noexcept { return values_; }

 private:
  const Value* find(std::string_view name) const noexcept;
  std::vector<std::pair<std::string, Value>> values_;
};

/// "eps=1e-06 style=half".
std::string to_string(const Attrs& attrs);

}  // namespace lockstep
