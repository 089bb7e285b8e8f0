#include "parity/measure/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "parity/measure/rounding.h"
#include "parity/measure/search.h"

namespace lockstep::parity::measure {
namespace {

// Tokens and heads a measurement looks at before all are checked.
constexpr int64_t kTokensLooked = 6, kHeadsLooked = 2;

std::span<const double> vector_of(const Array& a, int64_t token, int64_t head) {
  const auto width = static_cast<size_t>(a.dim(2));
  return {a.values.data() + (token * a.dim(1) + head) * a.dim(2), width};
}

struct Keys {
  int64_t begin = 0, end = 0;
};

Keys keys_of(const AttentionForm& form, int64_t position, int64_t n_keys) {
  Keys keys{0, std::clamp<int64_t>(position + 1 + form.ahead, 0, n_keys)};
  // Counted from the query's own key, whatever it sees behind it.
  const int64_t begin = position + 1 - form.window;
  if (form.window == 0 || begin <= 0) return keys;
  if (form.window_of == WindowOf::kOldest) return {0, form.window};
  return {std::min(begin, keys.end), keys.end};
}

std::vector<double> scores_of(const AttentionInputs& in, const AttentionForm& form, int64_t token,
                              int64_t head, const Keys& keys) {
  const int64_t group = form.map[static_cast<size_t>(head)];
  const std::span<const double> q = vector_of(in.q, token, head);
  const auto t = static_cast<size_t>(token), h = static_cast<size_t>(head);
  std::vector<double> scores;
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    const std::span<const double> k = vector_of(in.k, j, group);
    double score = form.scale * std::inner_product(q.begin(), q.end(), k.begin(), 0.0);
    if (!form.temperature.empty()) score *= form.temperature[t];
    if (form.soft_cap != 0) score = form.soft_cap * std::tanh(score / form.soft_cap);
    if (!form.slopes.empty()) {
      score += form.slopes[h] * static_cast<double>(j - in.first_position - token);
    }
    scores.push_back(rounded(score, form.score_type));
  }
  return scores;
}

// In place: scores become weights.
void weigh(std::vector<double>& scores, const AttentionForm& form, int64_t head) {
  if (form.weighing == Weighing::kSoftmax) {
    const bool has_sink = !form.sinks.empty();
    const double sink = has_sink ? form.sinks[static_cast<size_t>(head)] : 0;
    double most = has_sink ? sink : -std::numeric_limits<double>::infinity();
    for (const double s : scores) most = std::max(most, s);
    double total = has_sink ? std::exp(sink - most) : 0;
    for (double& s : scores) total += s = std::exp(s - most);
    for (double& s : scores) s /= total;
  } else if (form.weighing == Weighing::kSigmoid) {
    for (double& s : scores) s = 1 / (1 + std::exp(-s));
  } else if (form.weighing == Weighing::kRelu) {
    for (double& s : scores) s = std::max(0.0, s);
  }
  for (double& s : scores) s = rounded(s, form.weight_type);
}

Array part_of(const Array& out, const AttentionPart& part, int64_t n_heads) {
  const int64_t width = out.elements() / std::max<int64_t>(1, out.dim(0) * n_heads);
  const int64_t tokens = part.token_end - part.token_begin;
  const int64_t heads = part.head_end - part.head_begin;
  Array result{{tokens, heads, width}, {}};
  for (int64_t t = part.token_begin; t < part.token_end; ++t) {
    const auto from = out.values.begin() + (t * n_heads + part.head_begin) * width;
    result.values.insert(result.values.end(), from, from + heads * width);
  }
  return result;
}

// The last tokens, which see most keys, of the first heads.
AttentionPart looked_at(const AttentionInputs& in) {
  AttentionPart part = whole(in);
  part.token_begin = std::max<int64_t>(0, part.token_end - kTokensLooked);
  part.head_end = std::min(part.head_end, kHeadsLooked);
  return part;
}

// A number that form takes by `set`: searched on a part, checked on all.
template <class Set>
std::optional<double> measure_number(const AttentionInputs& in, AttentionForm form,
                                     const Array& out, double bar, double low, double high,
                                     const Set& set) {
  const AttentionPart part = looked_at(in);
  const Array expected = part_of(out, part, in.q.dim(1));
  const double number = least_positive(
      [&](double value) {
        set(form, value);
        return distance(attend(in, form, part), expected);
      },
      low, high);
  set(form, number);
  if (!reproduces(attend(in, form), out, bar)) return {};
  return number;
}

}  // namespace

AttentionPart whole(const AttentionInputs& in) { return {0, in.q.dim(0), 0, in.q.dim(1)}; }

Array attend(const AttentionInputs& in, const AttentionForm& form, const AttentionPart& part) {
  const int64_t width = in.v.dim(2);
  Array out{{part.token_end - part.token_begin, part.head_end - part.head_begin, width}, {}};
  out.values.reserve(static_cast<size_t>(out.shape[0] * out.shape[1] * width));
  for (int64_t t = part.token_begin; t < part.token_end; ++t) {
    const Keys keys = keys_of(form, in.first_position + t, in.k.dim(0));
    for (int64_t h = part.head_begin; h < part.head_end; ++h) {
      std::vector<double> weights = scores_of(in, form, t, h, keys);
      weigh(weights, form, h);
      std::vector<double> sum(static_cast<size_t>(width));
      for (size_t j = 0; j < weights.size(); ++j) {
        const std::span<const double> v =
            vector_of(in.v, keys.begin + static_cast<int64_t>(j), form.map[static_cast<size_t>(h)]);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += weights[j] * v[i];
      }
      out.values.insert(out.values.end(), sum.begin(), sum.end());
    }
  }
  return out;
}

Array attend(const AttentionInputs& in, const AttentionForm& form) {
  return attend(in, form, whole(in));
}

std::vector<int64_t> repeated_heads(int64_t n_heads, int64_t n_kv_heads) {
  std::vector<int64_t> map;
  for (int64_t h = 0; h < n_heads; ++h) map.push_back(h * n_kv_heads / n_heads);
  return map;
}

std::vector<int64_t> tiled_heads(int64_t n_heads, int64_t n_kv_heads) {
  std::vector<int64_t> map;
  for (int64_t h = 0; h < n_heads; ++h) map.push_back(h % n_kv_heads);
  return map;
}

std::optional<std::vector<int64_t>> read_head_map(const AttentionInputs& in, const Array& out,
                                                  double bar) {
  if (in.first_position != 0 || in.q.dim(0) == 0) return {};
  const int64_t n_heads = in.q.dim(1), width = in.v.dim(2);
  if (out.elements() != in.q.dim(0) * n_heads * width) return {};
  std::vector<int64_t> map;
  for (int64_t h = 0; h < n_heads; ++h) {
    const std::span<const double> y(out.values.data() + h * width, static_cast<size_t>(width));
    const double yy = std::inner_product(y.begin(), y.end(), y.begin(), 0.0);
    int64_t found = -1;
    for (int64_t g = 0; g < in.v.dim(1) && found < 0; ++g) {
      const std::span<const double> v = vector_of(in.v, 0, g);
      const double yv = std::inner_product(y.begin(), y.end(), v.begin(), 0.0);
      const double vv = std::inner_product(v.begin(), v.end(), v.begin(), 0.0);
      // What no multiple of v explains.
      if (vv > 0 && yv > 0 && yy - yv * yv / vv <= kRowFactor * kRowFactor * bar * bar * yy) {
        found = g;
      }
    }
    if (found < 0) return {};
    map.push_back(found);
  }
  return map;
}

std::optional<double> measure_scale(const AttentionInputs& in, AttentionForm form, const Array& out,
                                    double bar) {
  const double about = form.scale;
  return measure_number(in, std::move(form), out, bar, about / 64, about * 64,
                        [](AttentionForm& f, double scale) { f.scale = scale; });
}

std::optional<double> measure_soft_cap(const AttentionInputs& in, AttentionForm form,
                                       const Array& out, double bar) {
  return measure_number(in, std::move(form), out, bar, 0.25, 1024,
                        [](AttentionForm& f, double cap) { f.soft_cap = cap; });
}

std::optional<int64_t> measure_window(const AttentionInputs& in, AttentionForm form,
                                      const Array& out, double bar) {
  const AttentionPart part = looked_at(in);
  const Array expected = part_of(out, part, in.q.dim(1));
  const int64_t longest = in.first_position + in.q.dim(0);
  for (int64_t window = 1; window < longest; ++window) {
    form.window = window;
    if (distance(attend(in, form, part), expected) > kRowFactor * bar) continue;
    if (reproduces(attend(in, form), out, bar)) return window;
  }
  form.window = 0;
  if (reproduces(attend(in, form), out, bar)) return 0;
  return {};
}

std::vector<double> measure_temperatures(const AttentionInputs& in, AttentionForm form,
                                         const Array& out) {
  std::vector<double> temperatures(static_cast<size_t>(in.q.dim(0)), 1);
  form.temperature = temperatures;
  for (int64_t t = in.first_position == 0 ? 1 : 0; t < in.q.dim(0); ++t) {
    const AttentionPart part{t, t + 1, 0, in.q.dim(1)};
    const Array expected = part_of(out, part, in.q.dim(1));
    temperatures[static_cast<size_t>(t)] = least_positive(
        [&](double value) {
          form.temperature[static_cast<size_t>(t)] = value;
          return distance(attend(in, form, part), expected);
        },
        0.25, 4);
  }
  return temperatures;
}

std::vector<double> alibi_slopes(int64_t n_heads) {
  const auto below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(n_heads)));
  std::vector<double> slopes;
  const auto slope = [](double h, double n) { return std::exp2(-8 * (h + 1) / n); };
  for (int64_t h = 0; h < below; ++h) {
    slopes.push_back(slope(static_cast<double>(h), static_cast<double>(below)));
  }
  for (int64_t h = 0; below + h < n_heads; ++h) {
    slopes.push_back(slope(static_cast<double>(2 * h), static_cast<double>(2 * below)));
  }
  return slopes;
}

}  // namespace lockstep::parity::measure
