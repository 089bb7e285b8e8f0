// One run of the reference, ready to be replayed piece by piece: which values of the port it
// recorded, and the step data, caches and states that a piece of the graph needs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "parity/recording.h"
#include "parity/split_values.h"
#include "runtime/executor.h"
#include "runtime/pipeline.h"
#include "tensor/tensor.h"

namespace lockstep::parity {

/// Taps that the reference recorded in rows which are no tokens, told by any of the runs: a
/// router's list that is sorted by expert looks like the port's in a step of one token.
std::set<std::string> misfits(const Graph& graph, const Recording& reference);

/// What a recorded value is called: its path, with "#<n>" for a repeated call, ":input" and
/// ".<index>" where that is not 0, ":output.<index>".
std::string recorded_name(const TapInfo& tap);

class RunReplay {
 public:
  /// A value of the port that the reference recorded; each once, under the name of the module it
  /// comes out of, or else, with ":input" behind it, of the one it goes into. A value under several
  /// names that are not the same to the reference is a target for each (split_values.h): its piece
  /// of the graph has no op.
  struct Target {
    std::string path, module_class;
    ValueId value;
  };
  using Caches = std::map<std::string, Tensor>;
  /// What a piece is fed instead of what the reference recorded.
  struct Feed {
    std::function<Tensor(const View&)> given = Tensor::copy_of;  // each recorded value as handed on
    std::map<std::string, Tensor> weights;                       // by parameter path
    std::map<std::string, Tensor> known;   // by name_of(), or that of step data
    std::map<std::string, Tensor> inputs;  // further inputs of the piece, by name
    std::vector<ValueId> observed;         // of the piece
    Observe observe;
  };

  /// All arguments outlive this.
  RunReplay(Pipeline& pipeline, const Recording& reference, const std::set<std::string>& misfits,
            const Run& run);

  /// Runs the port once where calls of one module have to be told apart.
  void prepare();

  const Run& run() const { return run_; }
  /// The port's, split where one value has to stand for several of the reference.
  const Graph& graph() const { return graph_; }
  const SymbolValues& symbols() const { return now_; }
  /// In order of execution.
  const std::vector<Target>& targets() const { return targets_; }
  /// "run path: why", of values of the port that the reference has not.
  const std::vector<std::string>& unrecorded() const { return unrecorded_; }
  const View& recorded(ValueId v) const { return known_.at(v)->view; }
  /// As recorded_name(); empty for a value that was not recorded.
  std::string name_of(ValueId v) const;
  std::set<ValueId> known() const;
  const std::map<std::string, Tensor>& step_data() const { return inputs_; }
  /// As the port holds it; none of that path gives no data.
  View weight(const std::string& path) const;

  /// How far each recorded value is off in the port's own run of the same tokens. `port` is a
  /// recording of it; what it lacks, or all (nullptr), is run.
  std::map<ValueId, double> accumulated(const Recording* port = nullptr);

  /// Caches as they are before this run: the reference's, and what it keeps in another form (it has
  /// no latents) as the same piece of the graph leaves it on the runs before.
  Caches caches_before(const Graph& part);

  /// The one output of `part`. Writes the caches.
  Tensor execute(const Graph& part, const Caches& caches, const Feed& feed);

  /// How far the value moves when all that it is computed from is rounded once more: root mean
  /// square, relative. Stands for the roundings inside a piece, which the port does not make.
  double response(const Graph& part, const Caches& caches, const Tensor& found);

  std::vector<int64_t> shape_of(const TensorType& type) const;

 private:
  void set(Symbol symbol, int64_t n) { now_[static_cast<size_t>(symbol)] = n; }
  void run_port(const std::vector<ValueId>& values, const Observe& observe);
  void match_calls();
  const Tap* recorded_of(const std::map<std::string, const Tap*>& recorded,
                         const lockstep::Tap& tap) const;
  void find_known();
  void add_known(const std::string& name, const std::string& module_class, ValueId value,
                 const Tap& reference);
  void add_logits();
  void make_step_data();
  const Run* previous() const;
  std::map<ValueId, double> accumulated_in(const Recording& port) const;
  void fill_pages(Tensor& cache, const Tap& tap) const;
  const Tap* recorded_cache(const CacheInput& input) const;
  void fill_cache(Tensor& cache, const CacheInput& input, const Tap& tap) const;
  void replay_before(const Graph& part, Caches& caches);

  Pipeline& pipeline_;
  const Recording& reference_;
  const std::set<std::string>& misfits_;
  const Run& run_;
  const SplitGraph split_;
  const Graph& graph_;
  int64_t total_ = 0, n_new_ = 0, n_pages_ = 0;
  SymbolValues now_{};
  std::map<std::string, View> weights_;
  std::map<ValueId, const Tap*> known_;
  std::map<ValueId, std::string> names_;
  std::map<ValueId, std::vector<const Tap*>> judged_;  // by where their data lies
  std::vector<Target> targets_;
  std::vector<std::string> unrecorded_;
  std::map<std::string, Tensor> inputs_;
  std::map<std::string, std::map<int, int>> reference_call_;  // by path: the port's -> its
  std::unique_ptr<RunReplay> before_;  // the run that ended where this begins
};

}  // namespace lockstep::parity
