// A tokenizer.model without a tokenizer.json: SentencePiece's own library cuts the text.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/model.h"

namespace lockstep::text {

struct SentencePiece {
  std::unique_ptr<Model> model;
  std::unique_ptr<Decoder> decoder;
  std::vector<AddedToken> added_tokens;  // control symbols, as transformers adds them
};

/// Throws kInvalidArgument naming `path` for a file that the library cannot read.
SentencePiece load_sentencepiece(const std::filesystem::path& path);

}  // namespace lockstep::text
