// The stage that rewrites text before it is split: tokenizer.json's `normalizer`.
#pragma once

#include <memory>
#include <string>

#include "text/json_part.h"

namespace lockstep::text {

/// Text on its way through the stages.
struct StagedText {
  std::string text;  // UTF-8
  /// Whether the first character comes from the first of what was to be encoded; Metaspace asks.
  bool from_start = true;
  /// Longer than this is refused: a chain of replacements can double at every step.
  size_t max_bytes = 0;

  /// For `n_bytes` to be encoded.
  static size_t max_bytes_for(size_t n_bytes) noexcept { return (16u << 20) + 64 * n_bytes; }
  /// Throws kResourceExhausted when a text of `n_bytes` would be longer than max_bytes.
  void check_size(size_t n_bytes) const;
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Rewrites `text`, valid UTF-8, in time linear in its length.
  virtual void apply(StagedText& text) const = 0;
};

/// Throws naming the part, its place in the file, and what is supported.
std::unique_ptr<Normalizer> make_normalizer(const JsonPart& part);

// One maker a file of normalizers; each is given a part of the type that it is named after.
std::unique_ptr<Normalizer> make_bert_normalizer(const JsonPart& part);
std::unique_ptr<Normalizer> make_precompiled_normalizer(const JsonPart& part);
std::unique_ptr<Normalizer> make_replace_normalizer(const JsonPart& part);

}  // namespace lockstep::text
