// The stage that cuts text into the pieces that the model sees: tokenizer.json's `pre_tokenizer`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_part.h"
#include "text/split.h"

namespace lockstep::text {

/// Bytes [begin, end) of the text; never empty.
struct Piece {
  uint32_t begin, end;
};

/// A text and what it is cut into, in order. What no piece covers is gone.
class Pieces {
 public:
  /// All of `text`, which must live as long as no stage rewrites it, as one piece.
  Pieces(std::string_view text, bool from_start, size_t max_bytes);

  std::string_view text() const noexcept { return text_; }
  std::string_view text_of(const Piece& piece) const noexcept {
    return text_.substr(piece.begin, piece.end - piece.begin);
  }
  const std::vector<Piece>& pieces() const noexcept { return pieces_; }
  /// Whether the first character comes from the first of what was to be encoded, and a piece that
  /// begins at 0 is the first.
  bool from_start() const noexcept { return from_start_; }

  /// Cuts every piece: `cut(text, emit)` calls emit(begin, end) in order for what stays of `text`.
  template <class Cut>
  void cut(Cut&& cut) {
    cut_.clear();
    for (const Piece& piece : pieces_) {
      cut(text_of(piece), [&](size_t begin, size_t end) {
        if (begin == end) return;
        cut_.push_back(
            {static_cast<uint32_t>(piece.begin + begin), static_cast<uint32_t>(piece.begin + end)});
      });
    }
    pieces_.swap(cut_);
  }

  /// Rewrites every piece: `rewrite(out, text, is_first)` appends to `out` what becomes of `text`.
  /// Throws kResourceExhausted where the text grows beyond its limit.
  template <class Rewrite>
  void rewrite(Rewrite&& rewrite) {
    std::string out;
    out.reserve(text_.size() + text_.size() / 4);
    cut_.clear();
    for (const Piece& piece : pieces_) {
      const auto begin = static_cast<uint32_t>(out.size());
      rewrite(out, text_of(piece), from_start_ && piece.begin == 0);
      check_size(out.size());
      if (out.size() > begin) cut_.push_back({begin, static_cast<uint32_t>(out.size())});
    }
    pieces_.swap(cut_);
    storage_ = std::move(out);
    text_ = storage_;
  }

 private:
  void check_size(size_t n_bytes) const;

  std::string_view text_;
  std::string storage_;  // of a text that a stage rewrote
  std::vector<Piece> pieces_, cut_;
  bool from_start_;
  size_t max_bytes_;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
  /// Where the last thing this does is to write bytes in GPT-2's alphabet: leaves them as they are
  /// from now on, and says true. The model must then know its tokens as bytes.
  virtual bool keep_bytes() { return false; }
};

/// Throws naming the part, its place in the file, and what is supported.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonPart& part);

// One maker a file of pre-tokenizers.
std::unique_ptr<PreTokenizer> make_byte_level_pre_tokenizer(const JsonPart& part);
std::unique_ptr<PreTokenizer> make_metaspace_pre_tokenizer(const JsonPart& part);
std::unique_ptr<PreTokenizer> make_split_pre_tokenizer(const JsonPart& part);
std::unique_ptr<PreTokenizer> make_unicode_scripts_pre_tokenizer();
/// nullptr where `type` is none of those that look at one character at a time.
std::unique_ptr<PreTokenizer> make_character_pre_tokenizer(std::string_view type,
                                                           const JsonPart& part);

}  // namespace lockstep::text
