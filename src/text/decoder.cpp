#include "text/decoder.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "text/decoder_step.h"
#include "text/literal_replacer.h"

namespace lockstep::text {
namespace {

constexpr int kMaxDepth = 32;

/// A run of several steps, the first of which is given the tokens.
class Chain : public TokenSink {
 public:
  Chain(TokenSink& next, const std::vector<std::unique_ptr<Decoder>>& steps) : first_(&next) {
    for (size_t i = steps.size(); i-- > 0;) {
      runs_.push_back(steps[i]->start(*first_));
      first_ = runs_.back().get();
    }
  }
  void text(std::string_view part) override { first_->text(part); }
  void end_token() override { first_->end_token(); }
  void whole_token(std::string_view token) override { first_->whole_token(token); }
  void finish() override { first_->finish(); }

 private:
  std::vector<std::unique_ptr<TokenSink>> runs_;
  TokenSink* first_;
};

class Sequence : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  std::unique_ptr<TokenSink> start(TokenSink& next) const override {
    return std::make_unique<Chain>(next, steps_);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

struct NoOptions {};

class Join : public TokenSink {
 public:
  Join(TokenSink& next, NoOptions) : next_(next) {}
  void text(std::string_view part) override {
    if (pending_space_) next_.text(" ");
    pending_space_ = false;
    next_.text(part);
  }
  void end_token() override {
    if (pending_space_) next_.text(" ");
    pending_space_ = true;
  }
  void finish() override {
    next_.end_token();
    next_.finish();
  }

 private:
  TokenSink& next_;
  bool pending_space_ = false;
};

class Fuse : public TokenSink {
 public:
  Fuse(TokenSink& next, NoOptions) : next_(next) {}
  void text(std::string_view part) override { next_.text(part); }
  void end_token() override {}
  void finish() override {
    next_.end_token();
    next_.finish();
  }

 private:
  TokenSink& next_;
};

std::unique_ptr<Decoder> make(const JsonPart& part, int depth) {
  const std::string type = part.string_or("type", "");
  if (depth > kMaxDepth) part.fail(fmt::format("at most {} nested parts", kMaxDepth), "more");
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Decoder>> steps;
    for (const JsonPart& step : part.member("decoders").elements()) {
      steps.push_back(make(step, depth + 1));
    }
    return std::make_unique<Sequence>(std::move(steps));
  }
  if (type == "Fuse") return std::make_unique<DecoderOf<Fuse, NoOptions>>(NoOptions{});
  for (const auto maker : {make_byte_decoder, make_text_decoder, make_word_decoder}) {
    if (auto made = maker(type, part)) return made;
  }
  part.fail_type("a decoder", {"ByteLevel", "Metaspace", "ByteFallback", "Fuse", "Replace", "Strip",
                               "WordPiece", "BPEDecoder", "CTC", "Sequence"});
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const JsonPart& part) { return make(part, 0); }

std::unique_ptr<Decoder> make_joining_decoder() {
  return std::make_unique<DecoderOf<Join, NoOptions>>(NoOptions{});
}

std::unique_ptr<Decoder> make_clean_up_decoder() {
  constexpr std::array<std::array<std::string_view, 2>, 10> kRules = {{{" .", "."},
                                                                       {" ?", "?"},
                                                                       {" !", "!"},
                                                                       {" ,", ","},
                                                                       {" ' ", "'"},
                                                                       {" n't", "n't"},
                                                                       {" 'm", "'m"},
                                                                       {" 's", "'s"},
                                                                       {" 've", "'ve"},
                                                                       {" 're", "'re"}}};
  std::vector<std::unique_ptr<Decoder>> steps;
  steps.push_back(std::make_unique<DecoderOf<Fuse, NoOptions>>(NoOptions{}));
  for (const auto& [from, to] : kRules) {
    steps.push_back(make_literal_decoder(std::string(from), std::string(to)));
  }
  return std::make_unique<Sequence>(std::move(steps));
}

}  // namespace lockstep::text
