// config.json as a port reads it: Hugging Face's keys, the reference's defaults, checked kinds.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/builder.h"

namespace lockstep {

/// An absent key and a null both take `fallback`, the default of the reference's config class;
/// without a fallback they are an error. A value of another kind is an error that names
/// config.json, the key, expected and found. Every read is remembered: keys nobody read are
/// reported.
class Config {
 public:
  explicit Config(Builder& builder, std::string prefix = {})
      : builder_(&builder), prefix_(std::move(prefix)) {}

  Builder& builder() const { return *builder_; }
  bool has(const std::string& key) const {
    const uint32_t kind = kind_of(key);
    return kind != LOCKSTEP_CONFIG_ABSENT && kind != LOCKSTEP_CONFIG_NULL;
  }
  /// Whether the key is there and null, for the keys where the reference's None is no default.
  bool is_null(const std::string& key) const { return kind_of(key) == LOCKSTEP_CONFIG_NULL; }
  /// Whether the key holds a string, for the keys that may be a word or a number.
  bool is_text(const std::string& key) const { return kind_of(key) == LOCKSTEP_CONFIG_STRING; }
  /// A count or width: from `least` up to `most`.
  int64_t size(const std::string& key, std::optional<int64_t> fallback = {}, int64_t least = 1,
               int64_t most = int64_t{1} << 31) const {
    const int64_t value = integer(key, fallback);
    if (value < least || value > most) {
      throw Error(ErrorCode::kOutOfRange, where(key) + ": expected " + std::to_string(least) +
                                              " to " + std::to_string(most) + ", found " +
                                              std::to_string(value));
    }
    return value;
  }
  /// A size that the reference derives from other keys: where it is written, it must agree.
  int64_t derived_size(const std::string& key, int64_t value) const {
    const int64_t found = size(key, value);
    if (found == value) return value;
    throw Error(ErrorCode::kInvalidArgument, where(key) + ": expected " + std::to_string(value) +
                                                 " from the other keys, found " +
                                                 std::to_string(found));
  }
  /// A size that divides `whole`, the value of `whole_key`.
  int64_t divisor(const std::string& key, int64_t fallback, int64_t whole,
                  const char* whole_key) const {
    const int64_t value = size(key, fallback);
    if (whole % value == 0) return value;
    throw Error(ErrorCode::kInvalidArgument, where(key) + ": expected a divisor of " + whole_key +
                                                 " " + std::to_string(whole) + ", found " +
                                                 std::to_string(value));
  }
  /// The number of layers: bounded, since each of them is traced.
  int64_t layers(const std::string& key, int64_t fallback) const {
    return size(key, fallback, 1, 4096);
  }
  int64_t integer(const std::string& key, std::optional<int64_t> fallback = {}) const {
    if (fallback.has_value()) note_default(key, std::to_string(*fallback));
    if (use_fallback(key, fallback.has_value())) return *fallback;
    int64_t value = 0;
    builder_->check(api().config_int(builder_->raw(), path(key).c_str(), &value));
    return value;
  }
  /// A finite number; integers are accepted.
  double number(const std::string& key, std::optional<double> fallback = {}) const {
    if (fallback.has_value()) note_default(key, json(*fallback));
    if (use_fallback(key, fallback.has_value())) return *fallback;
    double value = 0;
    builder_->check(api().config_number(builder_->raw(), path(key).c_str(), &value));
    if (!std::isfinite(value)) {
      throw Error(ErrorCode::kOutOfRange,
                  where(key) + ": expected a finite number, found " + std::to_string(value));
    }
    return value;
  }
  /// A finite number above zero: an epsilon, a base, a factor.
  double positive(const std::string& key, std::optional<double> fallback = {}) const {
    const double value = number(key, fallback);
    if (!(value > 0)) {
      throw Error(ErrorCode::kOutOfRange,
                  where(key) + ": expected a number above 0, found " + std::to_string(value));
    }
    return value;
  }
  /// A bound of something: a number that may be infinite, in any of the spellings of Python's json
  /// and of transformers.
  double bound(const std::string& key, std::optional<double> fallback = {}) const {
    if (fallback.has_value()) note_default(key, json(*fallback));
    if (use_fallback(key, fallback.has_value())) return *fallback;
    double value = 0;
    builder_->check(api().config_number(builder_->raw(), path(key).c_str(), &value));
    if (std::isnan(value)) {
      throw Error(ErrorCode::kOutOfRange, where(key) + ": expected a number, found nan");
    }
    return value;
  }
  bool flag(const std::string& key, std::optional<bool> fallback = {}) const {
    if (fallback.has_value()) note_default(key, *fallback ? "true" : "false");
    if (use_fallback(key, fallback.has_value())) return *fallback;
    int value = 0;
    builder_->check(api().config_bool(builder_->raw(), path(key).c_str(), &value));
    return value != 0;
  }
  std::string text(const std::string& key, std::optional<std::string> fallback = {}) const {
    if (fallback.has_value()) note_default(key, '"' + *fallback + '"');
    if (use_fallback(key, fallback.has_value())) return *fallback;
    const char* value = nullptr;
    builder_->check(api().config_string(builder_->raw(), path(key).c_str(), &value));
    return value;
  }
  /// A list of strings. Absent and null are the empty list.
  std::vector<std::string> texts(const std::string& key) const {
    std::vector<std::string> values;
    if (!has(key)) return values;
    size_t length = 0;
    builder_->check(api().config_length(builder_->raw(), path(key).c_str(), &length));
    for (size_t i = 0; i < length; ++i) values.push_back(text(key + "." + std::to_string(i)));
    return values;
  }
  /// A list of integers. Absent and null are the empty list.
  std::vector<int64_t> integers(const std::string& key) const {
    std::vector<int64_t> values;
    if (!has(key)) return values;
    size_t length = 0;
    builder_->check(api().config_length(builder_->raw(), path(key).c_str(), &length));
    for (size_t i = 0; i < length; ++i) values.push_back(integer(key + "." + std::to_string(i)));
    return values;
  }
  /// `layer_types`: one of `kinds` for each of the layers. Empty where the config has none.
  std::vector<std::string> layer_types(int64_t n_layers,
                                       const std::vector<std::string>& kinds) const {
    std::vector<std::string> types = texts("layer_types");
    for (const std::string& type : types) {
      std::string expected;
      bool is_known = false;
      for (const std::string& kind : kinds) {
        expected += (expected.empty() ? "" : " or ") + kind;
        is_known = is_known || kind == type;
      }
      if (!is_known) {
        throw Error(ErrorCode::kInvalidArgument,
                    where("layer_types") + ": expected " + expected + ", found " + type);
      }
    }
    if (!types.empty() && static_cast<int64_t>(types.size()) != n_layers) {
      throw Error(ErrorCode::kInvalidArgument,
                  where("layer_types") + ": expected num_hidden_layers " +
                      std::to_string(n_layers) + " entries, found " + std::to_string(types.size()));
    }
    return types;
  }

  /// A list of numbers. Absent and null are the empty list.
  std::vector<double> numbers(const std::string& key) const {
    std::vector<double> values;
    if (!has(key)) return values;
    size_t length = 0;
    builder_->check(api().config_length(builder_->raw(), path(key).c_str(), &length));
    for (size_t i = 0; i < length; ++i) values.push_back(number(key + "." + std::to_string(i)));
    return values;
  }
  /// From here on `key`, and what is below it, reads as the JSON text `json`, for everybody who
  /// reads config.json after this; without `json` as if it were absent. What the file has there is
  /// reported as unread. For ports that begin with the parts of another architecture.
  void replace(const std::string& key, const char* json = nullptr) const {
    if (api().size <= offsetof(LockstepApi, config_replace)) {
      throw Error(ErrorCode::kUnimplemented,
                  std::string("lockstep ") + api().host_version + " cannot replace config keys",
                  "use the program that this SDK was installed with");
    }
    builder_->check(api().config_replace(builder_->raw(), path(key).c_str(), json));
  }

  /// The object under `key`; its keys are then read by their own names.
  Config at(const std::string& key) const { return Config(*builder_, path(key)); }

  /// "config.json: rope_parameters.rope_theta", for messages.
  std::string where(const std::string& key) const {
    return std::string(api().config_file(builder_->raw())) + ": " + path(key);
  }

 private:
  const LockstepApi& api() const { return builder_->api(); }
  std::string path(const std::string& key) const {
    return prefix_.empty() ? key : prefix_ + "." + key;
  }
  uint32_t kind_of(const std::string& key) const {
    uint32_t kind = 0;
    builder_->check(api().config_kind(builder_->raw(), path(key).c_str(), &kind));
    return kind;
  }
  static std::string json(double value) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.12g", value);
    return text;
  }
  void note_default(const std::string& key, const std::string& json) const {
    if (api().size <= offsetof(LockstepApi, config_default)) return;
    builder_->check(api().config_default(builder_->raw(), path(key).c_str(), json.c_str()));
  }
  bool use_fallback(const std::string& key, bool has_fallback) const {
    return has_fallback && !has(key);
  }

  Builder* builder_;
  std::string prefix_;
};

}  // namespace lockstep
