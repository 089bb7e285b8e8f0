// Whether the reference is a model of the text at all: told from its own logits.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "parity/harness.h"
#include "parity/replay_values.h"

namespace lockstep::parity {
namespace {

constexpr int64_t kFewestTokens = 8;
/// Of the logarithm of the vocabulary: from here on up a model knows nothing of the text.
constexpr double kChance = 0.9;
/// Of the reference's: a port below it knows the text.
constexpr double kKnows = 0.6;

/// Mean negative logarithm of the probability of each next id of the prompt, in nats; nothing
/// where too few rows say so.
std::optional<double> surprise(const Run& run) {
  if (!run.logits || run.info.phase != Phase::kPrefill) return std::nullopt;
  const View& view = run.logits->view;
  const auto& ids = run.info.prompt_ids;
  const int64_t rows = view.shape[0], vocab = view.shape[1];
  const Tensor all = convert(view, DType::kFloat32, {rows, vocab});
  double sum = 0;
  int64_t n = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const auto next = static_cast<size_t>(run.first_logit_row + row + 1);
    if (next >= ids.size() || ids[next] < 0 || ids[next] >= vocab) continue;
    const float* logits = all.view().as<float>() + row * vocab;
    const double most = *std::max_element(logits, logits + vocab);
    double total = 0;
    for (int64_t i = 0; i < vocab; ++i) total += std::exp(logits[i] - most);
    sum += most + std::log(total) - logits[ids[next]];
    ++n;
  }
  if (n < kFewestTokens) return std::nullopt;
  return sum / static_cast<double>(n);
}

}  // namespace

void check_reference(const RunDiff& run, DiffReport& report) {
  if (run.first_diverged < 0 || !run.logits) return;
  const auto reference = surprise(*run.reference), port = surprise(*run.port);
  if (!reference.has_value() || !port.has_value()) return;
  const double chance = std::log(static_cast<double>(run.logits->metrics.layout.channels));
  if (*reference < kChance * chance || *port > kKnows * *reference) return;
  refuse(report, "reference_not_loaded", run.reference->info.id, "logits",
         fmt::format("the reference finds its own prompt as unlikely as chance does ({:.2f} nats a "
                     "token, chance {:.2f}); the port does not ({:.2f}): the reference's weights "
                     "were not loaded, or not all of them",
                     *reference, chance, *port));
}

}  // namespace lockstep::parity
