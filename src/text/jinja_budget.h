// What a template may spend while it is rendered, and how it fails: a hostile template ends with
// an error, never with the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep::jinja {

/// An error as Python would name it ("TypeError", "UndefinedError", ...); LimitError is our own.
/// The line is added where the template is known.
struct Failure {
  std::string type;
  std::string message;
};

[[noreturn]] void fail(const char* type, std::string message);

struct Limits {
  uint64_t steps = 20'000'000;         ///< nodes evaluated, and 64 bytes of text each
  uint64_t memory_bytes = 512u << 20;  ///< alive at a time
  uint64_t string_bytes = 64u << 20;   ///< one string, and the whole output
  int depth = 900;                     ///< nested evaluations: macros, loops, expressions
};

/// Values nest at most this deep, which also bounds every recursion over a value.
inline constexpr int kMaxNesting = 400;

/// The account of one rendering. One is current in a thread while it renders.
class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits), outer_(current_) { current_ = this; }
  ~Budget() { current_ = outer_; }
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  /// nullptr outside of a rendering, as while parsing.
  static Budget* current() noexcept { return current_; }

  void step(uint64_t n = 1) {
    steps_ += n;
    if (steps_ > limits_.steps) fail_steps();
  }
  void hold(uint64_t bytes) {
    live_bytes_ += bytes;
    if (live_bytes_ > limits_.memory_bytes) fail_memory(bytes);
  }
  void release(uint64_t bytes) noexcept { live_bytes_ -= bytes; }
  const Limits& limits() const noexcept { return limits_; }

 private:
  friend class Nested;
  [[noreturn]] void fail_steps();
  [[noreturn]] void fail_memory(uint64_t bytes);
  [[noreturn]] void fail_depth();

  static thread_local Budget* current_;
  Limits limits_;
  Budget* outer_;
  uint64_t steps_ = 0;
  uint64_t live_bytes_ = 0;
  int depth_ = 0;
};

/// Counts one step, and one level of depth while it lives.
class Nested {
 public:
  Nested() : budget_(Budget::current()) {
    if (budget_ == nullptr) return;
    budget_->step();
    if (budget_->depth_ >= budget_->limits_.depth) budget_->fail_depth();
    ++budget_->depth_;
  }
  ~Nested() {
    if (budget_ != nullptr) --budget_->depth_;
  }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Budget* budget_;
};

/// Throws LimitError before a string of `bytes` is made; counts its steps. No-op outside of a
/// rendering but for the size of one string.
void check_string_size(uint64_t bytes);
/// The same for a sequence of `n` values.
void check_list_size(uint64_t n);
/// Appends, checking as check_string_size() does, without counting what was there before.
void grow(std::string& text, std::string_view piece);

}  // namespace lockstep::jinja
