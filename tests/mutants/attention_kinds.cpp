// Attention: scale, head map, mask, window, caps, sinks, biases of position, caches.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fault_kind.h"
#include "wrong_attention.h"

namespace lockstep::mutants {
namespace {

std::optional<AttentionSite> pick_attention(Plant& p,
                                            bool (*fits)(const Plant&, const AttentionSite&)) {
  std::vector<AttentionSite> sites;
  for (const AttentionSite& site : p.sites.attentions) {
    if (fits(p, site)) sites.push_back(site);
  }
  if (sites.empty()) return std::nullopt;
  return p.pick(sites);
}

bool is_any(const Plant&, const AttentionSite&) { return true; }
bool is_plain(const Plant&, const AttentionSite& site) { return !site.is_latent; }
bool has_window(const Plant& p, const AttentionSite& site) {
  return !site.is_latent && p.edit.node(site.node).attrs.get_int("window", 0) > 0;
}
bool has_no_window(const Plant& p, const AttentionSite& site) {
  return !site.is_latent && p.edit.node(site.node).attrs.get_int("window", 0) == 0;
}
bool has_cap(const Plant& p, const AttentionSite& site) {
  return !site.is_latent && p.edit.node(site.node).attrs.get_float("soft_cap", 0) > 0;
}
bool has_sinks(const Plant& p, const AttentionSite& site) {
  return !site.is_latent && p.edit.node(site.node).inputs.size() > 9;
}
bool has_slopes(const Plant& p, const AttentionSite& site) {
  return !site.is_latent && p.edit.node(site.node).attrs.has("alibi_slopes");
}
bool has_groups(const Plant&, const AttentionSite& site) {
  return !site.is_latent && site.n_kv_heads > 1 && site.n_kv_heads < site.n_heads;
}

bool scale(Plant& p) {
  const auto site = pick_attention(p, is_any);
  if (!site) return false;
  const double now = p.edit.node(site->node).attrs.get_float("scale");
  // Of twice and half the width, and the square of a yarn factor.
  const double factor = p.by_magnitude(1 / 1.5896, std::sqrt(0.5), std::sqrt(2.0));
  p.edit.set(site->node, "scale", now * factor);
  p.note = fmt::format("softmax scale x {:.4f}", factor);
  return true;
}

bool scale_missing(Plant& p) {
  const auto site = pick_attention(p, is_any);
  if (!site) return false;
  const double now = p.edit.node(site->node).attrs.get_float("scale");
  const double wrong = p.by_magnitude(1.0, now * now, 1 / std::sqrt(64.0));
  if (std::abs(wrong / now - 1) < 1e-3) return false;
  p.edit.set(site->node, "scale", wrong);
  p.note = fmt::format("softmax scale {} for {}", wrong, now);
  return true;
}

bool head_tile(Plant& p) {
  const auto site = pick_attention(p, has_groups);
  if (!site || p.magnitude != 0) return false;
  p.edit.wrap(site->node, wrong_attention({.tile_heads = true}));
  p.note = "query head h reads key head h mod n";
  return true;
}

bool mask(Plant& p) {
  const auto site = pick_attention(p, is_plain);
  if (!site) return false;
  const int64_t ahead = p.by_magnitude(1, 4, 1 << 20);
  p.edit.wrap(site->node, wrong_attention({.keys_ahead = ahead}));
  p.note = fmt::format("sees {} tokens ahead", ahead);
  return true;
}

bool window_missing(Plant& p) {
  std::vector<AttentionSite> sites;
  for (const AttentionSite& site : p.sites.attentions) {
    if (has_window(p, site)) sites.push_back(site);
  }
  if (sites.empty()) return false;
  std::shuffle(sites.begin(), sites.end(), p.random());
  const size_t n = std::min<size_t>(sites.size(), p.by_magnitude(1, 2, 100));
  for (size_t i = 0; i < n; ++i) p.edit.set(sites[i].node, "window", int64_t{0});
  p.note = fmt::format("no window in {} layers", n);
  return true;
}

bool window_size(Plant& p) {
  const auto site = pick_attention(p, has_window);
  if (!site) return false;
  const int64_t now = p.edit.node(site->node).attrs.get_int("window");
  const int64_t wrong = p.by_magnitude(now + 1, now - 1, now / 2);
  p.edit.set(site->node, "window", wrong);
  p.note = fmt::format("window {} for {}", wrong, now);
  return true;
}

bool window_extra(Plant& p) {
  const auto site = pick_attention(p, has_no_window);
  if (!site) return false;
  const int64_t wrong = p.by_magnitude(24, 16, 8);
  p.edit.set(site->node, "window", wrong);
  p.note = fmt::format("window {} for none", wrong);
  return true;
}

bool soft_cap(Plant& p) {
  const auto site = pick_attention(p, has_cap);
  if (!site) return false;
  const double now = p.edit.node(site->node).attrs.get_float("soft_cap");
  const double wrong = p.by_magnitude(0.0, now / 2, 30.0);
  p.edit.set(site->node, "soft_cap", wrong);
  p.note = fmt::format("soft cap {} for {}", wrong, now);
  return true;
}

bool soft_cap_extra(Plant& p) {
  const auto site = pick_attention(p, is_plain);
  if (!site || has_cap(p, *site)) return false;
  const double wrong = p.by_magnitude(50.0, 30.0, 10.0);
  p.edit.set(site->node, "soft_cap", wrong);
  p.note = fmt::format("soft cap {} for none", wrong);
  return true;
}

bool sinks_missing(Plant& p) {
  const auto site = pick_attention(p, has_sinks);
  if (!site || p.magnitude != 0) return false;
  p.edit.drop_input(site->node, 9);
  p.note = "no sinks";
  return true;
}

bool sinks_by_group(Plant& p) {
  const auto site = pick_attention(p, has_sinks);
  if (!site || p.magnitude == 2) return false;
  const bool groups = p.magnitude == 0;
  const int64_t per_group = site->n_heads / site->n_kv_heads;
  p.edit.change_input(site->node, 9, [=](std::vector<double>& sinks, const View&) {
    const std::vector<double> sound = sinks;
    const auto n = static_cast<int64_t>(sinks.size());
    for (int64_t h = 0; h < n; ++h) {
      const int64_t from = groups ? h / per_group : n - 1 - h;
      sinks[static_cast<size_t>(h)] = sound[static_cast<size_t>(from)];
    }
  });
  p.note = groups ? "sinks of the key heads" : "sinks in reverse order";
  return true;
}

bool slopes(Plant& p) {
  const auto site = pick_attention(p, has_slopes);
  if (!site) return false;
  const std::span<const double> now = p.edit.node(site->node).attrs.get_floats("alibi_slopes");
  std::vector<double> wrong(now.begin(), now.end());
  for (size_t h = 0; h < wrong.size(); ++h) {
    // The exponent counted from 0, half the ratio, or none at all.
    wrong[h] = p.by_magnitude(now[h] * now[0] / now[1], std::sqrt(now[h]), 0.0);
  }
  p.edit.set(site->node, "alibi_slopes", wrong);
  p.note = fmt::format("slopes from {:.4g} for {:.4g}", wrong[0], now[0]);
  return true;
}

bool keys_for_values(Plant& p) {
  const auto site = pick_attention(p, [](const Plant& plant, const AttentionSite& s) {
    return !s.is_latent && !s.k_rope && s.k_proj != s.v_proj &&
           plant.sites.input_type(s.node, 1) == plant.sites.input_type(s.node, 2);
  });
  if (!site || p.magnitude != 0) return false;
  const std::vector<ValueId> in = p.edit.node(site->node).inputs;
  p.edit.rewire(site->node, 1, in[2]);
  p.edit.rewire(site->node, 2, in[1]);
  p.note = "keys and values exchanged";
  return true;
}

bool cache_row(Plant& p) {
  const auto site = pick_attention(p, is_plain);
  if (!site) return false;
  const int64_t position = p.by_magnitude(3, 0, 20);
  const size_t which = p.coin() ? 7 : 8;
  p.edit.change_state(site->node, which, [=](std::vector<double>& cache, const View& view) {
    const int64_t heads = view.dim(1), page = view.dim(2), width = view.dim(3);
    for (int64_t h = 0; h < heads; ++h) {
      const auto at = [&](int64_t row) {
        return cache.begin() + (((row / page) * heads + h) * page + row % page) * width;
      };
      std::copy_n(at(position + 1), width, at(position));
    }
  });
  p.note =
      fmt::format("{} row {} overwritten by the next one", which == 7 ? "key" : "value", position);
  return true;
}

bool cache_short(Plant& p) {
  const auto site = pick_attention(p, is_plain);
  if (!site || p.magnitude == 2) return false;
  p.edit.wrap(site->node, wrong_attention({.decode_keys = p.magnitude == 0 ? -1 : 1}));
  p.note = p.magnitude == 0 ? "a decoded token does not see itself" : "one key too many";
  return true;
}

bool cached_unrotated(Plant& p) {
  const auto site = pick_attention(p, [](const Plant& plant, const AttentionSite& s) {
    return !s.is_latent && s.k_rope &&
           plant.edit.node(*s.k_rope).attrs.get_string("style") == "half";
  });
  if (!site || p.magnitude != 0) return false;
  // Old keys as they were before rotation: turned back by their own position.
  const std::optional<uint32_t> tables =
      p.sites.made_by(p.edit.node(*site->k_rope).inputs[1], "rotary_embedding", {});
  if (!tables) return false;
  const std::span<const double> freq = p.edit.node(*tables).attrs.get_floats("inv_freq");
  p.edit.change_state(
      site->node, 7,
      [inv = std::vector<double>(freq.begin(), freq.end())](std::vector<double>& cache,
                                                            const View& view) {
        const int64_t heads = view.dim(1), page = view.dim(2), width = view.dim(3);
        const auto n = static_cast<int64_t>(inv.size());
        for (int64_t row = 0; row < view.dim(0) * page; ++row) {
          for (int64_t h = 0; h < heads; ++h) {
            double* k = cache.data() + (((row / page) * heads + h) * page + row % page) * width;
            for (int64_t i = 0; i < n; ++i) {
              const double angle = -static_cast<double>(row) * inv[static_cast<size_t>(i)];
              const double a = k[i], b = k[i + n];
              k[i] = a * std::cos(angle) - b * std::sin(angle);
              k[i + n] = b * std::cos(angle) + a * std::sin(angle);
            }
          }
        }
      });
  p.note = "keys cached before rotation";
  return true;
}

bool output_gate_missing(Plant& p) {
  const auto site = pick_attention(p, [](const Plant& plant, const AttentionSite& s) {
    return s.o_proj && plant.sites.is_elementwise(
                           plant.graph().storage(plant.edit.node(*s.o_proj).inputs[0]).node, "mul");
  });
  if (!site || p.magnitude != 0) return false;
  const uint32_t mul = p.graph().storage(p.edit.node(*site->o_proj).inputs[0]).node;
  p.edit.replace({mul, 0}, p.edit.node(mul).inputs[0]);
  p.note = "no gate on the attention's outcome";
  return true;
}

constexpr FaultKind kKinds[] = {
    {"softmax_scale", "15 14", scale},
    {"softmax_scale_missing", "15 14", scale_missing},
    {"gqa_tile", "27", head_tile},
    {"mask_missing", "20", mask},
    {"window_missing", "23", window_missing},
    {"window_size", "23", window_size},
    {"window_extra", "23", window_extra},
    {"attention_soft_cap", "24", soft_cap},
    {"attention_soft_cap_extra", "24", soft_cap_extra},
    {"sinks_missing", "26", sinks_missing},
    {"sinks_by_group", "26", sinks_by_group},
    {"alibi_slopes", "18", slopes},
    {"keys_for_values", "28", keys_for_values},
    {"cache_row_overwritten", "62 61 10", cache_row},
    {"cache_length", "62 61 10", cache_short},
    {"cached_unrotated", "61 62 10", cached_unrotated},
    {"attention_gate_missing", "50", output_gate_missing},
};

}  // namespace

std::span<const FaultKind> attention_kinds() { return kKinds; }

}  // namespace lockstep::mutants
