// Decoders that put words together: WordPiece, BPEDecoder, CTC.
#include <array>
#include <utility>

#include "text/decoder_step.h"

namespace lockstep::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  size_t at = text.find(from);
  if (at == text.npos) return;
  std::string out;
  size_t done = 0;
  for (; at != text.npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  out.append(text, done);
  text = std::move(out);
}

// Spaces before English punctuation and contractions, one rule after the other.
void clean_up(std::string& text) {
  using Rule = std::pair<std::string_view, std::string_view>;
  constexpr auto kRules = std::to_array<Rule>({{" .", "."},
                                               {" ?", "?"},
                                               {" !", "!"},
                                               {" ,", ","},
                                               {" ' ", "'"},
                                               {" n't", "n't"},
                                               {" 'm", "'m"},
                                               {" do not", " don't"},
                                               {" 's", "'s"},
                                               {" 've", "'ve"},
                                               {" 're", "'re"}});
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

struct WordPieceOptions {
  std::string prefix;
  bool cleanup;
};

class WordPiece : public WholeTokens {
 public:
  WordPiece(TokenSink& next, WordPieceOptions options)
      : WholeTokens(next), options_(std::move(options)) {}

 protected:
  void token(std::string_view token) override {
    text_.clear();
    if (!is_first_ && token.starts_with(options_.prefix)) {
      token.remove_prefix(options_.prefix.size());
    } else if (!is_first_) {
      text_ += ' ';
    }
    is_first_ = false;
    text_ += token;
    if (options_.cleanup) clean_up(text_);
    emit(text_);
  }

 private:
  WordPieceOptions options_;
  bool is_first_ = true;
  std::string text_;
};

struct BpeOptions {
  std::string suffix;
};

/// The suffix is a space, and nothing in the last token: so one token waits.
class BpeSuffix : public WholeTokens {
 public:
  BpeSuffix(TokenSink& next, BpeOptions options)
      : WholeTokens(next), options_(std::move(options)) {}

 protected:
  void token(std::string_view token) override {
    give(" ");
    waiting_ = token;
    waits_ = true;
  }
  void end() override { give(""); }

 private:
  void give(std::string_view replacement) {
    if (!waits_) return;
    replace_suffix(replacement);
    emit(waiting_);
    waits_ = false;
  }
  void replace_suffix(std::string_view replacement) {
    if (!options_.suffix.empty()) {
      replace_all(waiting_, options_.suffix, replacement);
      return;
    }
    // An empty one matches around every character.
    std::string spread(replacement);
    for (size_t i = 0; i < waiting_.size(); ++i) {
      spread += waiting_[i];
      const bool ends =
          i + 1 == waiting_.size() || (static_cast<unsigned char>(waiting_[i + 1]) & 0xc0) != 0x80;
      if (ends) spread += replacement;
    }
    waiting_ = std::move(spread);
  }

  BpeOptions options_;
  std::string waiting_;
  bool waits_ = false;
};

struct CtcOptions {
  std::string pad_token, word_delimiter_token;
  bool cleanup;
};

class Ctc : public WholeTokens {
 public:
  Ctc(TokenSink& next, CtcOptions options) : WholeTokens(next), options_(std::move(options)) {}

 protected:
  void token(std::string_view token) override {
    if (!is_first_ && token == last_) return;
    is_first_ = false;
    last_ = token;
    text_ = token;
    replace_all(text_, options_.pad_token, "");
    if (options_.cleanup) {
      clean_up(text_);
      replace_all(text_, options_.word_delimiter_token, " ");
    }
    if (!text_.empty()) emit(text_);
  }

 private:
  CtcOptions options_;
  std::string last_, text_;
  bool is_first_ = true;
};

}  // namespace

std::unique_ptr<Decoder> make_word_decoder(std::string_view type, const JsonPart& part) {
  if (type == "WordPiece") {
    return std::make_unique<DecoderOf<WordPiece, WordPieceOptions>>(WordPieceOptions{
        std::string(part.member("prefix").as_string()), part.member("cleanup").as_bool()});
  }
  if (type == "BPEDecoder") {
    return std::make_unique<DecoderOf<BpeSuffix, BpeOptions>>(
        BpeOptions{std::string(part.member("suffix").as_string())});
  }
  if (type == "CTC") {
    return std::make_unique<DecoderOf<Ctc, CtcOptions>>(
        CtcOptions{std::string(part.member("pad_token").as_string()),
                   std::string(part.member("word_delimiter_token").as_string()),
                   part.member("cleanup").as_bool()});
  }
  return nullptr;
}

}  // namespace lockstep::text
