// What a tensor's name or a key of config.json is about: the part of a model, and what of it.
// Differences of one topic make one delta.
#pragma once

#include <compare>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::port {

struct Topic {
  std::string part;    // as of Delta::part
  std::string aspect;  // "projections", "biases", "window", ...
  friend auto operator<=>(const Topic&, const Topic&) = default;
};

/// `name` with every number as *: "model.layers.*.mlp.experts.*.down_proj.weight".
std::string pattern_of(std::string_view name);
/// The first number of `name`, which is its layer; -1 where it has none.
int layer_of(std::string_view name);

Topic topic_of_tensor(std::string_view name);
Topic topic_of_key(std::string_view key);

/// Whether a value says that what its key is for does not happen: null, false, nothing, 0, a factor
/// of 1, or what another key of `config` guards or says already.
bool is_off(std::string_view key, const nlohmann::ordered_json& value,
            const nlohmann::ordered_json& config);

/// Whether a donor that does not read the key must be changed, and not only told a number: a count,
/// an object, a list, true, and a number that something is done with alone (a factor, a cap).
bool is_structural(std::string_view key, const nlohmann::ordered_json& value);

/// Names that config classes have for one thing: those beside `key`, none where it is alone.
std::vector<std::string_view> aliases_of(std::string_view key);

/// In the order of a report: config, weights, attention, ...
int order_of_part(std::string_view part);

}  // namespace lockstep::port
