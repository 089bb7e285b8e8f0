// Text from tokens that come one by one: never half a character, nothing that a later token can
// still change, and in all what Tokenizer::decode() of all of them gives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lockstep::text {

class Detokenizer {
 public:
  /// `tokenizer` must live longer. The text ends before the first of the `stop` strings, which may
  /// reach over tokens; empty ones never match.
  explicit Detokenizer(const Tokenizer& tokenizer, DecodeOptions options = {},
                       std::vector<std::string> stop = {});
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;
  ~Detokenizer();

  /// The text that `id` settles, often empty. After stopped() always empty.
  std::string push(int32_t id);
  /// As push(), but a stop string that ends in it does not count.
  std::string push_unstopped(int32_t id);
  /// The rest, after the last token. Call it once.
  std::string finish();
  /// Whether a stop string was found.
  bool stopped() const noexcept;
  /// The stop string that was found; empty until then.
  const std::string& stop_string() const noexcept;

 private:
  class Settled;
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  std::unique_ptr<Settled> settled_;
  std::unique_ptr<TokenSink> run_;
};

}  // namespace lockstep::text
