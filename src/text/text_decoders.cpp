// Decoders that rewrite the text of tokens: Replace, Strip, Metaspace.
#include <algorithm>

#include "lockstep/error.h"
#include "text/decoder_step.h"
#include "text/literal_replacer.h"
#include "text/metaspace.h"
#include "text/replace.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

constexpr size_t kMaxTokenBytes = 64u << 20;

class ReplacePattern : public WholeTokens {
 public:
  ReplacePattern(TokenSink& next, const std::shared_ptr<const Replacer>& replacer)
      : WholeTokens(next), replacer_(replacer) {}

 protected:
  void token(std::string_view token) override {
    replaced_.clear();
    // The reference takes an empty token for no match, even of a pattern that matches it.
    if (!token.empty()) {
      replacer_->append_replaced(replaced_, token, std::max(kMaxTokenBytes, 16 * token.size()));
    }
    emit(replaced_);
  }

 private:
  std::shared_ptr<const Replacer> replacer_;
  std::string replaced_;
};

struct StripOptions {
  std::string content;  // one character
  size_t start, stop;
};

/// Takes up to `start` of a character off the front of every token, and up to `stop` off its end.
class Strip : public TokenSink {
 public:
  Strip(TokenSink& next, StripOptions options) : next_(next), options_(std::move(options)) {
    left_ = options_.start;
  }

  void text(std::string_view part) override {
    waiting_ += part;
    settle(false);
  }
  void end_token() override {
    settle(true);
    waiting_.clear();
    left_ = options_.start;
    next_.end_token();
  }
  void finish() override { next_.finish(); }

 private:
  // Hands on what is neither front nor, while the token goes on, possibly its end.
  void settle(bool at_end) {
    const std::string& content = options_.content;
    while (left_ > 0 && std::string_view(waiting_).starts_with(content)) {
      waiting_.erase(0, content.size());
      --left_;
    }
    if (left_ > 0 && !waiting_.empty()) {
      const bool undecided = !at_end && content.starts_with(waiting_);
      if (undecided) return;
      left_ = 0;
    }
    size_t end = waiting_.size();
    for (size_t n = 0; n < options_.stop; ++n) {
      if (!std::string_view(waiting_).substr(0, end).ends_with(content)) break;
      end -= content.size();
    }
    if (end > 0) next_.text(std::string_view(waiting_).substr(0, end));
    waiting_.erase(0, end);
  }

  TokenSink& next_;
  StripOptions options_;
  size_t left_;  // of the front still to be taken off
  std::string waiting_;
};

class MetaspaceRun : public WholeTokens {
 public:
  MetaspaceRun(TokenSink& next, const Metaspace& options) : WholeTokens(next), options_(options) {}

 protected:
  void token(std::string_view token) override {
    const std::string& mark = options_.replacement;
    const bool drop = is_first_ && options_.prepend != Metaspace::Prepend::kNever;
    is_first_ = false;
    size_t done = 0;
    for (size_t at = token.find(mark); at != token.npos; at = token.find(mark, done)) {
      next().text(token.substr(done, at - done));
      if (!drop) next().text(" ");
      done = at + mark.size();
    }
    next().text(token.substr(done));
    next().end_token();
  }

 private:
  Metaspace options_;
  bool is_first_ = true;
};

}  // namespace

std::unique_ptr<Decoder> make_text_decoder(std::string_view type, const JsonPart& part) {
  if (type == "Replace") {
    auto replacer = std::make_shared<const Replacer>(part);
    if (!replacer->pattern().regex.has_value()) {
      return make_literal_decoder(replacer->pattern().literal, replacer->content());
    }
    return std::make_unique<DecoderOf<ReplacePattern, std::shared_ptr<const Replacer>>>(
        std::move(replacer));
  }
  if (type == "Strip") {
    StripOptions options{"", part.member("start").as_id(), part.member("stop").as_id()};
    append_code_point(options.content, part.member("content").as_character());
    return std::make_unique<DecoderOf<Strip, StripOptions>>(std::move(options));
  }
  if (type == "Metaspace") {
    return std::make_unique<DecoderOf<MetaspaceRun, Metaspace>>(Metaspace(part));
  }
  return nullptr;
}

}  // namespace lockstep::text
