// The stage that turns a piece into tokens, and the vocabulary: tokenizer.json's `model`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_part.h"

namespace lockstep::text {

class Model {
 public:
  /// What one thread needs for encoding, kept between calls.
  struct Scratch {
    virtual ~Scratch() = default;
  };

  virtual ~Model() = default;
  virtual std::unique_ptr<Scratch> make_scratch() const { return nullptr; }
  /// Appends the tokens of `piece`. Time n log n at most in its length. Throws
  /// kFailedPrecondition naming the unknown token where one is needed and the file has none.
  virtual void encode(std::string_view piece, Scratch* scratch,
                      std::vector<int32_t>& ids) const = 0;

  /// The same for a piece that does not begin the text: SentencePiece puts a space before it else.
  virtual void encode_inside(std::string_view piece, Scratch* scratch,
                             std::vector<int32_t>& ids) const {
    encode(piece, scratch, ids);
  }

  virtual std::optional<int32_t> token_to_id(std::string_view token) const = 0;
  /// One more than the highest id.
  virtual size_t id_limit() const = 0;
  /// Number of tokens.
  virtual size_t size() const = 0;
  /// nullopt where the id has no token.
  virtual std::optional<std::string_view> id_to_token(size_t id) const = 0;
};

/// How pieces reach the model: as text, or as the bytes that GPT-2's alphabet stands for.
enum class PieceForm { kText, kBytes };

/// Throws naming the part, its place in the file, and what is supported. A file of before types
/// were written has its model told by its members.
std::unique_ptr<Model> make_model(const JsonPart& part, PieceForm form);
/// Whether the model of that part can be given bytes.
bool model_takes_bytes(const JsonPart& part);

// One maker a model.
std::unique_ptr<Model> make_bpe(const JsonPart& part, PieceForm form);
std::unique_ptr<Model> make_unigram(const JsonPart& part);
std::unique_ptr<Model> make_word_piece(const JsonPart& part);
std::unique_ptr<Model> make_word_level(const JsonPart& part);

}  // namespace lockstep::text
