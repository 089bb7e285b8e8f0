#include "ops/op.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <set>

#include "base/log.h"

namespace lockstep {
namespace {

bool has_kernel(const OpDef& op, std::string_view kernel) {
  if (op.kernels == nullptr) return false;
  const std::vector<KernelInfo> list = op.kernels();
  return std::any_of(list.begin(), list.end(),
                     [&](const KernelInfo& info) { return info.name == kernel; });
}

std::string kernel_names(const OpDef& op) {
  std::string names;
  if (op.kernels == nullptr) return "none";
  for (const KernelInfo& info : op.kernels()) {
    if (!names.empty()) names += ", ";
    names += info.name;
  }
  return names;
}

/// Logs `line` the first time this process meets it.
void explain_once(std::string line) {
  static std::mutex mutex;
  static std::set<std::string> seen;
  const std::lock_guard lock(mutex);
  const auto [it, is_new] = seen.insert(std::move(line));
  if (is_new) log_info(*it);
}

void count_call(std::string_view op, std::string_view kernel, RunContext& context) {
  char buffer[96];
  const auto end = fmt::format_to_n(buffer, sizeof buffer, "{}/{}", op, kernel);
  const std::string_view key(buffer, std::min(end.size, sizeof buffer));
  if (const auto it = context.calls.find(key); it != context.calls.end()) {
    ++it->second;
  } else {
    context.calls.emplace(key, 1);
  }
}

constexpr const char* kNotRowInvariant = "float32 runs only row-invariant kernels";

}  // namespace

KernelPolicy KernelPolicy::parse(std::string_view kernel, bool explain) {
  KernelPolicy policy;
  policy.explain_ = explain;
  while (!kernel.empty()) {
    const size_t comma = std::min(kernel.find(','), kernel.size());
    const std::string_view rule = kernel.substr(0, comma);
    kernel.remove_prefix(std::min(comma + 1, kernel.size()));
    const size_t equals = rule.find('=');
    if (equals == std::string_view::npos) {
      const auto ops = all_ops();
      if (std::none_of(ops.begin(), ops.end(),
                       [&](const OpDef* op) { return has_kernel(*op, rule); })) {
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("LOCKSTEP_KERNEL: no op has a kernel named \"{}\"", rule),
                    "write \"ref\" for all ops, or op=kernel,op=kernel");
      }
      policy.all_ = rule;
      continue;
    }
    const OpDef* op = find_op(rule.substr(0, equals));
    if (op == nullptr) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("LOCKSTEP_KERNEL: no op named \"{}\"", rule.substr(0, equals)));
    }
    const std::string_view name = rule.substr(equals + 1);
    if (!has_kernel(*op, name)) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("LOCKSTEP_KERNEL: {} has no kernel named \"{}\"", op->name, name),
                  fmt::format("its kernels: {}", kernel_names(*op)));
    }
    policy.by_op_.insert_or_assign(std::string(op->name), std::string(name));
  }
  return policy;
}

KernelPolicy KernelPolicy::from_environment() {
  const char* kernel = std::getenv("LOCKSTEP_KERNEL");
  const char* explain = std::getenv("LOCKSTEP_EXPLAIN");
  const bool is_on = explain != nullptr && std::string_view(explain) != "0" && *explain != '\0';
  return parse(kernel == nullptr ? "" : kernel, is_on);
}

std::string_view KernelPolicy::forced(std::string_view op) const noexcept {
  const auto it = by_op_.find(op);
  return it == by_op_.end() ? std::string_view(all_) : std::string_view(it->second);
}

const OpDef* find_op(std::string_view name) {
  for (const OpDef* op : all_ops()) {
    if (op->name == name) return op;
  }
  return nullptr;
}

namespace internal {

size_t choose_kernel(std::string_view op, std::span<const Candidate> list, bool rows_must_agree,
                     RunContext& context) {
  const auto refusal_of = [&](const Candidate& candidate) {
    const bool varies = rows_must_agree && candidate.info.row_invariant == RowInvariant::kNo;
    return varies ? kNotRowInvariant : candidate.refusal;
  };
  const std::string_view forced = context.policy.forced(op);
  size_t chosen = list.size();
  if (!forced.empty()) {
    // A kernel forced for all ops need not exist in this one; parse() has checked the others.
    for (size_t i = 0; i < list.size(); ++i) {
      if (list[i].info.name == forced) chosen = i;
    }
    if (chosen < list.size() && refusal_of(list[chosen]) != nullptr) {
      throw Error(ErrorCode::kInvalidArgument, fmt::format("[{}] forced kernel {} refuses: {}", op,
                                                           forced, refusal_of(list[chosen])));
    }
  }
  std::string refusals;
  for (size_t i = 0; i < chosen; ++i) {
    const char* refusal = refusal_of(list[i]);
    if (forced.empty() || chosen == list.size()) {
      if (refusal == nullptr) {
        chosen = i;
        break;
      }
    }
    if (context.policy.explain()) {
      refusals += fmt::format("; {} refused: {}", list[i].info.name,
                              refusal == nullptr ? "another kernel is forced" : refusal);
    }
  }
  if (chosen >= list.size()) {
    throw Error(ErrorCode::kInternal, fmt::format("[{}] no kernel takes this call", op));
  }
  count_call(op, list[chosen].info.name, context);
  if (context.policy.explain()) {
    explain_once(fmt::format("{}: {}{}", op, list[chosen].info.name, refusals));
  }
  return chosen;
}

}  // namespace internal
}  // namespace lockstep
