// Whether one way of running a text agrees with the text fed at once and with the reference.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "parity/bisect/bisect.h"
#include "parity/bisect/engine_probe.h"
#include "parity/floor.h"

namespace lockstep::parity {

/// Looks for the cause at a token; called for a finding alone.
using FindEvidence = std::function<std::optional<StepEvidence>(int64_t token)>;
/// Whether the tokens up to this one went to other experts than in the text fed at once.
using IsRerouted = std::function<bool(int64_t token)>;

struct Probe {
  std::string name;
  FindEvidence find_evidence;
  IsRerouted is_rerouted;  // empty: no experts
};

/// Rows of logits against those of the text fed at once. Adds a finding at the first that differs
/// by more than the noise, in size or in its choice; false then.
bool judge_rows(StageResult& result, const DtypeCase& the_case, size_t text,
                const TextLogits& rows, const Probe& probe);
/// The choices at generated tokens against the reference's, ties weighed by its margins.
bool judge_choices(StageResult& result, const DtypeCase& the_case, size_t text,
                   const TextLogits& rows, const Probe& probe);
/// Rows against the logits that the reference recorded of the same ids.
bool judge_reference(StageResult& result, const DtypeCase& the_case, size_t text,
                     const TextLogits& rows, const Recording& reference, Floors& floors,
                     const Probe& probe);
/// Tokens and log probabilities that an engine generated after `n_fed` tokens of the text.
bool judge_answer(StageResult& result, const DtypeCase& the_case, size_t text, int64_t n_fed,
                  const EngineAnswer& answer, const Probe& probe);

/// Index of the largest, the lowest of equals.
int32_t choice_of(const std::vector<float>& row) noexcept;
double rms_of(const std::vector<float>& row) noexcept;
/// Log softmax at `id`.
double logprob_of(const std::vector<float>& row, int32_t id) noexcept;

}  // namespace lockstep::parity
