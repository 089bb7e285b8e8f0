#include "text/literal_replacer.h"

#include <algorithm>
#include <utility>

#include "text/decoder_step.h"

namespace lockstep::text {
namespace {

struct Rule {
  std::string from, to;
};

class ReplaceLiteral : public TokenSink {
 public:
  ReplaceLiteral(TokenSink& next, Rule rule) : next_(next), rule_(std::move(rule)) {}

  void text(std::string_view part) override {
    // Without a wait the text need not be copied.
    if (waiting_.empty()) {
      waiting_ = part.substr(replace_in(part));
      return;
    }
    waiting_ += part;
    waiting_.erase(0, replace_in(waiting_));
  }
  void end_token() override {
    if (!waiting_.empty()) next_.text(waiting_);
    waiting_.clear();
    next_.end_token();
  }
  void finish() override { next_.finish(); }

 private:
  // Hands on what is settled, and says how much that was.
  size_t replace_in(std::string_view text) {
    size_t done = 0;
    for (size_t at = text.find(rule_.from); at != text.npos; at = text.find(rule_.from, done)) {
      if (done < at) next_.text(text.substr(done, at - done));
      if (!rule_.to.empty()) next_.text(rule_.to);
      done = at + rule_.from.size();
    }
    const size_t settled = text.size() - partial_match_at_end(text.substr(done), rule_.from);
    if (done < settled) next_.text(text.substr(done, settled - done));
    return settled;
  }

  TokenSink& next_;
  Rule rule_;
  std::string waiting_;
};

}  // namespace

size_t partial_match_at_end(std::string_view text, std::string_view literal) noexcept {
  const size_t most = std::min(text.size(), literal.size() - 1);
  for (size_t n = most; n > 0; --n) {
    if (text.ends_with(literal.substr(0, n))) return n;
  }
  return 0;
}

std::unique_ptr<Decoder> make_literal_decoder(std::string from, std::string to) {
  return std::make_unique<DecoderOf<ReplaceLiteral, Rule>>(Rule{std::move(from), std::move(to)});
}

}  // namespace lockstep::text
