// Pre-tokenizers that decide by one character at a time.
#include <optional>

#include "text/pre_tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

/// Every character for which `is_delimiter` holds is a delimiter of its own.
class SplitAt : public PreTokenizer {
 public:
  SplitAt(bool (*is_delimiter)(char32_t), SplitBehavior behavior)
      : is_delimiter_(is_delimiter), behavior_(behavior) {}

  void apply(Pieces& pieces) const override {
    pieces.cut([&](std::string_view text, auto&& emit) {
      Splitter splitter(behavior_, emit);
      size_t done = 0;
      for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        if (!is_delimiter_(next_code_point(text, at))) continue;
        if (done < begin) splitter.add(done, begin, false);
        splitter.add(begin, at, true);
        done = at;
      }
      if (done < text.size()) splitter.add(done, text.size(), false);
      splitter.finish();
    });
  }

 private:
  bool (*is_delimiter_)(char32_t);
  SplitBehavior behavior_;
};

class BertPreTokenizer : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    SplitAt(is_white_space, SplitBehavior::kRemoved).apply(pieces);
    SplitAt(is_punctuation, SplitBehavior::kIsolated).apply(pieces);
  }
};

/// \w+|[^\w\s]+
class Whitespace : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    enum class Kind { kSpace, kWord, kOther };
    pieces.cut([&](std::string_view text, auto&& emit) {
      size_t begin = 0;
      Kind run = Kind::kSpace;
      for (size_t at = 0; at < text.size();) {
        const size_t here = at;
        const char32_t c = next_code_point(text, at);
        const Kind kind = is_white_space(c) ? Kind::kSpace
                          : is_word(c)      ? Kind::kWord
                                            : Kind::kOther;
        if (kind == run) continue;
        if (run != Kind::kSpace) emit(begin, here);
        begin = here;
        run = kind;
      }
      if (run != Kind::kSpace) emit(begin, text.size());
    });
  }
};

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(uint32_t length) : length_(length) {}

  void apply(Pieces& pieces) const override {
    pieces.cut([&](std::string_view text, auto&& emit) {
      for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        for (uint32_t i = 0; i < length_ && at < text.size(); ++i) at += utf8_length(text[at]);
        emit(begin, at);
      }
    });
  }

 private:
  uint32_t length_;
};

class Delimiter : public PreTokenizer {
 public:
  explicit Delimiter(char32_t delimiter) { append_code_point(delimiter_, delimiter); }

  void apply(Pieces& pieces) const override {
    pieces.cut([&](std::string_view text, auto&& emit) {
      size_t done = 0;
      for (size_t at = text.find(delimiter_); at != text.npos; at = text.find(delimiter_, done)) {
        emit(done, at);
        done = at + delimiter_.size();
      }
      emit(done, text.size());
    });
  }

 private:
  std::string delimiter_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_character_pre_tokenizer(std::string_view type,
                                                           const JsonPart& part) {
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "BertPreTokenizer") return std::make_unique<BertPreTokenizer>();
  if (type == "WhitespaceSplit") {
    return std::make_unique<SplitAt>(is_white_space, SplitBehavior::kRemoved);
  }
  if (type == "Digits") {
    const bool each = part.member("individual_digits").as_bool();
    return std::make_unique<SplitAt>(is_numeric,
                                     each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    const std::optional<JsonPart> behavior = part.optional("behavior");
    return std::make_unique<SplitAt>(is_punctuation, behavior.has_value()
                                                         ? split_behavior_of(*behavior)
                                                         : SplitBehavior::kIsolated);
  }
  if (type == "FixedLength") {
    const std::optional<JsonPart> length = part.optional("length");
    if (length.has_value() && length->as_id() == 0) length->fail("at least 1", "0");
    return std::make_unique<FixedLength>(length.has_value() ? length->as_id() : 5);
  }
  if (type == "CharDelimiterSplit") {
    return std::make_unique<Delimiter>(part.member("delimiter").as_character());
  }
  return nullptr;
}

}  // namespace lockstep::text
