// GPT-2's: its pattern, and bytes written in its alphabet.
#include "text/byte_alphabet.h"
#include "text/pre_tokenizer.h"
#include "text/regex.h"

namespace lockstep::text {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class ByteLevel : public PreTokenizer {
 public:
  explicit ByteLevel(const JsonPart& part)
      : add_prefix_space_(part.member("add_prefix_space").as_bool()) {
    if (part.bool_or("use_regex", true)) pattern_.emplace(kGpt2Pattern, part.place());
  }

  void apply(Pieces& pieces) const override {
    if (add_prefix_space_) {
      pieces.rewrite([](std::string& out, std::string_view text, bool) {
        if (!text.starts_with(' ')) out += ' ';
        out += text;
      });
    }
    if (pattern_.has_value()) {
      Regex::Matcher matcher(*pattern_);
      pieces.cut([&](std::string_view text, auto&& emit) {
        Splitter splitter(SplitBehavior::kIsolated, emit);
        size_t done = 0;
        matcher.for_each_match(text, [&](size_t begin, size_t end) {
          splitter.add(done, begin, false);
          splitter.add(begin, end, true);
          done = end;
        });
        splitter.add(done, text.size(), false);
        splitter.finish();
      });
    }
    if (keeps_bytes_) return;
    pieces.rewrite(
        [](std::string& out, std::string_view text, bool) { append_byte_alphabet(out, text); });
  }

  bool keep_bytes() override { return keeps_bytes_ = true; }

 private:
  bool add_prefix_space_;
  bool keeps_bytes_ = false;
  std::optional<Regex> pattern_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_byte_level_pre_tokenizer(const JsonPart& part) {
  return std::make_unique<ByteLevel>(part);
}

}  // namespace lockstep::text
