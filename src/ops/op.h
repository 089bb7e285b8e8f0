// What an op is: a contract on types, and an ordered list of kernels, best first, `ref` last.
//
//   graph node --infer--> output types          (when traced; throws once, with the module path)
//              --run----> binds views to Args, then dispatch() runs the first kernel of the list
//                         that does not refuse
//
// Kernels are noexcept, take raw pointers and sizes in their op's Args, and allocate nothing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/communicator.h"
#include "base/thread_pool.h"
#include "lockstep/error.h"
#include "ops/attrs.h"
#include "ops/shard.h"
#include "tensor/shape.h"
#include "tensor/view.h"

namespace lockstep {

/// Which kernels may run: LOCKSTEP_KERNEL ("ref" for all ops, or "linear=cpu.dot,rope=ref") and
/// LOCKSTEP_EXPLAIN (say who ran and why the others did not).
class KernelPolicy {
 public:
  KernelPolicy() = default;
  /// Throws kInvalidArgument naming the op or kernel that does not exist.
  static KernelPolicy parse(std::string_view kernel, bool explain);
  /// From the two environment variables.
  static KernelPolicy from_environment();

  /// The kernel forced for `op`, or empty.
  std::string_view forced(std::string_view op) const noexcept;
  bool explain() const noexcept { return explain_; }

 private:
  std::string all_;
  std::map<std::string, std::string, std::less<>> by_op_;
  bool explain_ = false;
};

/// What kernels run with, and what is remembered of who ran.
class RunContext {
 public:
  explicit RunContext(ThreadPool& threads, KernelPolicy kernels = {})
      : pool(threads), policy(std::move(kernels)) {}

  ThreadPool& pool;
  KernelPolicy policy;
  /// The other ranks of a divided model; nullptr: there are none.
  Communicator* ranks = nullptr;
  /// Calls per "op/kernel" since construction, so that a test can prove that the forced one ran.
  std::map<std::string, int64_t, std::less<>> calls;
};

struct OpCall {
  std::span<const View> inputs;
  std::span<const View> outputs;
  const Attrs& attrs;
  RunContext& context;
};

struct InferCall {
  std::span<const TensorType> inputs;
  const Attrs& attrs;
  /// The type between modules (--dtype): what ops that create activations emit.
  DType activation_dtype;
};

/// Whether a row of the result has the same bits whatever other rows are in the call. In float32
/// only row-invariant kernels run, so that prefill, chunks and decode agree to the bit.
enum class RowInvariant : bool { kNo, kYes };

struct KernelInfo {
  std::string_view name;
  RowInvariant row_invariant;
};

/// One entry of an op's list. Args is the op's own struct of pointers and sizes.
template <class Args>
struct Kernel {
  std::string_view name;  // "cpu.simd", "onednn", "ref"
  RowInvariant row_invariant;
  const char* (*refuse)(const Args&);  // nullptr: takes the call; else the reason
  void (*run)(const Args&, ThreadPool&) noexcept;
};

/// An op as the graph sees it. One constant an op, listed once in src/ops/CMakeLists.txt.
struct OpDef {
  std::string_view name;
  /// Checks the input types and attributes; returns the output types. Throws kInvalidArgument
  /// with a message that begins "[name] "; the caller adds the module path.
  std::vector<TensorType> (*infer)(const InferCall&);
  /// Checks what only the data can tell, then dispatches. Throws as infer does. nullptr for an
  /// alias: the output is input 0 under another shape, and nothing runs.
  void (*run)(const OpCall&);
  std::vector<KernelInfo> (*kernels)();
  /// Inputs that run writes (caches, states), as a bit set.
  uint32_t mutated_inputs = 0;
  /// The ways to divide a call among ranks, the best first; nullptr: none.
  std::vector<ShardAxis> (*axes)(const ShardCall&) = nullptr;
  /// The attributes of a divided call; nullptr: those of the whole.
  Attrs (*local_attrs)(const Attrs&, const LocalShard&) = nullptr;
};

/// Every op, in the order of src/ops/CMakeLists.txt. find_op returns nullptr for no such op.
std::span<const OpDef* const> all_ops();
const OpDef* find_op(std::string_view name);

namespace internal {
/// The part of dispatch that does not depend on Args: chooses by policy and refusals.
struct Candidate {
  KernelInfo info;
  const char* refusal;
};
size_t choose_kernel(std::string_view op, std::span<const Candidate> list, bool rows_must_agree,
                     RunContext& context);
}  // namespace internal

/// The names of `list`, for OpDef::kernels.
template <class Args>
std::vector<KernelInfo> kernel_infos(std::span<const Kernel<Args>> list) {
  std::vector<KernelInfo> infos;
  for (const Kernel<Args>& kernel : list) infos.push_back({kernel.name, kernel.row_invariant});
  return infos;
}

/// The refusal of a kernel that takes every call.
template <class Args>
const char* never_refuse(const Args&) {
  return nullptr;
}

/// Runs the first kernel of `list` that takes `args`. With `rows_must_agree` (float32 activations)
/// kernels that are not row-invariant refuse. Throws kInvalidArgument when a forced kernel refuses,
/// naming op, kernel and reason; kInternal when none is left.
template <class Args>
void dispatch(std::string_view op, std::span<const Kernel<Args>> list, const Args& args,
              bool rows_must_agree, RunContext& context) {
  internal::Candidate candidates[8];
  const size_t n = list.size() < 8 ? list.size() : 8;
  for (size_t i = 0; i < n; ++i) {
    candidates[i] = {{list[i].name, list[i].row_invariant}, list[i].refuse(args)};
  }
  const size_t chosen = internal::choose_kernel(op, {candidates, n}, rows_must_agree, context);
  list[chosen].run(args, context.pool);
}

}  // namespace lockstep
