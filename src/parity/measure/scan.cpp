#include "parity/measure/scan.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "parity/measure/rounding.h"

namespace lockstep::parity::measure {
namespace {

double softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

double decay_rate(double a_log, const ScanForm& form) {
  switch (form.decay) {
    case Decay::kExp:
      return -std::exp(a_log);
    case Decay::kTwice:
      return -std::exp(rounded(a_log + std::numbers::ln2, form.rate_type));
    case Decay::kRaw:
      return -std::exp(rounded(std::log(std::max(a_log, 1e-3)), form.rate_type));
    case Decay::kGrowing:
      return std::exp(a_log);
  }
  return 0;
}

Array old_state(const Array& state, std::vector<int64_t> shape, OldState kind) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  Array old{std::move(shape), std::vector<double>(static_cast<size_t>(n))};
  if (kind == OldState::kNone || static_cast<int64_t>(state.values.size()) != n) return old;
  old.values = state.values;
  if (kind == OldState::kHalf) old = scaled(std::move(old), 0.5);
  if (kind == OldState::kBFloat16) old = rounded(std::move(old), DType::kBFloat16);
  return old;
}

double step_of(double delta, const ScanForm& form) {
  if (!form.clamp) return delta;
  const double least = std::max(delta, form.dt_min);
  return form.dt_max > 0 ? std::min(least, form.dt_max) : least;
}

double delta_of(double dt, const Array& bias, int64_t head, const ScanForm& form) {
  const double shift =
      bias.values.empty() ? 0 : form.bias_times * bias.values[static_cast<size_t>(head)];
  return form.softplus ? softplus(dt + shift) : dt + shift;
}

std::vector<double> unit(const double* x, int64_t n, bool normed) {
  constexpr double kEpsilon = 1e-6;
  std::vector<double> out(x, x + n);
  double squares = 0;
  for (const double v : out) squares += v * v;
  if (normed) {
    for (double& v : out) v /= std::sqrt(squares + kEpsilon);
  }
  return out;
}

}  // namespace

ScanOutcome scan(const ScanInputs& in, const ScanForm& form) {
  const int64_t tokens = in.x.dim(0), heads = in.x.dim(1), width = in.x.dim(2);
  const int64_t groups = in.b.dim(1), size = in.b.dim(2);
  const bool has_rates = in.a_log.elements() == heads * size && size > 1;
  ScanOutcome out{in.x, in.dt, old_state(in.state, {heads, width, size}, form.old_state)};
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t group = t * groups + h / std::max<int64_t>(1, heads / groups);
      double& delta = out.delta.values[static_cast<size_t>(t * heads + h)];
      delta = delta_of(in.dt.values[static_cast<size_t>(t * heads + h)], in.dt_bias, h, form);
      const double step = step_of(delta, form);
      const double skip = form.skip_times * in.d.values[static_cast<size_t>(h)];
      for (int64_t p = 0; p < width; ++p) {
        const double x = in.x.values[static_cast<size_t>((t * heads + h) * width + p)];
        double* state = out.state.values.data() + (h * width + p) * size;
        double sum = skip * x;
        for (int64_t n = 0; n < size; ++n) {
          const double a_log = in.a_log.values[static_cast<size_t>(has_rates ? h * size + n : h)];
          state[n] =
              state[n] * std::exp(step * decay_rate(a_log, form)) + step * x * in.b.row(group)[n];
          sum += state[n] * in.c.row(group)[n];
        }
        out.y.values[static_cast<size_t>((t * heads + h) * width + p)] = sum;
      }
    }
  }
  return out;
}

ScanOutcome delta_rule(const DeltaRuleInputs& in, const DeltaRuleForm& form) {
  const int64_t tokens = in.v.dim(0), heads = in.v.dim(1), value = in.v.dim(2);
  const int64_t key_heads = in.q.dim(1), key = in.q.dim(2);
  ScanOutcome out{in.v, in.a, old_state(in.state, {heads, key, value}, form.old_state)};
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const auto at = static_cast<size_t>(t * heads + h);
      const int64_t from = t * key_heads + h / std::max<int64_t>(1, heads / key_heads);
      const std::vector<double> q = unit(in.q.row(from), key, form.normed);
      const std::vector<double> k = unit(in.k.row(from), key, form.normed);
      const double rate = decay_rate(in.a_log.values[static_cast<size_t>(h)], form);
      out.delta.values[at] = rate * delta_of(in.a.values[at], in.dt_bias, h, form);
      const double kept = std::exp(out.delta.values[at]);
      double* state = out.state.values.data() + h * key * value;
      for (int64_t j = 0; j < value; ++j) {
        double recalled = 0, sum = 0;
        for (int64_t i = 0; i < key; ++i) {
          state[i * value + j] *= kept;
          recalled += state[i * value + j] * k[static_cast<size_t>(i)];
        }
        const double error = in.beta.values[at] * (in.v.values[at * value + j] - recalled);
        for (int64_t i = 0; i < key; ++i) {
          state[i * value + j] += k[static_cast<size_t>(i)] * error;
          sum += state[i * value + j] * q[static_cast<size_t>(i)];
        }
        out.y.values[at * value + j] = sum / std::sqrt(static_cast<double>(key));
      }
    }
  }
  return out;
}

Array causal_conv(const Array& x, const Array& weight, const Array& bias, const Array& state,
                  const ConvForm& form) {
  const int64_t tokens = x.rows(), channels = x.width();
  const int64_t kernel = weight.elements() / std::max<int64_t>(1, channels);
  const int64_t window = state.elements() / std::max<int64_t>(1, channels);
  Array y = matrix(tokens, channels);
  const auto value_at = [&](int64_t t, int64_t c) {
    if (t >= 0) return at(x, t, c);
    int64_t column = window + t - form.state_shift;
    if (form.state_shift != 0 && window > 0) column = (column % window + window) % window;
    if (column < 0 || column >= window || form.old_state == OldState::kNone) return 0.0;
    return state.values[static_cast<size_t>(c * window + column)];
  };
  for (int64_t c = 0; c < channels; ++c) {
    std::vector<double> taps(weight.values.begin() + c * kernel,
                             weight.values.begin() + (c + 1) * kernel);
    if (form.taps == Taps::kReversed) std::reverse(taps.begin(), taps.end());
    if (form.taps == Taps::kOneBack) {
      std::rotate(taps.begin(), taps.begin() + 1, taps.end());
      taps.back() = 0;
    }
    for (int64_t t = 0; t < tokens; ++t) {
      double sum = form.biased && !bias.values.empty() ? bias.values[static_cast<size_t>(c)] : 0;
      for (int64_t k = 0; k < kernel; ++k) {
        sum += taps[static_cast<size_t>(k)] * value_at(t - (kernel - 1) + k, c);
      }
      at(y, t, c) = form.silu ? sum / (1 + std::exp(-sum)) : sum;
    }
  }
  return y;
}

}  // namespace lockstep::parity::measure
