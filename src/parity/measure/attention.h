// Attention over one sequence, in every form that ports mix up, and what can be read off its
// outcome.
//
//   score[t, h, j] = cap(scale * q[t, h] . k[j, g]) + slope[h] * (j - position of t),  g = map[h]
//   out[t, h] = sum_j weight(score)[j] * v[j, g],  j over the keys that the mask leaves
#pragma once

#include <limits>
#include <optional>
#include <vector>

#include "parity/measure/matrix.h"
#include "tensor/dtype.h"

namespace lockstep::parity::measure {

enum class Weighing : uint8_t { kSoftmax, kSigmoid, kRelu, kNone };
enum class WindowOf : uint8_t { kNewest, kOldest };

inline constexpr int64_t kNoMask = std::numeric_limits<int64_t>::max() / 4;

struct AttentionForm {
  double scale = 1;
  std::vector<int64_t> map;  // query head -> key and value head
  int64_t ahead = 0;         // keys after the query that it sees; -1: not even its own
  int64_t window = 0;        // keys that it sees at most; 0: all
  WindowOf window_of = WindowOf::kNewest;
  double soft_cap = 0;                // 0: none
  std::vector<double> slopes, sinks;  // a head's; empty: none
  std::vector<double> temperature;    // of a token's query; empty: 1
  Weighing weighing = Weighing::kSoftmax;
  DType score_type = DType::kFloat64, weight_type = DType::kFloat64;  // what they are rounded to
};

/// q [tokens, heads, width], k [keys, kv_heads, width], v [keys, kv_heads, value_width]; key j is
/// at position j, token t at first_position + t.
struct AttentionInputs {
  Array q, k, v;
  int64_t first_position = 0;
};

/// Which tokens and heads are computed: a measurement needs few.
struct AttentionPart {
  int64_t token_begin = 0, token_end = 0, head_begin = 0, head_end = 0;
};
AttentionPart whole(const AttentionInputs& in);

/// [tokens of the part, heads of the part, value_width].
Array attend(const AttentionInputs& in, const AttentionForm& form, const AttentionPart& part);
Array attend(const AttentionInputs& in, const AttentionForm& form);

/// Query head h reads key and value head h / (heads / kv_heads) (repeated), or h mod kv_heads
/// (tiled).
std::vector<int64_t> repeated_heads(int64_t n_heads, int64_t n_kv_heads);
std::vector<int64_t> tiled_heads(int64_t n_heads, int64_t n_kv_heads);
/// The map as token 0 shows it, which sees one key alone: out[0, h] is v[0, map[h]], whatever else
/// is wrong, or a multiple of it. Nothing when `in` begins later or a head is none of them.
std::optional<std::vector<int64_t>> read_head_map(const AttentionInputs& in, const Array& out,
                                                  double bar);

/// The scale (window, soft cap) with which `form` gives `out`, to within `bar`; nothing when none.
std::optional<double> measure_scale(const AttentionInputs& in, AttentionForm form, const Array& out,
                                    double bar);
std::optional<int64_t> measure_window(const AttentionInputs& in, AttentionForm form,
                                      const Array& out, double bar);
std::optional<double> measure_soft_cap(const AttentionInputs& in, AttentionForm form,
                                       const Array& out, double bar);

/// What each token's scores are multiplied with, beside the form's scale, to give its row of `out`
/// best; 1 for token 0 of a sequence, which says nothing. Not checked.
std::vector<double> measure_temperatures(const AttentionInputs& in, AttentionForm form,
                                         const Array& out);

/// The slopes of the ALiBi paper for any number of heads: for n a power of two 2^(-8 (h + 1) / n),
/// else those of the power below and every other one of the power above.
std::vector<double> alibi_slopes(int64_t n_heads);

}  // namespace lockstep::parity::measure
