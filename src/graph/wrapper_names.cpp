#include "graph/wrapper_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/error.h"

namespace lockstep {
namespace {

std::string text(const char* value) { return value == nullptr ? "" : value; }

std::vector<std::string> texts(const char* const* values, size_t n) {
  std::vector<std::string> copies;
  for (size_t i = 0; i < n; ++i) copies.push_back(text(values[i]));
  return copies;
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

WrapperNames::WrapperNames(const LockstepWrapper& wrapper, const ConfigFile& config)
    : is_wrapped_(true),
      config_(text(wrapper.config)),
      own_prefix_(text(wrapper.own_prefix)),
      path_(text(wrapper.path)),
      outer_keys_(texts(wrapper.outer_keys, wrapper.n_outer_keys)),
      stored_prefixes_(texts(wrapper.stored_prefixes, wrapper.n_stored_prefixes)),
      padded_(texts(wrapper.padded, wrapper.n_padded)) {
  const ConfigFile::Kind kind = config.kind(config_);
  if (kind == ConfigFile::Kind::kAbsent || kind == ConfigFile::Kind::kNull) {
    config_.clear();
  } else if (kind != ConfigFile::Kind::kObject) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: {}: expected the text model's configuration, an object",
                            config.file(), config_));
  }
}

std::string WrapperNames::config_key(const ConfigFile& config, std::string_view key) const {
  if (config_.empty()) return std::string(key);
  if (contains(outer_keys_, key)) {
    const ConfigFile::Kind kind = config.kind(key);
    if (kind != ConfigFile::Kind::kAbsent && kind != ConfigFile::Kind::kNull) {
      return std::string(key);
    }
  }
  return fmt::format("{}.{}", config_, key);
}

std::string WrapperNames::path(std::string_view own) const {
  if (!is_wrapped_ || !own.starts_with(own_prefix_)) return std::string(own);
  const std::string_view rest = own.substr(own_prefix_.size());
  return rest.empty() || rest.front() == '.' ? path_ + std::string(rest) : std::string(own);
}

std::vector<std::string> WrapperNames::stored(std::string_view own) const {
  std::vector<std::string> names = {path(own)};
  for (const std::string& prefix : stored_prefixes_) {
    std::string name = prefix + std::string(own);
    if (!contains(names, name)) names.push_back(std::move(name));
  }
  return names;
}

bool WrapperNames::may_have_more_rows(std::string_view own) const { return contains(padded_, own); }

}  // namespace lockstep
