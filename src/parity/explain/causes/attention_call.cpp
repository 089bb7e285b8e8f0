#include "parity/explain/causes/attention_call.h"

#include <cmath>

namespace lockstep::parity {
namespace {

// Keys (values) of all positions up to the step's last: those before it out of the paged cache,
// whose pages are in order, then the step's own.
Array all_keys(const Array& cache, const Array& own, int64_t first_position) {
  if (first_position == 0) return own;
  if (cache.rank() != 4 || own.rank() != 3) return {};
  const int64_t heads = own.dim(1), width = own.dim(2), page = cache.dim(2);
  if (cache.dim(1) != heads || cache.dim(3) != width || cache.dim(0) * page < first_position) {
    return {};
  }
  Array all{{first_position + own.dim(0), heads, width}, {}};
  for (int64_t p = 0; p < first_position; ++p) {
    for (int64_t h = 0; h < heads; ++h) {
      const double* row = cache.row((p / page * heads + h) * page + p % page);
      all.values.insert(all.values.end(), row, row + width);
    }
  }
  all.values.insert(all.values.end(), own.values.begin(), own.values.end());
  return all;
}

std::vector<double> floats(const Attrs& attrs, const char* name) {
  if (!attrs.has(name)) return {};
  const std::span<const double> values = attrs.get_floats(name);
  return {values.begin(), values.end()};
}

}  // namespace

std::optional<AttentionCall> attention_call(const Site& site) {
  const SiteStep* step = last_step(site, "attention");
  if (step == nullptr) return {};
  AttentionCall call;
  const int64_t first = site.geometry.first_position;
  call.in.q = operand_or_empty(site, *step, "q");
  call.in.k =
      all_keys(operand_or_empty(site, *step, "k_cache"), operand_or_empty(site, *step, "k"), first);
  call.in.v =
      all_keys(operand_or_empty(site, *step, "v_cache"), operand_or_empty(site, *step, "v"), first);
  call.in.first_position = first;
  if (call.in.q.rank() != 3 || call.in.k.rank() != 3 || call.in.v.rank() != 3) return {};
  if (call.in.q.dim(0) * call.in.q.dim(1) * call.in.v.dim(2) != site.port.elements()) return {};
  measure::AttentionForm& form = call.form;
  form.scale = step->attrs.get_float("scale", 1 / std::sqrt(static_cast<double>(call.in.q.dim(2))));
  form.map = measure::repeated_heads(call.in.q.dim(1), call.in.k.dim(1));
  form.window = step->attrs.get_int("window", 0);
  form.soft_cap = step->attrs.get_float("soft_cap", 0);
  form.slopes = floats(step->attrs, "alibi_slopes");
  for (double& slope : form.slopes) slope *= step->attrs.get_float("alibi_scale", 1);
  form.sinks = operand_or_empty(site, *step, "sinks").values;
  return call;
}

}  // namespace lockstep::parity
