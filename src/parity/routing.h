// Which experts a router chooses, from what it recorded, and which tokens of two recordings go to
// other experts. In low precision a near tie is enough for that, on sound ports too.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "parity/diff.h"
#include "parity/recording.h"

namespace lockstep::parity {

/// Ids of the experts chosen for one token, ascending: their order is the implementation's.
using Choice = std::vector<int64_t>;

/// The choices that scores [tokens, experts] lead to: the `chosen` highest, of the best groups
/// where the config has groups (DeepSeek V3's, its correction bias taken as zero). Nothing when the
/// view holds no scores of `router`'s experts.
std::optional<std::vector<Choice>> choices_of_scores(const View& scores,
                                                     const RouterConfig& router);
/// The choices that recorded ids [tokens, chosen] are.
std::optional<std::vector<Choice>> choices_of_ids(const View& ids, const RouterConfig& router);

/// Whether a router's output lists what it holds expert by expert (Granite's, [tokens * chosen]):
/// a row of it is no token, and where a token is depends on what all others chose.
bool is_sorted_by_expert(const Tap& tap, int64_t tokens, const RouterConfig& router);

/// Of one run: which of its tokens went to other experts, layer by layer in order of execution.
class Rerouting {
 public:
  Rerouting(const RouterConfig& router, int64_t tokens)
      : router_(router), elsewhere_(static_cast<size_t>(tokens), false) {}

  /// Looks at a router's tap. A token that is new among those elsewhere is excused only where the
  /// reference's margin lies within the noise, 4 sqrt(2) times the router's own floor as for ties
  /// of logits; one that already went elsewhere needs no further excuse. Returns the first token
  /// whose ids differ although no tie explains it, -1 when there is none.
  int64_t look(const TapDiff& tap, std::vector<Rerouted>& told);

  int64_t count() const noexcept;
  /// The first token elsewhere; tokens() without one.
  int64_t first() const noexcept;
  /// Whether one is elsewhere whose margin was not recorded, or not in a form that tells it.
  bool unproven() const noexcept { return unproven_; }
  /// Whether ids or scores were seen that tell every choice: then only tokens elsewhere, and what
  /// attends to them, have an excuse.
  bool complete() const noexcept { return complete_; }
  bool at(int64_t token) const noexcept { return elsewhere_[static_cast<size_t>(token)]; }
  const std::vector<bool>& elsewhere() const noexcept { return elsewhere_; }
  int64_t tokens() const noexcept { return static_cast<int64_t>(elsewhere_.size()); }

 private:
  struct Scores {
    int layer = -1;
    std::vector<Choice> reference;
    std::vector<std::vector<double>> rows;  // the reference's scores
    std::vector<double> noise, apart;       // of each token; `apart` as measured
  };
  bool is_tie(int64_t token, const Choice& reference, const Choice& port) const;

  RouterConfig router_;
  std::vector<bool> elsewhere_;
  std::optional<Scores> last_;
  bool unproven_ = false, complete_ = false;
};

/// The comparison without the tokens marked in `elsewhere`; nothing where its rows are not those
/// tokens.
std::optional<TapMetrics> compare_rest(const TapDiff& tap, const std::vector<bool>& elsewhere,
                                       const CompareOptions& options, ThreadPool& pool);

}  // namespace lockstep::parity
