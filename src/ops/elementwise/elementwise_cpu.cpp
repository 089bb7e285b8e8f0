#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/elementwise/elementwise_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd-inl.h"
#include "ops/elementwise/elementwise.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::Elementwise;
using ops::ElementwiseArgs;

template <class T>
void run_range(const ElementwiseArgs& args, int64_t begin, int64_t end) {
  const F32 d;
  const T* a = static_cast<const T*>(args.a) + begin;
  const T* b = static_cast<const T*>(args.b) + (args.b == nullptr ? 0 : begin);
  T* out = static_cast<T*>(args.out) + begin;
  const size_t n = static_cast<size_t>(end - begin);
  switch (args.fn) {
    case Elementwise::kAdd:
      return map(
          n, out, [](VF x, VF y) HWY_ATTR { return hn::Add(x, y); }, a, b);
    case Elementwise::kSub:
      return map(
          n, out, [](VF x, VF y) HWY_ATTR { return hn::Sub(x, y); }, a, b);
    case Elementwise::kMul:
      return map(
          n, out, [](VF x, VF y) HWY_ATTR { return hn::Mul(x, y); }, a, b);
    case Elementwise::kScale: {
      const VF factor = hn::Set(d, args.factor);
      return map(
          n, out, [factor](VF x) HWY_ATTR { return hn::Mul(x, factor); }, a);
    }
  }
}

void run_elementwise(const ElementwiseArgs& args, ThreadPool& pool) {
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    pool.parallel_for(args.n, 16384, [&](int64_t begin, int64_t end, int) HWY_ATTR {
      run_range<T>(args, begin, end);
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
HWY_EXPORT(run_elementwise);

namespace ops {

void elementwise_cpu(const ElementwiseArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_elementwise)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
