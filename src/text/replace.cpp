#include "text/replace.h"

#include "lockstep/error.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

class Replace : public Normalizer {
 public:
  explicit Replace(const JsonPart& part) : replacer_(part) {}

  void apply(StagedText& text) const override {
    std::string out;
    out.reserve(text.text.size());
    const size_t first = replacer_.append_replaced(out, text.text, text.max_bytes);
    // What replaces one character comes from it; what replaces more comes from the last of them.
    if (first > 0 && (replacer_.content().empty() || first > utf8_length(text.text[0]))) {
      text.from_start = false;
    }
    text.text = std::move(out);
  }

 private:
  Replacer replacer_;
};

}  // namespace

Pattern::Pattern(const JsonPart& part) {
  if (const std::optional<JsonPart> string = part.optional("String")) {
    literal = string->as_string();
    if (literal.empty()) regex = Regex::of_literal(literal, string->place());
  } else if (const std::optional<JsonPart> pattern = part.optional("Regex")) {
    regex.emplace(pattern->as_string(), pattern->place());
  } else {
    part.fail("an object with String or Regex", part.describe());
  }
}

size_t Replacer::append_replaced(std::string& out, std::string_view text, size_t max_bytes) const {
  size_t done = 0;
  size_t first = 0;
  const auto replace = [&](size_t begin, size_t end) {
    if (begin == 0) first = end;
    out.append(text.substr(done, begin - done)).append(content_);
    done = end;
    if (out.size() > max_bytes) {
      throw Error(ErrorCode::kResourceExhausted, "a replacement makes the text too long");
    }
  };
  if (pattern_.regex.has_value()) {
    Regex::Matcher(*pattern_.regex).for_each_match(text, replace);
  } else {
    const std::string& literal = pattern_.literal;
    for (size_t at = text.find(literal); at != text.npos; at = text.find(literal, done)) {
      replace(at, at + literal.size());
    }
  }
  out.append(text.substr(done));
  return first;
}

std::unique_ptr<Normalizer> make_replace_normalizer(const JsonPart& part) {
  return std::make_unique<Replace>(part);
}

}  // namespace lockstep::text
