#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "lockstep/error.h"

namespace lockstep::text {
namespace {

constexpr int kMaxDepth = 32;

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  void apply(Pieces& pieces) const override {
    for (const auto& step : steps_) step->apply(pieces);
  }
  bool keep_bytes() override { return !steps_.empty() && steps_.back()->keep_bytes(); }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

std::unique_ptr<PreTokenizer> make(const JsonPart& part, int depth) {
  const std::string type = part.string_or("type", "");
  if (depth > kMaxDepth) part.fail(fmt::format("at most {} nested parts", kMaxDepth), "more");
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    for (const JsonPart& step : part.member("pretokenizers").elements()) {
      steps.push_back(make(step, depth + 1));
    }
    return std::make_unique<Sequence>(std::move(steps));
  }
  if (type == "ByteLevel") return make_byte_level_pre_tokenizer(part);
  if (type == "Metaspace") return make_metaspace_pre_tokenizer(part);
  if (type == "Split") return make_split_pre_tokenizer(part);
  if (type == "UnicodeScripts") return make_unicode_scripts_pre_tokenizer();
  if (auto made = make_character_pre_tokenizer(type, part)) return made;
  part.fail_type(
      "a pre-tokenizer",
      {"ByteLevel", "Split", "Metaspace", "Whitespace", "WhitespaceSplit", "Digits", "Punctuation",
       "BertPreTokenizer", "UnicodeScripts", "FixedLength", "CharDelimiterSplit", "Sequence"});
}

}  // namespace

Pieces::Pieces(std::string_view text, bool from_start, size_t max_bytes)
    : text_(text), from_start_(from_start), max_bytes_(max_bytes) {
  check_size(text.size());
  if (!text.empty()) pieces_.push_back({0, static_cast<uint32_t>(text.size())});
}

void Pieces::check_size(size_t n_bytes) const {
  if (n_bytes <= max_bytes_ && n_bytes <= std::numeric_limits<uint32_t>::max()) return;
  throw Error(ErrorCode::kResourceExhausted,
              fmt::format("the pre-tokenizer is given or makes a text of {} bytes", n_bytes),
              "encode it in parts");
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonPart& part) { return make(part, 0); }

}  // namespace lockstep::text
