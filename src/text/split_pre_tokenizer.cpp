// Cuts at the matches of a pattern, or, inverted, between them.
#include "text/pre_tokenizer.h"
#include "text/replace.h"

namespace lockstep::text {
namespace {

class Split : public PreTokenizer {
 public:
  explicit Split(const JsonPart& part)
      : pattern_(part.member("pattern")),
        behavior_(split_behavior_of(part.member("behavior"))),
        invert_(part.member("invert").as_bool()) {}

  void apply(Pieces& pieces) const override {
    if (!pattern_.regex.has_value()) {
      cut(pieces, [&](std::string_view text, auto&& visit) {
        const std::string& literal = pattern_.literal;
        for (size_t at = text.find(literal); at != text.npos;) {
          visit(at, at + literal.size());
          at = text.find(literal, at + literal.size());
        }
      });
      return;
    }
    Regex::Matcher matcher(*pattern_.regex);
    cut(pieces, [&](std::string_view text, auto&& visit) { matcher.for_each_match(text, visit); });
  }

 private:
  template <class ForEachMatch>
  void cut(Pieces& pieces, ForEachMatch&& for_each_match) const {
    pieces.cut([&](std::string_view text, auto&& emit) {
      Splitter splitter(behavior_, emit);
      size_t done = 0;
      for_each_match(text, [&](size_t begin, size_t end) {
        if (done < begin) splitter.add(done, begin, invert_);
        splitter.add(begin, end, !invert_);
        done = end;
      });
      if (done < text.size()) splitter.add(done, text.size(), invert_);
      splitter.finish();
    });
  }

  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_split_pre_tokenizer(const JsonPart& part) {
  return std::make_unique<Split>(part);
}

}  // namespace lockstep::text
