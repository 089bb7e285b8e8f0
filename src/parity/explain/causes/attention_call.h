// An attention as a site has it, for the causes that are forms of its formula.
#pragma once

#include <optional>

#include "parity/explain/causes/formula.h"
#include "parity/measure/attention.h"

namespace lockstep::parity {

struct AttentionCall {
  measure::AttentionInputs in;
  measure::AttentionForm form;  // the port's, as its attributes say
  Array port() const { return measure::attend(in, form); }
};

/// The attention that makes the site's value, on the reference's queries, keys and values of all
/// positions; none where there is none, or where its caches have another form.
std::optional<AttentionCall> attention_call(const Site& site);

/// The port's call with a change, said for both directions.
template <class Change>
std::vector<Finding> changed_attention(const Site& site, const Change& change,
                                       const Words& reference_has, const Words& port_has) {
  const auto call = attention_call(site);
  if (!call) return {};
  AttentionCall other = *call;
  change(other);
  return {either_way(site, call->port(), other.port(), reference_has, port_has)};
}

}  // namespace lockstep::parity
