#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/elementwise/elementwise_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/cpu/simd-inl.h"
#include "kernels/element.h"
#include "ops/elementwise/elementwise.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::Elementwise;
using ops::ElementwiseArgs;

/// out = fn(a, b) for elements begin to end, row by row where an element of b meets many of a.
template <class T, class Fn>
void combine(const ElementwiseArgs& args, int64_t begin, int64_t end, const Fn& fn) {
  const auto* a = static_cast<const T*>(args.a);
  const auto* b = static_cast<const T*>(args.b);
  auto* out = static_cast<T*>(args.out);
  if (args.b_span == 1) {
    return map(static_cast<size_t>(end - begin), out + begin, fn, a + begin, b + begin);
  }
  while (begin < end) {
    const int64_t row = begin / args.b_span;
    const int64_t stop = std::min(end, (row + 1) * args.b_span);
    const VF weight = hn::Set(F32(), load_float(args.b, args.dtype, row));
    map(
        static_cast<size_t>(stop - begin), out + begin,
        [&](VF x) HWY_ATTR { return fn(x, weight); }, a + begin);
    begin = stop;
  }
}

template <class T>
void run_range(const ElementwiseArgs& args, int64_t begin, int64_t end) {
  switch (args.fn) {
    case Elementwise::kAdd:
      return combine<T>(args, begin, end, [](VF x, VF y) HWY_ATTR { return hn::Add(x, y); });
    case Elementwise::kSub:
      return combine<T>(args, begin, end, [](VF x, VF y) HWY_ATTR { return hn::Sub(x, y); });
    case Elementwise::kMul:
      return combine<T>(args, begin, end, [](VF x, VF y) HWY_ATTR { return hn::Mul(x, y); });
    case Elementwise::kScale: {
      const VF factor = hn::Set(F32(), args.factor);
      return map(
          static_cast<size_t>(end - begin), static_cast<T*>(args.out) + begin,
          [factor](VF x) HWY_ATTR { return hn::Mul(x, factor); },
          static_cast<const T*>(args.a) + begin);
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
