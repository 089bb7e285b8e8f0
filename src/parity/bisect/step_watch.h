// What a text's tokens were computed from and left behind, step by step: the ids and positions that
// reached the graph, chosen rows of every tap, and the caches and states after the step.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "runtime/pipeline.h"
#include "tensor/tensor.h"

namespace lockstep::parity {

/// A cache as the text's sequence sees it: one row a token, or one row that is the state.
struct CacheImage {
  std::string name;  // "model.layers.3.self_attn/k_cache"
  bool is_state = false;
  std::vector<std::vector<float>> rows;
};

/// A tap of the text's tokens: row by position.
struct TapRows {
  std::string path;  // "model.layers.0.self_attn/q_rot"
  bool is_state = false;
  std::map<int64_t, std::vector<float>> rows;
};

struct StepImage {
  int64_t begin = 0, end = 0;      // of the text
  std::vector<int32_t> ids;        // as they were fed
  std::vector<int32_t> positions;  // empty where the graph takes none
  std::vector<TapRows> taps;       // in order of execution
  std::vector<CacheImage> caches;  // after the step, in the graph's order
  const TapRows* tap(const std::string& path) const;
};

/// Watches a pipeline that has one rank, from its construction until stop(); a pipeline that is
/// handed to an engine is watched there. The pipeline's graph must outlive this.
class StepWatch {
 public:
  /// Keeps taps (those that `pattern` matches) of the tokens at `rows` (empty: of all), and caches
  /// where `with_caches`.
  enum class Caches : bool { kNo, kYes };
  StepWatch(Pipeline& pipeline, std::span<const int32_t> text, std::vector<int64_t> rows,
            std::string pattern, Caches caches);
  StepWatch(const StepWatch&) = delete;
  StepWatch& operator=(const StepWatch&) = delete;

  /// Says where the text is in the next step; without it the segment is found by its ids.
  void expect(size_t segment, int64_t begin);
  void stop() { pipeline_.observe({}, nullptr); }

  /// Of the steps that had tokens of the text, in order. To be read when no step runs.
  const std::vector<StepImage>& steps() const { return steps_; }
  /// The last one that computed the token at `position`; nullptr: none.
  const StepImage* step_of(int64_t position) const;
  /// The one before `step`; nullptr: none.
  const StepImage* before(const StepImage* step) const;

 private:
  struct Place {
    size_t segment;
    int64_t begin;
  };
  void add_unrotated(std::set<ValueId>& values);
  void see(ValueId value, const View& view);
  void finish();
  const Tensor* seen(std::string_view input) const;
  std::optional<Place> find_text(std::span<const int32_t> ids,
                                 std::span<const int32_t> offsets) const;
  void keep_taps(StepImage& step, int64_t first_row, size_t segment) const;
  void keep_caches(StepImage& step, size_t segment) const;

  Pipeline& pipeline_;
  const Graph& graph_;
  std::vector<int32_t> text_;
  std::vector<int64_t> rows_;
  std::vector<lockstep::Tap> taps_;
  Caches with_caches_;
  std::optional<Place> expected_;
  std::map<ValueId, Tensor> values_;
  std::map<ValueId, View> cache_views_;
  std::vector<StepImage> steps_;
};

}  // namespace lockstep::parity
