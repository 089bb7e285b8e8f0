// State-space scans, the delta rule and causal convolutions over one sequence, in every form that
// ports mix up. As src/ops/selective_scan, ssd_scan, gated_delta_rule and causal_conv, in float64.
#pragma once

#include "parity/measure/matrix.h"
#include "tensor/dtype.h"

namespace lockstep::parity::measure {

/// What A_log becomes: -exp(A_log), twice that, -A_log, or exp(A_log).
enum class Decay : uint8_t { kExp, kTwice, kRaw, kGrowing };
/// What a scan finds of the tokens before: their state, nothing, half of it, or it in bfloat16.
enum class OldState : uint8_t { kOwn, kNone, kHalf, kBFloat16 };

struct ScanForm {
  Decay decay = Decay::kExp;
  OldState old_state = OldState::kOwn;
  double bias_times = 1, skip_times = 1;  // of dt's bias, of D
  bool softplus = true;                   // else dt as it is
  DType rate_type = DType::kFloat64;      // what a changed A_log is rounded to, as it is stored
  double dt_min = 0, dt_max = 0;          // 0: no bound above
  bool clamp = true;
};

/// Head h of n_heads reads group h / (n_heads / n_groups) of B and C. Mamba's channels are heads of
/// width 1 with a decay a state element and no bias.
struct ScanInputs {
  Array x;        // [tokens, heads, width]
  Array b, c;     // [tokens, groups, state]
  Array dt;       // [tokens, heads]
  Array a_log;    // [heads], or [heads, state]
  Array d;        // [heads]
  Array dt_bias;  // [heads] or empty
  Array state;    // [heads, width, state]; empty: zeros
};

struct ScanOutcome {
  Array y;      // [tokens, heads, width]
  Array delta;  // [tokens, heads], before the bounds
  Array state;  // [heads, width, state], after the last token
};
ScanOutcome scan(const ScanInputs& in, const ScanForm& form);

struct DeltaRuleInputs {
  Array q, k;            // [tokens, key_heads, key]
  Array v;               // [tokens, heads, value]
  Array a, beta;         // [tokens, heads]
  Array a_log, dt_bias;  // [heads]
  Array state;           // [heads, key, value]; empty: zeros
};
struct DeltaRuleForm : ScanForm {
  bool normed = true;  // q and k to length 1
};
/// y [tokens, heads, value]; delta holds the decays g [tokens, heads].
ScanOutcome delta_rule(const DeltaRuleInputs& in, const DeltaRuleForm& form);

/// Which taps of the kernel meet which tokens.
enum class Taps : uint8_t { kOwn, kOneBack, kReversed };
struct ConvForm {
  Taps taps = Taps::kOwn;
  bool biased = true, silu = false;
  OldState old_state = OldState::kOwn;
  int64_t state_shift = 0;  // columns that the state is off by, towards the older
};
/// x [tokens, channels], weight [channels, kernel], bias [channels] or empty, state [channels,
/// window], the newest last, or empty -> [tokens, channels].
Array causal_conv(const Array& x, const Array& weight, const Array& bias, const Array& state,
                  const ConvForm& form);

}  // namespace lockstep::parity::measure
