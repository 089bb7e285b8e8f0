// The devices that run a model together: each its part of the graph, its weights, its caches, and
// a thread. One rank runs the graph as it was traced.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "base/communicator.h"
#include "graph/shard.h"
#include "graph/trace.h"
#include "hub/checkpoint.h"
#include "runtime/executor.h"
#include "runtime/weights.h"

namespace lockstep {

/// Runs one function on a thread for each rank at once; the caller is rank 0.
class RankThreads {
 public:
  explicit RankThreads(RankGroup& group);
  ~RankThreads();
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

  /// Returns when all are done. When a rank throws, the group is stopped, and the first error is
  /// thrown here.
  void run(const std::function<void(int rank)>& job);

 private:
  void work(int rank);
  void run_one(int rank) noexcept;

  RankGroup& group_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void(int)>* job_ = nullptr;
  uint64_t n_jobs_ = 0;
  int n_running_ = 0;
  bool ends_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;
};

class Ranks {
 public:
  struct Options {
    int n_ranks = 1;
    int threads = 0;  // of all ranks together; 0: one per core
    KernelPolicy kernels;
  };

  /// `trace` and `checkpoint` must outlive this. Throws as Weights, Executor and shard().
  Ranks(const Trace& trace, const Checkpoint& checkpoint, const Options& options,
        const SymbolValues& most);

  int size() const { return static_cast<int>(ranks_.size()); }
  bool has_input(std::string_view name) const { return ranks_.front()->executor->has_input(name); }
  /// Step data, the same for all ranks.
  void bind_input(std::string_view name, const View& view);
  /// As Executor::observe, of the graph as it was traced: divided values are put together.
  void observe(const std::vector<ValueId>& values, Observe observe);
  void run(const SymbolValues& now);
  const View& output(size_t i) const { return ranks_.front()->executor->output(i); }
  /// The states of a sequence become those of its beginning.
  void clear_slot(int32_t slot);
  /// The states of slot `to` become those of slot `from`.
  void copy_slot(int32_t from, int32_t to);

  /// Of rank 0.
  const Weights& weights() const { return ranks_.front()->weights; }
  RunContext& context() { return ranks_.front()->context; }
  /// Of all ranks together.
  uint64_t arena_bytes() const;
  uint64_t cache_bytes() const;
  const std::vector<std::string>& notices() const { return sharded_.notices; }

 private:
  struct Rank {
    const Graph& graph;
    Weights weights;
    ThreadPool pool;
    Communicator communicator;
    RunContext context;
    std::vector<Tensor> caches;
    std::unique_ptr<Executor> executor;

    Rank(const Graph& graph, const Trace& trace, const Checkpoint& checkpoint,
         const Options& options, const SymbolValues& most, RankGroup& group, int rank);
  };
  /// Calls `use(bytes of one slot, first byte of slot 0)` for every state of every rank.
  template <class Use>
  void for_each_state(Use use);
  void put_together(int rank, ValueId whole, const Layout& layout, const View& part);

  const Graph& graph_;
  ShardedGraph sharded_;  // empty for one rank
  RankGroup group_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::optional<RankThreads> threads_;
  Observe observe_;
};

}  // namespace lockstep
