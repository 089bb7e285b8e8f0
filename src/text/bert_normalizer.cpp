// What BERT does to text: controls out, spaces around ideographs, accents off, lower case.
#include <optional>
#include <utility>

#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

// The blocks that BERT calls Chinese, gaps included.
bool is_ideograph(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool is_removed(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return c == 0 || c == 0xfffd || is_control_or_format(c);
}

class BertNormalizer : public Normalizer {
 public:
  explicit BertNormalizer(const JsonPart& part)
      : clean_text_(part.member("clean_text").as_bool()),
        handle_chinese_chars_(part.member("handle_chinese_chars").as_bool()),
        lowercase_(part.member("lowercase").as_bool()),
        strip_accents_(part.bool_or("strip_accents", lowercase_)) {}

  void apply(StagedText& text) const override {
    rewrite(text);
    if (strip_accents_) {
      const std::string decomposed = normal_form(text.text, NormalForm::kNfd);
      text.text.clear();
      for (size_t at = 0; at < decomposed.size();) {
        const char32_t c = next_code_point(decomposed, at);
        if (!is_nonspacing_mark(c)) append_code_point(text.text, c);
      }
    }
    if (lowercase_) text.text = lower_case(text.text);
  }

 private:
  void rewrite(StagedText& text) const {
    std::string out;
    out.reserve(text.text.size());
    for (size_t at = 0; at < text.text.size();) {
      const bool first = at == 0;
      const char32_t c = next_code_point(text.text, at);
      if (clean_text_ && is_removed(c)) {
        if (first) text.from_start = false;
      } else if (clean_text_ && is_white_space(c)) {
        out += ' ';
      } else if (handle_chinese_chars_ && is_ideograph(c)) {
        out += ' ';
        append_code_point(out, c);
        out += ' ';
      } else {
        append_code_point(out, c);
      }
    }
    text.text = std::move(out);
  }

  bool clean_text_, handle_chinese_chars_, lowercase_, strip_accents_;
};

}  // namespace

std::unique_ptr<Normalizer> make_bert_normalizer(const JsonPart& part) {
  return std::make_unique<BertNormalizer>(part);
}

}  // namespace lockstep::text
