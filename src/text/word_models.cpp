// WordPiece: the longest tokens from left to right. WordLevel: whole words.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "lockstep/error.h"
#include "text/model.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace lockstep::text {
namespace {

class WordModel : public Model {
 public:
  explicit WordModel(const JsonPart& part)
      : vocabulary_(Vocabulary::of_object(part.member("vocab"))),
        place_(part.place()),
        unk_token_(part.member("unk_token").as_string()) {}

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    return vocabulary_.find(token);
  }
  size_t id_limit() const override { return vocabulary_.id_limit(); }
  size_t size() const override { return vocabulary_.size(); }
  std::optional<std::string_view> id_to_token(size_t id) const override {
    return vocabulary_.token(id);
  }

 protected:
  int32_t unknown_id() const {
    if (const std::optional<int32_t> id = vocabulary_.find(unk_token_)) return *id;
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: unk_token {} is needed, and is not in the vocabulary", place_,
                            quote_text(unk_token_)));
  }
  Vocabulary vocabulary_;

 private:
  std::string place_;
  std::string unk_token_;
};

class WordLevel : public WordModel {
 public:
  using WordModel::WordModel;
  void encode(std::string_view piece, Scratch*, std::vector<int32_t>& ids) const override {
    const std::optional<int32_t> id = vocabulary_.find(piece);
    ids.push_back(id.has_value() ? *id : unknown_id());
  }
};

class WordPiece : public WordModel {
 public:
  explicit WordPiece(const JsonPart& part)
      : WordModel(part),
        prefix_(part.member("continuing_subword_prefix").as_string()),
        max_characters_(part.member("max_input_chars_per_word").as_id()) {
    const StringTable& table = vocabulary_.table();
    for (size_t i = 0; i < table.size(); ++i) {
      longest_ = std::max(longest_, table.string(i).size());
    }
  }

  void encode(std::string_view piece, Scratch*, std::vector<int32_t>& ids) const override {
    const size_t before = ids.size();
    bool known = count_code_points(piece) <= max_characters_;
    std::string spelled;
    for (size_t begin = 0; known && begin < piece.size();) {
      spelled = begin == 0 ? "" : prefix_;
      const size_t n_prefix = spelled.size();
      spelled += piece.substr(begin, longest_);
      std::optional<int32_t> id;
      while (spelled.size() > n_prefix && !(id = vocabulary_.find(spelled)).has_value()) {
        while ((static_cast<unsigned char>(spelled.back()) & 0xc0) == 0x80) spelled.pop_back();
        spelled.pop_back();
      }
      known = id.has_value();
      if (known) ids.push_back(*id);
      begin += spelled.size() - n_prefix;
    }
    if (known) return;
    ids.resize(before);
    ids.push_back(unknown_id());
  }

 private:
  std::string prefix_;
  size_t max_characters_;
  size_t longest_ = 0;
};

}  // namespace

std::unique_ptr<Model> make_word_piece(const JsonPart& part) {
  return std::make_unique<WordPiece>(part);
}

std::unique_ptr<Model> make_word_level(const JsonPart& part) {
  return std::make_unique<WordLevel>(part);
}

}  // namespace lockstep::text
