#include "text/jinja_budget.h"

#include <fmt/format.h>

namespace lockstep::jinja {

thread_local Budget* Budget::current_ = nullptr;

void fail(const char* type, std::string message) { throw Failure{type, std::move(message)}; }

void Budget::fail_steps() {
  // Twice the allowance lets nobody go on: the account stays overdrawn.
  fail("LimitError", fmt::format("the template takes more than {} steps", limits_.steps));
}

void Budget::fail_memory(uint64_t bytes) {
  live_bytes_ -= bytes;
  fail("LimitError",
       fmt::format("the template's values take more than {} bytes", limits_.memory_bytes));
}

void Budget::fail_depth() {
  fail("LimitError",
       fmt::format("the template nests macros, loops and expressions more than {} deep",
                   limits_.depth));
}

namespace {
constexpr uint64_t kBytesOfStep = 64;

void check(uint64_t bytes, const char* what) {
  const Budget* budget = Budget::current();
  const uint64_t limit = budget != nullptr ? budget->limits().string_bytes : Limits().string_bytes;
  if (bytes > limit) {
    fail("LimitError", fmt::format("{} would take more than {} bytes", what, limit));
  }
}
}  // namespace

void check_string_size(uint64_t bytes) {
  check(bytes, "a string");
  if (Budget* budget = Budget::current()) budget->step(bytes / kBytesOfStep);
}

void check_list_size(uint64_t n) {
  constexpr uint64_t kBytesOfValue = 48;
  check(n > UINT64_MAX / kBytesOfValue ? UINT64_MAX : n * kBytesOfValue, "a list");
  if (Budget* budget = Budget::current()) budget->step(n);
}

void grow(std::string& text, std::string_view piece) {
  check(text.size() + piece.size(), "a string");
  if (Budget* budget = Budget::current()) budget->step(piece.size() / kBytesOfStep);
  text.append(piece);
}

}  // namespace lockstep::jinja
