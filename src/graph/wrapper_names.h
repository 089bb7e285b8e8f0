// The names of a model that stands inside another one: what the port calls something, and what
// config.json, the checkpoint and the reference call it (LockstepWrapper). Without a wrapper every
// name is itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hub/config.h"
#include "lockstep/abi.h"

namespace lockstep {

class WrapperNames {
 public:
  WrapperNames() = default;
  /// Copies. Throws kInvalidArgument where config.json has something else than an object there.
  WrapperNames(const LockstepWrapper& wrapper, const ConfigFile& config);

  bool is_wrapped() const noexcept { return is_wrapped_; }
  /// Where config.json has the model's key.
  std::string config_key(const ConfigFile& config, std::string_view key) const;
  /// The reference's module path.
  std::string path(std::string_view own) const;
  /// What a checkpoint may call `own`, a name or a pattern, the likeliest first.
  std::vector<std::string> stored(std::string_view own) const;
  /// Whether more rows of this weight may be stored than the model has.
  bool may_have_more_rows(std::string_view own) const;

 private:
  bool is_wrapped_ = false;
  std::string config_, own_prefix_, path_;
  std::vector<std::string> outer_keys_, stored_prefixes_, padded_;
};

}  // namespace lockstep
