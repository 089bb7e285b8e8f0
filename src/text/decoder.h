// From tokens to text: tokenizer.json's `decoder`. Every step is a transducer: it is handed tokens
// one after the other and hands on what no later token can change. Whole decoding and streaming are
// therefore the same computation.
#pragma once

#include <memory>
#include <string_view>

#include "text/json_part.h"

namespace lockstep::text {

/// Takes tokens: each is any number of text() calls, then end_token(); after the last, finish().
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void text(std::string_view part) = 0;
  virtual void end_token() = 0;
  /// A token that is here at once: text() and end_token() in one.
  virtual void whole_token(std::string_view token) {
    text(token);
    end_token();
  }
  virtual void finish() = 0;
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// A run of this step that hands on to `next`, which must live longer.
  virtual std::unique_ptr<TokenSink> start(TokenSink& next) const = 0;
};

/// Throws naming the part, its place in the file, and what is supported.
std::unique_ptr<Decoder> make_decoder(const JsonPart& part);
/// What holds where the file has none: tokens with spaces between them.
std::unique_ptr<Decoder> make_joining_decoder();
/// transformers' clean_up_tokenization, over the whole text.
std::unique_ptr<Decoder> make_clean_up_decoder();

// One maker a file of decoders; nullptr where `type` is none of its own.
std::unique_ptr<Decoder> make_byte_decoder(std::string_view type, const JsonPart& part);
std::unique_ptr<Decoder> make_text_decoder(std::string_view type, const JsonPart& part);
std::unique_ptr<Decoder> make_word_decoder(std::string_view type, const JsonPart& part);

}  // namespace lockstep::text
