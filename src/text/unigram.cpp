// Unigram: the cut of a piece into tokens of the highest summed score, found from left to right.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "lockstep/error.h"
#include "text/byte_trie.h"
#include "text/model.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace lockstep::text {
namespace {

constexpr int32_t kNoId = -1;
constexpr double kUnknownPenalty = 10.0;  // below the lowest score

struct UnigramScratch : Model::Scratch {
  struct Node {  // the best way to here
    double score;
    uint32_t begin;  // of its last token
    int32_t id;      // kNoId: nothing ends here yet
  };
  std::vector<Node> nodes;
  std::vector<std::pair<uint32_t, uint32_t>> tokens;
};

class Unigram : public Model {
 public:
  explicit Unigram(const JsonPart& part)
      : place_(part.place()), byte_fallback_(part.bool_or("byte_fallback", false)) {
    read_vocab(part.member("vocab"));
    if (const std::optional<JsonPart> unk = part.optional("unk_id")) {
      unk_id_ = static_cast<int32_t>(unk->as_id());
      if (static_cast<size_t>(unk_id_) >= scores_.size()) {
        unk->fail(fmt::format("an id below {}", scores_.size()), unk->describe());
      }
    }
    for (size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
      byte_tokens_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(kNoId);
    }
  }

  std::unique_ptr<Scratch> make_scratch() const override {
    return std::make_unique<UnigramScratch>();
  }
  void encode(std::string_view piece, Scratch* scratch, std::vector<int32_t>& ids) const override;

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    return vocabulary_.find(token);
  }
  size_t id_limit() const override { return vocabulary_.id_limit(); }
  size_t size() const override { return scores_.size(); }
  std::optional<std::string_view> id_to_token(size_t id) const override {
    return vocabulary_.token(id);
  }

 private:
  void read_vocab(const JsonPart& part);
  void find_best(std::string_view piece, std::vector<UnigramScratch::Node>& nodes) const;
  void append_token(std::string_view token, std::vector<int32_t>& ids) const;
  int32_t unknown_id() const;

  std::string place_;
  bool byte_fallback_;
  Vocabulary vocabulary_;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  ByteTrie trie_;
  int32_t unk_id_ = kNoId;
  std::array<int32_t, 256> byte_tokens_{};
};

void Unigram::read_vocab(const JsonPart& part) {
  std::vector<std::string_view> tokens;
  double lowest = std::numeric_limits<double>::infinity();
  for (const simdjson::dom::element element : part.as_array()) {
    const auto fail = [&]() {
      const JsonPart wrong = part.elements()[tokens.size()];
      wrong.fail("a token and its score", wrong.describe());
    };
    simdjson::dom::array pair;
    std::string_view token;
    double score = 0;
    if (element.get_array().get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
        pair.at(0).get_string().get(token) != simdjson::SUCCESS ||
        pair.at(1).get_double().get(score) != simdjson::SUCCESS) {
      fail();
    }
    tokens.push_back(token);
    scores_.push_back(score);
    lowest = std::min(lowest, score);
  }
  unknown_score_ = lowest - kUnknownPenalty;
  vocabulary_ = Vocabulary::of_list(tokens);
  std::vector<ByteTrie::Entry> entries;
  entries.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    entries.push_back({tokens[id], static_cast<uint32_t>(id)});
  }
  trie_ = ByteTrie::build(std::move(entries));
}

void Unigram::find_best(std::string_view piece, std::vector<UnigramScratch::Node>& nodes) const {
  nodes.assign(piece.size() + 1, {0, 0, kNoId});
  const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
    UnigramScratch::Node& node = nodes[end];
    if (node.id != kNoId && score <= node.score) return;
    node = {score, static_cast<uint32_t>(begin), id};
  };
  for (size_t at = 0; at < piece.size();) {
    const size_t length = utf8_length(piece[at]);
    const double here = nodes[at].score;
    bool has_single = false;
    trie_.for_each_prefix(piece.substr(at), [&](size_t n, uint32_t id) {
      offer(at, at + n, scores_[id] + here, static_cast<int32_t>(id));
      has_single |= n == length;
    });
    if (!has_single) offer(at, at + length, unknown_score_ + here, unknown_id());
    at += length;
  }
}

void Unigram::encode(std::string_view piece, Scratch* scratch, std::vector<int32_t>& ids) const {
  auto& mine = static_cast<UnigramScratch&>(*scratch);
  find_best(piece, mine.nodes);
  // Backwards; neighbours that are unknown become one.
  mine.tokens.clear();
  bool last_unknown = false;
  for (auto end = static_cast<uint32_t>(piece.size()); end > 0;) {
    const UnigramScratch::Node& node = mine.nodes[end];
    const bool unknown = node.id == unk_id_;
    if (unknown && last_unknown) {
      mine.tokens.back().first = node.begin;
    } else {
      mine.tokens.emplace_back(node.begin, end);
    }
    last_unknown = unknown;
    end = node.begin;
  }
  for (size_t i = mine.tokens.size(); i-- > 0;) {
    const auto [begin, end] = mine.tokens[i];
    append_token(piece.substr(begin, end - begin), ids);
  }
}

void Unigram::append_token(std::string_view token, std::vector<int32_t>& ids) const {
  if (const std::optional<int32_t> id = vocabulary_.find(token)) {
    ids.push_back(*id);
    return;
  }
  if (byte_fallback_) {
    const size_t before = ids.size();
    for (const char c : token) ids.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
    if (std::find(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), kNoId) ==
        ids.end()) {
      return;
    }
    ids.resize(before);
  }
  ids.push_back(unknown_id());
}

int32_t Unigram::unknown_id() const {
  if (unk_id_ != kNoId) return unk_id_;
  throw Error(
      ErrorCode::kFailedPrecondition,
      fmt::format("{}: a character is not in the vocabulary, and there is no unk_id", place_));
}

}  // namespace

std::unique_ptr<Model> make_unigram(const JsonPart& part) {
  return std::make_unique<Unigram>(part);
}

}  // namespace lockstep::text
