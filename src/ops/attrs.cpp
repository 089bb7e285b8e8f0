#include "ops/attrs.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/error.h"

namespace lockstep {
namespace {

template <class T>
constexpr std::string_view kTypeName = "list of floats";
template <>
constexpr std::string_view kTypeName<int64_t> = "int";
template <>
constexpr std::string_view kTypeName<double> = "float";
template <>
constexpr std::string_view kTypeName<std::string> = "string";
template <>
constexpr std::string_view kTypeName<std::vector<int64_t>> = "list of ints";

std::string_view type_name(const Attrs::Value& value) {
  return std::visit([]<class T>(const T&) { return kTypeName<T>; }, value);
}

template <class T>
const T& get(std::string_view name, const Attrs::Value* value) {
  if (value == nullptr) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("attribute {}: expected a {}, found none", name, kTypeName<T>));
  }
  const T* typed = std::get_if<T>(value);
  if (typed == nullptr) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("attribute {}: expected a {}, found a {}",
                                                         name, kTypeName<T>, type_name(*value)));
  }
  return *typed;
}

struct Printer {
  std::string operator()(int64_t value) const { return fmt::format("{}", value); }
  std::string operator()(double value) const { return fmt::format("{}", value); }
  std::string operator()(const std::string& value) const { return value; }
  template <class T>
  std::string operator()(const std::vector<T>& values) const {
    return fmt::format("[{}]", fmt::join(values, ","));
  }
};

}  // namespace

void Attrs::set(std::string name, Value value) {
  for (auto& [existing, old] : values_) {
    if (existing == name) {
      old = std::move(value);
      return;
    }
  }
  values_.emplace_back(std::move(name), std::move(value));
}

const Attrs::Value* Attrs::find(std::string_view name) const noexcept {
  const auto it = std::find_if(values_.begin(), values_.end(),
                               [&](const auto& entry) { return entry.first == name; });
  return it == values_.end() ? nullptr : &it->second;
}

bool Attrs::has(std::string_view name) const noexcept { return find(name) != nullptr; }

int64_t Attrs::get_int(std::string_view name) const { return get<int64_t>(name, find(name)); }

int64_t Attrs::get_int(std::string_view name, int64_t fallback) const {
  return has(name) ? get_int(name) : fallback;
}

double Attrs::get_float(std::string_view name) const {
  const Value* value = find(name);
  if (value != nullptr && std::holds_alternative<int64_t>(*value)) {
    return static_cast<double>(std::get<int64_t>(*value));
  }
  return get<double>(name, value);
}

double Attrs::get_float(std::string_view name, double fallback) const {
  return has(name) ? get_float(name) : fallback;
}

const std::string& Attrs::get_string(std::string_view name) const {
  return get<std::string>(name, find(name));
}

std::string_view Attrs::get_string(std::string_view name, std::string_view fallback) const {
  return has(name) ? std::string_view(get_string(name)) : fallback;
}

std::span<const int64_t> Attrs::get_ints(std::string_view name) const {
  return get<std::vector<int64_t>>(name, find(name));
}

std::span<const double> Attrs::get_floats(std::string_view name) const {
  return get<std::vector<double>>(name, find(name));
}

std::string to_string(const Attrs& attrs) {
  std::string text;
  for (const auto& [name, value] : attrs.all()) {
    if (!text.empty()) text += ' ';
    text += name;
    text += '=';
    text += std::visit(Printer{}, value);
  }
  return text;
}

}  // namespace lockstep
