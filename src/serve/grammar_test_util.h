// Answers drawn at random inside a grammar, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/grammar_mask.h"
#include "serve/json_schema.h"

namespace lockstep::serve::test {

using Json = nlohmann::ordered_json;

// A vocabulary with the bytes, and words that reach over the borders of JSON's parts.
inline const text::Tokenizer& tokenizer() {
  static const text::Tokenizer made = [] {
    const std::string folder = std::string(LOCKSTEP_SOURCE_DIR) + "/examples/storyteller";
    return text::Tokenizer::open(folder);
  }();
  return made;
}

inline const text::TokenBytes& token_bytes() {
  static const text::TokenBytes made(tokenizer());
  return made;
}

inline constexpr int32_t kEnd = 2;

inline const TokenTrie& trie() {
  static const TokenTrie made(token_bytes(), tokenizer().id_limit(), {kEnd});
  return made;
}

inline Grammar grammar_of(const Json& schema) {
  auto made = grammar_of_schema(schema, "p");
  if (const auto* error = std::get_if<ApiError>(&made)) {
    ADD_FAILURE() << schema << " " << error->message;
    return grammar_of_any_object();
  }
  return std::move(std::get<Grammar>(made));
}

inline std::string refusal_of(const Json& schema) {
  auto made = grammar_of_schema(schema, "p");
  const auto* error = std::get_if<ApiError>(&made);
  return error == nullptr ? "" : error->message;
}

// Whether `text` is in the grammar, byte by byte.
inline bool accepts(const Grammar& grammar, std::string_view text) {
  StackSet stacks(grammar);
  std::vector<StackId> from{stacks.start()}, to;
  for (const char byte : text) {
    to.clear();
    for (const StackId stack : from) stacks.advance(stack, static_cast<unsigned char>(byte), to);
    from.swap(to);
  }
  return std::any_of(from.begin(), from.end(),
                     [&](StackId stack) { return stacks.is_complete(stack); });
}

// Draws tokens among those allowed; nothing where no end came in `most` tokens.
inline std::optional<std::string> draw(std::shared_ptr<const Grammar> grammar, uint64_t seed,
                                       size_t most) {
  GrammarMask mask(std::move(grammar), trie());
  std::mt19937_64 random(seed);
  std::vector<int32_t> output;
  std::vector<uint32_t> allowed(trie().n_words());
  std::string text;
  while (output.size() < most) {
    std::fill(allowed.begin(), allowed.end(), 0);
    if (!mask.allow(output, allowed)) return std::nullopt;
    std::vector<int32_t> choices;
    for (int32_t id = 0; id < static_cast<int32_t>(tokenizer().id_limit()); ++id) {
      if (allowed[static_cast<size_t>(id) / 32] >> (id % 32) & 1) choices.push_back(id);
    }
    // Whatever closes is taken more often, so that texts end.
    int32_t id = choices[random() % choices.size()];
    for (const int32_t choice : choices) {
      const std::string_view bytes = token_bytes().bytes(choice);
      const bool closes = choice == kEnd || bytes == "\"" || bytes == "}" || bytes == "]";
      if (closes && random() % 4 == 0) id = choice;
    }
    output.push_back(id);
    if (id == kEnd) return text;
    text += token_bytes().bytes(id);
  }
  return std::nullopt;
}

}  // namespace lockstep::serve::test
