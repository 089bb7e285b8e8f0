#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cast/cast_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd-inl.h"
#include "ops/cast/cast.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::CastArgs;

void run_cast(const CastArgs& args, ThreadPool& pool) {
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    visit_activation_type(args.out_dtype, [&]<class TO>(TO) HWY_ATTR {
      pool.parallel_for(args.n, 16384, [&](int64_t begin, int64_t end, int) HWY_ATTR {
        map(
            static_cast<size_t>(end - begin), static_cast<TO*>(args.out) + begin,
            [](VF v) HWY_ATTR { return v; }, static_cast<const T*>(args.x) + begin);
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
HWY_EXPORT(run_cast);

namespace ops {

void cast_cpu(const CastArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_cast)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
