#include "text/model.h"

#include "text/vocabulary.h"

namespace lockstep::text {

std::unique_ptr<Model> make_model(const JsonPart& part, PieceForm form) {
  std::string type = part.string_or("type", "");
  if (!part.optional("type").has_value()) {
    if (part.optional("merges").has_value()) {
      type = "BPE";
    } else if (part.optional("max_input_chars_per_word").has_value()) {
      type = "WordPiece";
    } else {
      type = part.member("vocab").is_array() ? "Unigram" : "WordLevel";
    }
  }
  if (type == "BPE") return make_bpe(part, form);
  if (type == "Unigram") return make_unigram(part);
  if (type == "WordPiece") return make_word_piece(part);
  if (type == "WordLevel") return make_word_level(part);
  part.fail_type("a model", {"BPE", "Unigram", "WordPiece", "WordLevel"});
}

}  // namespace lockstep::text
