#include "text/normalizer.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "lockstep/error.h"
#include "text/byte_alphabet.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

constexpr int kMaxDepth = 32;

class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(NormalForm form) : form_(form) {}
  void apply(StagedText& text) const override { text.text = normal_form(text.text, form_); }

 private:
  NormalForm form_;
};

class Lowercase : public Normalizer {
 public:
  void apply(StagedText& text) const override { text.text = lower_case(text.text); }
};

/// Keeps the characters for which `map(c)` is not kDropped, as what it gives.
class Mapped : public Normalizer {
 public:
  static constexpr char32_t kDropped = 0xffffffff;
  explicit Mapped(char32_t (*map)(char32_t)) : map_(map) {}

  void apply(StagedText& text) const override {
    std::string out;
    out.reserve(text.text.size());
    for (size_t at = 0; at < text.text.size();) {
      const bool first = at == 0;
      const char32_t c = map_(next_code_point(text.text, at));
      if (c != kDropped) {
        append_code_point(out, c);
      } else if (first) {
        text.from_start = false;
      }
    }
    text.text = std::move(out);
  }

 private:
  char32_t (*map_)(char32_t);
};

char32_t without_marks(char32_t c) { return is_mark(c) ? Mapped::kDropped : c; }

// SentencePiece's nmt rules, without its full-width forms.
char32_t nmt(char32_t c) {
  if ((c >= 0x01 && c <= 0x08) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f ||
      c == 0x9f) {
    return Mapped::kDropped;
  }
  const bool space = c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 ||
                     (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xfeff || c == 0xfffd;
  return space ? U' ' : c;
}

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}

  void apply(StagedText& text) const override {
    const std::string_view all = text.text;
    size_t begin = 0;
    for (size_t at = 0; left_ && at < all.size() && is_white_space(next_code_point(all, at));) {
      begin = at;
    }
    size_t end = all.size();
    for (size_t at = end; right_ && at > begin && is_white_space(previous_code_point(all, at));) {
      end = at;
    }
    if (begin > 0) text.from_start = false;
    text.text = text.text.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string_view prefix) : prefix_(prefix) {}
  void apply(StagedText& text) const override {
    if (text.text.empty()) return;
    text.check_size(text.text.size() + prefix_.size());
    text.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class ByteLevel : public Normalizer {
 public:
  void apply(StagedText& text) const override {
    std::string out;
    out.reserve(text.text.size());
    append_byte_alphabet(out, text.text);
    text.check_size(out.size());
    text.text = std::move(out);
  }
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(StagedText& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

std::unique_ptr<Normalizer> make(const JsonPart& part, int depth) {
  const std::string type = part.string_or("type", "");
  if (depth > kMaxDepth) part.fail(fmt::format("at most {} nested parts", kMaxDepth), "more");
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> steps;
    for (const JsonPart& step : part.member("normalizers").elements()) {
      steps.push_back(make(step, depth + 1));
    }
    return std::make_unique<Sequence>(std::move(steps));
  }
  if (type == "NFC") return std::make_unique<UnicodeForm>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<UnicodeForm>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<UnicodeForm>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<UnicodeForm>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<Mapped>(without_marks);
  if (type == "Nmt") return std::make_unique<Mapped>(nmt);
  if (type == "Strip") {
    return std::make_unique<Strip>(part.member("strip_left").as_bool(),
                                   part.member("strip_right").as_bool());
  }
  if (type == "Prepend") return std::make_unique<Prepend>(part.member("prepend").as_string());
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Replace") return make_replace_normalizer(part);
  if (type == "Precompiled") return make_precompiled_normalizer(part);
  if (type == "BertNormalizer" || type == "Bert") return make_bert_normalizer(part);
  part.fail_type("a normalizer",
                 {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Replace",
                  "Prepend", "Nmt", "Precompiled", "BertNormalizer", "ByteLevel", "Sequence"});
}

}  // namespace

void StagedText::check_size(size_t n_bytes) const {
  if (n_bytes <= max_bytes) return;
  throw Error(ErrorCode::kResourceExhausted,
              fmt::format("the tokenizer's stages make a text longer than {} bytes", max_bytes),
              "its replacements multiply; this file is not meant for use");
}

std::unique_ptr<Normalizer> make_normalizer(const JsonPart& part) { return make(part, 0); }

}  // namespace lockstep::text
