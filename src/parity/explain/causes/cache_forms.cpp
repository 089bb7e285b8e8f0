// Causes in a cache: rows that hold another position's key or value, one row too few or too many,
// keys that were kept before they were rotated. They show in steps that read the cache.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parity/explain/causes/attention_call.h"
#include "parity/explain/causes/causes.h"
#include "parity/measure/rotation.h"

namespace lockstep::parity {
namespace {

std::span<double> cache_row(Array& rows, int64_t position) {
  const int64_t n = rows.dim(1) * rows.dim(2);
  return {rows.values.data() + position * n, static_cast<size_t>(n)};
}

// One row of keys or of values is its neighbour's, or was never written.
std::vector<Finding> wrong_row(const Site& site) {
  const auto call = attention_call(site);
  if (!call) return {};
  const Array base = call->port();
  std::vector<Finding> found;
  for (const bool is_key : {true, false}) {
    const Array& sound = is_key ? call->in.k : call->in.v;
    for (int64_t p = 0; p < sound.dim(0); ++p) {
      for (const int64_t from : {p + 1, p - 1, int64_t{-1}}) {
        const bool is_empty = from == -1;
        if (from >= sound.dim(0) || from < -1) continue;
        AttentionCall other = *call;
        Array& rows = is_key ? other.in.k : other.in.v;
        const std::span<double> to = cache_row(rows, p);
        if (is_empty) {
          std::ranges::fill(to, 0.0);
        } else {
          Array copy = sound;
          std::ranges::copy(cache_row(copy, from), to.begin());
        }
        const std::string what =
            fmt::format("{} {} of the cache {}", is_key ? "key" : "value", p,
                        is_empty ? "is empty" : fmt::format("is that of position {}", from));
        const auto after = [&](const std::string& side, const std::string& change) {
          return Words{"in " + side + " " + what,
                       change,
                       {{fmt::format("row {}", p), "its own", is_empty ? "empty" : "another's"}}};
        };
        found.push_back(either_way(site, base, other.port(),
                                   after("the reference", "see why the reference does so"),
                                   after("the port", "write each position to its own row")));
      }
    }
  }
  return best_finding(std::move(found));
}

// A single query that misses its own key, or reads an empty row behind it.
std::vector<Finding> wrong_length(const Site& site) {
  const auto call = attention_call(site);
  if (!call || site.geometry.n_tokens != 1) return {};
  const Array base = call->port();
  std::vector<Finding> found;
  const auto add = [&](const AttentionCall& other, const std::string& what) {
    found.push_back(either_way(
        site, base, other.port(),
        {"the reference's query " + what, "count the cache's rows as the reference does", {}},
        {"the port's query " + what,
         "let a query see the rows up to its own",
         {{"rows read", what, "up to its own"}}}));
  };
  AttentionCall other = *call;
  other.form.ahead = -1;
  add(other, "does not see its own key");
  other = *call;
  for (Array* rows : {&other.in.k, &other.in.v}) {
    rows->values.resize(rows->values.size() + cache_row(*rows, 0).size());
    ++rows->shape[0];
  }
  other.form.ahead = 1;
  add(other, "sees an empty row behind its own");
  return best_finding(std::move(found));
}

double first_number(const Site& site, std::initializer_list<const char*> keys, double otherwise) {
  for (const char* key : keys) {
    if (const auto number = site.config_number(key)) return *number;
  }
  return otherwise;
}

// Frequencies by the base of config.json, for keys whose own rotation no recorded value shows.
std::vector<double> frequencies(const Site& site, int64_t head_dim) {
  const double theta =
      first_number(site, {"rope_theta", "rope_parameters.rope_theta", "rotary_emb_base"}, 1e4);
  const double part = first_number(
      site, {"partial_rotary_factor", "rope_parameters.partial_rotary_factor", "rotary_pct"}, 1);
  const auto width = static_cast<int64_t>(part * static_cast<double>(head_dim));
  std::vector<double> frequency;
  for (int64_t j = 0; j < width / 2; ++j) {
    frequency.push_back(std::pow(theta, -2 * static_cast<double>(j) / static_cast<double>(width)));
  }
  return frequency;
}

// Keys of earlier positions as they were before rotation, or turned twice.
std::vector<Finding> kept_unrotated(const Site& site) {
  const auto call = attention_call(site);
  const int64_t first = site.geometry.first_position;
  if (!call || first == 0) return {};
  const Array base = call->port();
  std::vector<double> positions(static_cast<size_t>(first));
  std::iota(positions.begin(), positions.end(), 0);
  const int64_t width = call->in.k.dim(2);
  std::vector<Finding> found;
  for (const auto pairing : {measure::Pairing::kHalf, measure::Pairing::kInterleaved}) {
    for (const double turn : {-1.0, 1.0}) {
      measure::Rotation rotation{pairing, 0, 0, frequencies(site, width), 0, 1};
      rotation.width = static_cast<int64_t>(2 * rotation.frequency.size());
      for (double& f : rotation.frequency) f *= turn;
      AttentionCall other = *call;
      const auto n = first * call->in.k.dim(1) * width;
      Array old{{first, call->in.k.dim(1), width},
                {call->in.k.values.begin(), call->in.k.values.begin() + n}};
      std::ranges::copy(measure::rotate(old, positions, rotation).values,
                        other.in.k.values.begin());
      const std::string what = turn < 0 ? "before they are rotated" : "rotated twice";
      found.push_back(either_way(
          site, base, other.port(),
          {"the reference keeps keys " + what, "keep them so", {{"cached keys", "rotated", what}}},
          {"the port's cache has keys " + what,
           "write rotated keys to the cache",
           {{"cached keys", what, "rotated"}}}));
    }
  }
  return best_finding(std::move(found));
}

}  // namespace

std::vector<Cause> cache_causes() {
  constexpr std::string_view kOps = "attention", kTaps = "k_cache v_cache";
  return {
      {"cache_rows", 62, "row of the cache", "", kOps, kTaps, wrong_row},
      {"cache_length", 62, "rows of the cache that are read", "", kOps, kTaps, wrong_length},
      {"cache_unrotated", 61, "rotation of cached keys", "", kOps, kTaps, kept_unrotated},
  };
}

}  // namespace lockstep::parity
