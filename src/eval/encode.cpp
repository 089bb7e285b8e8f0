#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "eval/scorer.h"
#include "lockstep/error.h"

namespace lockstep::eval {
namespace {

constexpr text::EncodeOptions kPlain{.add_special_tokens = false};

// Drops ids from the beginning, those before every text apart, until at most `most` are left.
bool cut_front(std::vector<int32_t>& ids, size_t n_prefix, size_t most) {
  if (ids.size() <= most) return false;
  const size_t n_dropped = ids.size() - most;
  const auto first = ids.begin() + static_cast<std::ptrdiff_t>(std::min(n_prefix, most));
  ids.erase(first, first + static_cast<std::ptrdiff_t>(n_dropped));
  return true;
}

}  // namespace

EncodedChoice encode_choice(const text::Tokenizer& tokenizer, const Choice& choice,
                            int64_t max_length) {
  const size_t end = choice.context.find_last_not_of(" \t\n") + 1;  // npos + 1 is 0
  const std::string context = choice.context.substr(0, end);
  const std::string whole = choice.context + choice.continuation;
  const std::vector<int32_t> prefix = tokenizer.prefix_ids();
  std::vector<int32_t> ids = prefix;
  const std::vector<int32_t> plain = tokenizer.encode(whole, kPlain);
  ids.insert(ids.end(), plain.begin(), plain.end());
  const std::vector<int32_t> alone = tokenizer.encode(context, kPlain);
  size_t n_context = prefix.size() + alone.size();
  if (n_context >= ids.size()) {
    // A token reaches over the border: all that is not the context's own is weighed.
    n_context = prefix.size() +
                static_cast<size_t>(std::ranges::mismatch(alone, plain).in1 - alone.begin());
  }
  if (n_context >= ids.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the continuation {} has no token of its own behind its context",
                            quote_text(choice.continuation)));
  }
  // The first token of all has no probability.
  if (n_context == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the choice {} has no context, and the tokenizer puts nothing before a "
                            "text: its first token has no probability",
                            quote_text(choice.continuation)));
  }
  const size_t n_continuation = ids.size() - n_context;
  if (max_length > 0 && static_cast<int64_t>(n_continuation) >= max_length) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("a continuation of {} tokens does not fit a length of {}",
                            n_continuation, max_length));
  }
  EncodedChoice encoded;
  if (max_length > 0) {
    encoded.is_cut = cut_front(ids, prefix.size(), static_cast<size_t>(max_length));
  }
  encoded.n_context = ids.size() - n_continuation;
  encoded.ids = std::move(ids);
  return encoded;
}

std::vector<int32_t> encode_prompt(const text::Tokenizer& tokenizer, const std::string& prompt,
                                   int64_t max_tokens, int64_t max_length, bool& is_cut) {
  std::vector<int32_t> ids = tokenizer.prefix_ids();
  const size_t n_prefix = ids.size();
  const std::vector<int32_t> plain = tokenizer.encode(prompt, kPlain);
  ids.insert(ids.end(), plain.begin(), plain.end());
  is_cut = false;
  if (max_length > 0) {
    const int64_t room = std::max<int64_t>(max_length - max_tokens, 1);
    is_cut = cut_front(ids, n_prefix, static_cast<size_t>(room));
  }
  return ids;
}

bool cut_at_stop(std::string& text, std::span<const std::string> stop) {
  size_t first = std::string::npos;
  for (const std::string& end : stop) first = std::min(first, text.find(end));
  if (first == std::string::npos) return false;
  text.resize(first);
  return true;
}

}  // namespace lockstep::eval
