#include "runtime/ranks.h"

#include <algorithm>
#include <cstring>

#include "ops/all_gather/all_gather.h"

namespace lockstep {

RankThreads::RankThreads(RankGroup& group) : group_(group) {
  for (int rank = 1; rank < group.size(); ++rank) {
    threads_.emplace_back([this, rank] { work(rank); });
  }
}

RankThreads::~RankThreads() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void RankThreads::run(const std::function<void(int)>& job) {
  {
    const std::lock_guard lock(mutex_);
    job_ = &job;
    ++n_jobs_;
    n_running_ = group_.size();
    error_ = nullptr;
  }
  changed_.notify_all();
  run_one(0);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return n_running_ == 0; });
  group_.reset();
  if (error_) std::rethrow_exception(error_);
}

void RankThreads::work(int rank) {
  uint64_t n_done = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return ends_ || n_jobs_ > n_done; });
      if (ends_) return;
      n_done = n_jobs_;
    }
    run_one(rank);
  }
}

void RankThreads::run_one(int rank) noexcept {
  std::exception_ptr error;
  try {
    (*job_)(rank);
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  if (error) {
    // What the others meet with from now on follows from this.
    if (!error_) error_ = error;
    group_.stop();
  }
  if (--n_running_ == 0) changed_.notify_all();
}

namespace {

int threads_a_rank(const Ranks::Options& options) {
  const int all =
      options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
  return options.n_ranks == 1 ? options.threads : std::max(1, all / options.n_ranks);
}

std::vector<int64_t> concrete(const Shape& shape, const SymbolValues& now) {
  std::vector<int64_t> dims;
  for (const Dim& dim : shape.dims()) {
    dims.push_back(dim.count * now[static_cast<size_t>(dim.symbol)]);
  }
  return dims;
}

}  // namespace

Ranks::Rank::Rank(const Graph& g, const Trace& trace, const Checkpoint& checkpoint,
                  const Options& options, const SymbolValues& most, RankGroup& group, int rank)
    : graph(g),
      weights(g, trace.audit, checkpoint),
      pool(threads_a_rank(options)),
      communicator{group, rank},
      context(pool, options.kernels) {
  if (group.size() > 1) context.ranks = &communicator;
  executor = std::make_unique<Executor>(graph, weights.views(), most);
  for (const CacheInput& cache : graph.caches) {
    const TensorType& type = graph.nodes[cache.node].outputs[0];
    caches.emplace_back(type.dtype, concrete(type.shape, most));
    executor->bind_input(cache.name, caches.back().view());
  }
}

Ranks::Ranks(const Trace& trace, const Checkpoint& checkpoint, const Options& options,
             const SymbolValues& most)
    : graph_(trace.graph), group_(options.n_ranks) {
  if (options.n_ranks > 1) sharded_ = shard(graph_, options.n_ranks);
  for (int rank = 0; rank < options.n_ranks; ++rank) {
    const Graph& graph =
        options.n_ranks == 1 ? graph_ : sharded_.ranks[static_cast<size_t>(rank)].graph;
    ranks_.push_back(std::make_unique<Rank>(graph, trace, checkpoint, options, most, group_, rank));
  }
  if (options.n_ranks > 1) threads_.emplace(group_);
}

void Ranks::bind_input(std::string_view name, const View& view) {
  for (const auto& rank : ranks_) rank->executor->bind_input(name, view);
}

void Ranks::run(const SymbolValues& now) {
  if (!threads_) return ranks_.front()->executor->run(now, ranks_.front()->context);
  threads_->run([&](int rank) {
    Rank& own = *ranks_[static_cast<size_t>(rank)];
    own.executor->run(now, own.context);
  });
}

void Ranks::observe(const std::vector<ValueId>& values, Observe observe) {
  if (size() == 1) return ranks_.front()->executor->observe(values, std::move(observe));
  observe_ = std::move(observe);
  for (int rank = 0; rank < size(); ++rank) {
    const std::map<ValueId, ValueId>& locals = sharded_.ranks[static_cast<size_t>(rank)].values;
    std::map<ValueId, ValueId> wholes;
    std::vector<ValueId> local_values;
    for (const ValueId& whole : values) {
      local_values.push_back(locals.at(whole));
      wholes[local_values.back()] = whole;
    }
    ranks_[static_cast<size_t>(rank)]->executor->observe(
        local_values, [this, rank, wholes](ValueId local, const View& rows) {
          const ValueId whole = wholes.at(local);
          const auto layout = sharded_.layouts.find(whole);
          if (layout != sharded_.layouts.end()) {
            put_together(rank, whole, layout->second, rows);
          } else if (rank == 0) {
            observe_(whole, rows);
          }
        });
  }
}

void Ranks::put_together(int rank, ValueId whole, const Layout& layout, const View& part) {
  Rank& own = *ranks_[static_cast<size_t>(rank)];
  std::vector<int64_t> shape(part.shape.begin(), part.shape.begin() + part.rank);
  shape[static_cast<size_t>(layout.dim)] = graph_.type(whole).shape[layout.dim].count;
  const Tensor assembled(part.dtype, shape);
  const View& all = assembled.view();
  const FlatSpread flat = flattened(layout.ranges);
  ops::all_gather_cpu(
      ops::all_gather_args(part, all, layout.dim, flat.ranks, flat.bounds, &own.communicator),
      own.pool);
  if (!group_.meet()) return;  // stopped: nothing was gathered
  if (rank == 0) observe_(whole, all);
}

template <class Use>
void Ranks::for_each_state(Use use) {
  for (const auto& rank : ranks_) {
    for (size_t i = 0; i < rank->caches.size(); ++i) {
      if (rank->graph.caches[i].kind != LOCKSTEP_CACHE_SLOT) continue;
      const View& cache = rank->caches[i].view();
      use(cache.bytes() / static_cast<size_t>(cache.dim(0)), cache.as<std::byte>());
    }
  }
}

void Ranks::clear_slot(int32_t slot) {
  for_each_state([slot](size_t bytes, std::byte* first) {
    std::memset(first + static_cast<size_t>(slot) * bytes, 0, bytes);
  });
}

void Ranks::copy_slot(int32_t from, int32_t to) {
  for_each_state([from, to](size_t bytes, std::byte* first) {
    std::memcpy(first + static_cast<size_t>(to) * bytes, first + static_cast<size_t>(from) * bytes,
                bytes);
  });
}

uint64_t Ranks::arena_bytes() const {
  uint64_t bytes = 0;
  for (const auto& rank : ranks_) bytes += rank->executor->arena_bytes();
  return bytes;
}

uint64_t Ranks::cache_bytes() const {
  uint64_t bytes = 0;
  for (const auto& rank : ranks_) {
    for (const Tensor& cache : rank->caches) bytes += cache.view().bytes();
  }
  return bytes;
}

}  // namespace lockstep
