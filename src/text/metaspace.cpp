// SentencePiece's spaces: written as a visible character, one of them before the text.
#include "text/metaspace.h"

#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  explicit MetaspacePreTokenizer(const JsonPart& part) : options_(part) {}

  void apply(Pieces& pieces) const override {
    const std::string& mark = options_.replacement;
    pieces.rewrite([&](std::string& out, std::string_view text, bool is_first) {
      const bool marked = text.starts_with(' ') || text.starts_with(mark);
      const bool wanted = options_.prepend == Metaspace::Prepend::kAlways ||
                          (options_.prepend == Metaspace::Prepend::kFirst && is_first);
      if (wanted && !marked) out += mark;
      size_t done = 0;
      for (size_t at = text.find(' '); at != text.npos; at = text.find(' ', done)) {
        out.append(text.substr(done, at - done)).append(mark);
        done = at + 1;
      }
      out += text.substr(done);
    });
    if (!options_.split) return;
    pieces.cut([&](std::string_view text, auto&& emit) {
      Splitter splitter(SplitBehavior::kMergedWithNext, emit);
      size_t done = 0;
      for (size_t at = text.find(mark); at != text.npos; at = text.find(mark, done)) {
        if (done < at) splitter.add(done, at, false);
        done = at + mark.size();
        splitter.add(at, done, true);
      }
      if (done < text.size()) splitter.add(done, text.size(), false);
      splitter.finish();
    });
  }

 private:
  Metaspace options_;
};

}  // namespace

Metaspace::Metaspace(const JsonPart& part) {
  append_code_point(replacement, part.member("replacement").as_character());
  split = part.bool_or("split", true);
  const std::string scheme = part.string_or("prepend_scheme", "always");
  if (scheme == "first") {
    prepend = Prepend::kFirst;
  } else if (scheme == "never") {
    prepend = Prepend::kNever;
  } else if (scheme != "always") {
    part.member("prepend_scheme").fail("always, first or never", scheme);
  }
  if (part.bool_or("add_prefix_space", true)) return;
  const bool contradicts =
      part.optional("prepend_scheme").has_value() && prepend != Prepend::kNever;
  if (contradicts) {
    part.member("add_prefix_space").fail("true, as prepend_scheme is " + scheme, "false");
  }
  prepend = Prepend::kNever;
}

std::unique_ptr<PreTokenizer> make_metaspace_pre_tokenizer(const JsonPart& part) {
  return std::make_unique<MetaspacePreTokenizer>(part);
}

}  // namespace lockstep::text
