// Repairs and counterfeits. A repair is the port's own chain with one thing changed that gives the
// reference's value. Where the chain is right and its ops compute something else, a counterfeit is
// the sound chain with one thing changed that gives the port's value. Both run on the reference's
// inputs, and have nothing fitted.
#pragma once

#include <string>
#include <vector>

#include "parity/explain/cause.h"

namespace lockstep::parity {

/// A finding if the changed chain runs, with its errors filled in: of a repair, or, where the sound
/// chain is right (Site::is_sound_right), of a counterfeit. `change.chain` is set here.
std::vector<Finding> try_change(const Site& site, Change change, Finding finding);

/// What an attribute might have to be, and where that comes from: "config.json: rms_norm_eps".
struct AttrChoice {
  Attrs::Value value;
  std::string origin;
};

/// Nodes of `op` with another value of `attr`, all at once and, where there are several, each
/// alone. `what` names the quantity ("epsilon"). The one that repairs best, if any runs.
std::vector<Finding> try_attr(const Site& site, std::string_view op, const std::string& attr,
                              const std::string& what, const std::vector<AttrChoice>& choices);

/// As try_attr for one number, of which nothing in the config is right: the value between `low` and
/// `high`, both positive, that repairs best. One fitted number.
std::vector<Finding> fit_attr(const Site& site, std::string_view op, const std::string& attr,
                              const std::string& what, double low, double high);

/// Numbers of config.json under one of `keys`, each once.
std::vector<AttrChoice> config_choices(const Site& site, std::initializer_list<const char*> keys);

/// "0.25", "half"; long lists are cut.
std::string attr_text(const Attrs::Value& value);
/// The finding whose worse error is least; empty stays empty.
std::vector<Finding> best_of(std::vector<Finding> findings);
/// "q_rot" of "model.layers.3.self_attn/q_rot": a name for messages.
std::string last_name(std::string_view path);

}  // namespace lockstep::parity
