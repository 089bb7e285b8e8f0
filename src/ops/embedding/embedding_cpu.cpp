#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/embedding/embedding_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/simd-inl.h"
#include "ops/embedding/embedding.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::EmbeddingArgs;

template <class TW, class T>
void copy_row(const TW* from, T* to, size_t width) {
  if constexpr (std::is_same_v<TW, T>) {
    std::memcpy(static_cast<void*>(to), from, width * sizeof(T));
  } else {
    map(
        width, to, [](VF v) HWY_ATTR { return v; }, from);
  }
}

void run_embedding(const EmbeddingArgs& args, ThreadPool& pool) {
  const int64_t grain = 1 + 16384 / (args.width + 1);
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    visit_float_type(args.weight_dtype, [&]<class TW>(TW) HWY_ATTR {
      pool.parallel_for(args.n_tokens, grain, [&](int64_t begin, int64_t end, int) HWY_ATTR {
        for (int64_t t = begin; t < end; ++t) {
          T* to = static_cast<T*>(args.out) + t * args.width;
          const int64_t row = ops::weight_row(args, t);
          if (row < 0) {
            std::fill_n(to, args.width, T{});
            continue;
          }
          copy_row(static_cast<const TW*>(args.weight) + row * args.width, to,
                   static_cast<size_t>(args.width));
        }
      });
    });
  });
}

}  // namespace

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep {
HWY_EXPORT(run_embedding);

namespace ops {

void embedding_cpu(const EmbeddingArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_embedding)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
