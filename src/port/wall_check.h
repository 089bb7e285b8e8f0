// What the checks behind find_walls() share: the model's facts, and what is said of it.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "port/config_keys.h"
#include "port/walls.h"

namespace lockstep::port {

struct WallContext {
  const ModelFacts& facts;
  const Registry& registry;
  ConfigKeys keys;
  /// The architecture of its class, where there is one.
  const LockstepArchitecture* architecture = nullptr;
  /// The architecture takes this config.json: what it computes, this build has.
  bool is_traced = false;
  /// And every tensor fits.
  bool is_complete = false;
  std::string refusal;  // why the architecture does not take config.json
  /// Of a traced one: the keys it asked for, and whether it is the text model of a wrapper.
  std::set<std::string> read;
  bool is_backbone = false;

  WallContext(const ModelFacts& f, const Registry& r);

  /// The first key that is on and for which `wanted` holds. Of a traced architecture, one that it
  /// does not read: what it reads, it computes.
  const ConfigKey* first(const std::function<bool(const ConfigKey&)>& wanted) const;
  /// Of a traced architecture a key that nobody reads is no wall: transformers' class of that name
  /// does not read it, either.
  Wall::Level block() const { return is_traced ? Wall::Level::kWarn : Wall::Level::kBlock; }
  /// The first tensor whose name matches one of the patterns, for evidence; empty for none.
  std::string tensor(std::initializer_list<std::string_view> patterns) const;
  bool has_file(std::string_view name) const;
  /// Files whose name ends in one of these.
  std::vector<std::string> files_ending(std::initializer_list<std::string_view> ends) const;
};

using Walls = std::vector<Wall>;
using WallCheck = void (*)(const WallContext&, Walls&);

// walls_computation.cpp
void check_positions(const WallContext& context, Walls& walls);
void check_recurrence(const WallContext& context, Walls& walls);
void check_shared_router(const WallContext& context, Walls& walls);
void check_indexer(const WallContext& context, Walls& walls);
// walls_kind.cpp
void check_encoder_decoder(const WallContext& context, Walls& walls);
void check_multimodal(const WallContext& context, Walls& walls);
void check_diffusion(const WallContext& context, Walls& walls);
void check_architectures(const WallContext& context, Walls& walls);
// walls_quantisation.cpp
void check_quantised_weights(const WallContext& context, Walls& walls);
void check_quantisation_scheme(const WallContext& context, Walls& walls);
// walls_files.cpp
void check_weights_format(const WallContext& context, Walls& walls);
void check_custom_code(const WallContext& context, Walls& walls);
void check_kernel_imports(const WallContext& context, Walls& walls);
void check_tokenizer(const WallContext& context, Walls& walls);
void check_size(const WallContext& context, Walls& walls);

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}
/// "a, b and 3 more".
std::string listed(const std::vector<std::string>& names, size_t n_shown = 3);

}  // namespace lockstep::port
