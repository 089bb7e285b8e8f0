#include "wrong_attention.h"

#include <algorithm>
#include <cmath>

#include "lockstep/error.h"

namespace lockstep::mutants {
namespace {

enum Input { kQ, kK, kV, kPositions, kRowOffsets, kPageOffsets, kPages, kKCache, kVCache, kSinks };

// One sequence, read from the caches that the sound op has just filled.
class Rows {
 public:
  explicit Rows(const OpCall& call) : call_(call) {}
  const double* key(int64_t head, int64_t position) const {
    return row(k_, kKCache, head, position);
  }
  const double* value(int64_t head, int64_t position) const {
    return row(v_, kVCache, head, position);
  }

 private:
  const double* row(const std::vector<double>& cache, Input input, int64_t head,
                    int64_t position) const {
    const View& view = call_.inputs[input];
    const int64_t page_size = view.dim(2);
    const int64_t page = call_.inputs[kPages].as<int32_t>()[position / page_size];
    return cache.data() +
           ((page * view.dim(1) + head) * page_size + position % page_size) * view.dim(3);
  }

  const OpCall& call_;
  std::vector<double> k_ = read_elements(call_.inputs[kKCache]);
  std::vector<double> v_ = read_elements(call_.inputs[kVCache]);
};

struct Scoring {
  explicit Scoring(const OpCall& call)
      : scale(call.attrs.get_float("scale")),
        cap(call.attrs.get_float("soft_cap", 0)),
        alibi_scale(call.attrs.get_float("alibi_scale", 1)),
        window(call.attrs.get_int("window", 0)) {
    if (call.attrs.has("alibi_slopes")) {
      const std::span<const double> all = call.attrs.get_floats("alibi_slopes");
      slopes.assign(all.begin(), all.end());
    }
    if (call.inputs.size() > kSinks) sinks = read_elements(call.inputs[kSinks]);
  }

  double score(const double* q, const double* k, int64_t width, int64_t head,
               int64_t distance) const {
    double sum = 0;
    for (int64_t d = 0; d < width; ++d) sum += q[d] * k[d];
    sum *= scale;
    if (cap > 0) sum = cap * std::tanh(sum / cap);
    const auto h = static_cast<size_t>(head);
    if (!slopes.empty()) sum += alibi_scale * slopes[h] * static_cast<double>(distance);
    return sum;
  }

  double scale, cap, alibi_scale;
  int64_t window;
  std::vector<double> slopes, sinks;
};

// Scores to probabilities; a sink takes its part and gives nothing.
void soften(std::vector<double>& scores, const std::vector<double>& sinks, int64_t head) {
  double most = -INFINITY;
  for (const double s : scores) most = std::max(most, s);
  if (!sinks.empty()) most = std::max(most, sinks[static_cast<size_t>(head)]);
  double sum = sinks.empty() ? 0 : std::exp(sinks[static_cast<size_t>(head)] - most);
  for (double& s : scores) sum += s = std::exp(s - most);
  for (double& s : scores) s /= sum;
}

void attend(const OpCall& call, const WrongAttention& wrong) {
  const View& q_view = call.inputs[kQ];
  const int64_t tokens = q_view.dim(0), heads = q_view.dim(1), width = q_view.dim(2);
  const int64_t groups = call.inputs[kK].dim(1), value_width = call.inputs[kV].dim(2);
  const Rows rows(call);
  const Scoring scoring(call);
  const std::vector<double> q = read_elements(q_view);
  std::vector<double> out(static_cast<size_t>(call.outputs[0].elements()), 0.0);
  const int32_t* positions = call.inputs[kPositions].as<int32_t>();
  const int64_t total = positions[tokens - 1] + 1;
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t position = positions[t];
    int64_t end = std::min(position + 1 + wrong.keys_ahead, total);
    if (tokens == 1) end += wrong.decode_keys;
    const int64_t begin =
        scoring.window > 0 ? std::max<int64_t>(0, position + 1 - scoring.window) : 0;
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t group = wrong.tile_heads ? h % groups : h / (heads / groups);
      std::vector<double> scores;
      for (int64_t j = begin; j < end; ++j) {
        scores.push_back(scoring.score(q.data() + (t * heads + h) * width, rows.key(group, j),
                                       width, h, j - position));
      }
      soften(scores, scoring.sinks, h);
      double* to = out.data() + (t * heads + h) * value_width;
      for (int64_t j = begin; j < end; ++j) {
        const double* v = rows.value(group, j);
        for (int64_t d = 0; d < value_width; ++d)
          to[d] += scores[static_cast<size_t>(j - begin)] * v[d];
      }
    }
  }
  write_elements(call.outputs[0], out);
}

}  // namespace

Wrong wrong_attention(const WrongAttention& wrong) {
  return [wrong](const OpCall& call, void (*sound)(const OpCall&)) {
    sound(call);
    if (call.inputs[kRowOffsets].dim(0) != 2) {
      throw Error(ErrorCode::kInternal, "planted attention: one sequence a step");
    }
    attend(call, wrong);
  };
}

}  // namespace lockstep::mutants
