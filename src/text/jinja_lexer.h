// A template's source as tokens: Jinja's lexer with trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_value.h"

namespace lockstep::jinja {

enum class TokenKind : uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kNumber,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  /// Data, name, the string itself, or the operator as it is written.
  std::string text;
  /// Of a number.
  Value value;
};

/// A syntax error and where it is.
struct SyntaxFailure {
  int line;
  std::string message;
};

/// All tokens, kEnd last. Throws SyntaxFailure.
std::vector<Token> tokenize(std::string_view source);

/// A token as messages name it.
std::string describe(const Token& token);

}  // namespace lockstep::jinja
