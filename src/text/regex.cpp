#include "text/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/text.h"
#include "lockstep/error.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

constexpr uint32_t kHeapLimitKiB = 512 * 1024;
constexpr size_t kJitStackBytes = 64u << 20;
// Steps of one match: giving back a run of white space takes as many as it is long.
constexpr uint64_t kMinSteps = 10'000'000;
constexpr uint64_t kStepsPerByte = 8;

template <class T, void (*kFree)(T*)>
struct Free {
  void operator()(T* pointer) const noexcept { kFree(pointer); }
};
template <class T, void (*kFree)(T*)>
using Owned = std::unique_ptr<T, Free<T, kFree>>;

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct Regex::Code {
  Owned<pcre2_code, pcre2_code_free> code;
  bool jit = false;
  std::string pattern;  // as written, for messages
  std::string place;
};

struct Regex::Matcher::State {
  Owned<pcre2_match_data, pcre2_match_data_free> data;
  Owned<pcre2_match_context, pcre2_match_context_free> context;
  Owned<pcre2_jit_stack, pcre2_jit_stack_free> stack;
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex::Regex(std::string_view pattern, const std::string& place)
    : code_(compile(translate_oniguruma(pattern, place), pattern, place)) {}

Regex Regex::of_literal(std::string_view literal, const std::string& place) {
  std::string escaped;
  for (size_t at = 0; at < literal.size();) {
    escaped += fmt::format("\\x{{{:x}}}", static_cast<uint32_t>(next_code_point(literal, at)));
  }
  return Regex(compile(escaped, literal, place));
}

std::unique_ptr<Regex::Code> Regex::compile(const std::string& pcre2, std::string_view pattern,
                                            const std::string& place) {
  Owned<pcre2_compile_context, pcre2_compile_context_free> context(
      pcre2_compile_context_create(nullptr));
  if (context == nullptr) throw Error(ErrorCode::kResourceExhausted, "no memory for a pattern");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_unique<Code>();
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pcre2.data()), pcre2.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &error, &offset, context.get()));
  if (code->code == nullptr) {
    throw Error(ErrorCode::kUnimplemented,
                fmt::format("{}: the pattern {} cannot be used: {}", place, quote_text(pattern),
                            message_of(error)),
                "patterns are Oniguruma's; PCRE2 has no equal of this one");
  }
  code->jit = pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE) == 0;
  code->pattern = pattern;
  code->place = place;
  return code;
}

Regex::Matcher::Matcher(const Regex& regex) : regex_(regex), state_(std::make_unique<State>()) {
  state_->data.reset(pcre2_match_data_create(1, nullptr));
  state_->context.reset(pcre2_match_context_create(nullptr));
  if (state_->data == nullptr || state_->context == nullptr) {
    throw Error(ErrorCode::kResourceExhausted, "no memory for matching a pattern");
  }
  pcre2_set_heap_limit(state_->context.get(), kHeapLimitKiB);
}

Regex::Matcher::~Matcher() = default;

bool Regex::Matcher::find(std::string_view text, size_t from) {
  const Code& code = *regex_.code_;
  if (text.size() > allowed_bytes_) allow(text.size());
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (code.jit) {
    result = pcre2_jit_match(code.code.get(), subject, text.size(), from, 0, state_->data.get(),
                             state_->context.get());
  }
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0 && !find_slowly(text, from, result)) return false;
  const PCRE2_SIZE* pair = pcre2_get_ovector_pointer(state_->data.get());
  // A lookbehind with \K could end before it begins; the translation lets none through.
  begin_ = pair[0];
  end_ = pair[1];
  return true;
}

void Regex::Matcher::allow(size_t n_bytes) {
  allowed_bytes_ = n_bytes;
  const uint64_t steps = std::max<uint64_t>(kMinSteps, kStepsPerByte * n_bytes);
  pcre2_set_match_limit(state_->context.get(),
                        static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
}

// With a large stack, then without JIT, which keeps its state on the heap.
bool Regex::Matcher::find_slowly(std::string_view text, size_t from, int result) {
  const Code& code = *regex_.code_;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  if (code.jit && result == PCRE2_ERROR_JIT_STACKLIMIT && state_->stack == nullptr) {
    state_->stack.reset(pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr));
    pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
    result = pcre2_jit_match(code.code.get(), subject, text.size(), from, 0, state_->data.get(),
                             state_->context.get());
  }
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
    result =
        pcre2_match(code.code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                    state_->data.get(), state_->context.get());
  }
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result >= 0) return true;
  throw Error(ErrorCode::kResourceExhausted,
              fmt::format("{}: the pattern {} gave up on a text of {} bytes: {}", code.place,
                          quote_text(code.pattern), text.size(), message_of(result)));
}

size_t Regex::Matcher::next_character(std::string_view text, size_t at) noexcept {
  return at + (at < text.size() ? utf8_length(text[at]) : 1);
}

}  // namespace lockstep::text
