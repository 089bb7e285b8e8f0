// The expressions of Jinja's grammar, over a list of tokens. For the parser alone.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace lockstep::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  struct TupleOptions {
    bool simple = false;          // names and literals only
    bool conditional = true;      // `a if b else c` allowed without parentheses
    bool in_parentheses = false;  // where () is the empty tuple
    bool with_namespace = false;  // `ns.x` is a target
    const char* end = nullptr;    // a name that ends it
  };
  struct TargetOptions {
    bool with_namespace = false;
    const char* end = nullptr;
  };

  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  void advance() {
    if (position_ + 1 < tokens_.size()) ++position_;
  }
  Token take() {
    Token token = current();
    advance();
    return token;
  }
  bool at_operator(std::string_view text) const {
    return current().kind == TokenKind::kOperator && current().text == text;
  }
  bool at_name(std::string_view text) const {
    return current().kind == TokenKind::kName && current().text == text;
  }
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  Token expect(TokenKind kind);
  void expect_operator(std::string_view text);
  void expect_name(std::string_view text);
  [[noreturn]] void fail_here(const std::string& message) const;
  Symbol intern(const std::string& name);
  void check_assignable(const Token& name) const;

  ExprPtr parse_expression(bool conditional = true);
  ExprPtr parse_tuple() { return parse_tuple(TupleOptions()); }
  ExprPtr parse_tuple(const TupleOptions& options);
  /// A name, `ns.x`, or a tuple of them.
  ExprPtr parse_target(const TargetOptions& options);
  /// `|name(...)` as often as it comes; `node` itself when it does not.
  ExprPtr parse_filters(ExprPtr node);
  /// `name(...)` of a filter.
  ExprPtr parse_filter(ExprPtr node);

  std::vector<Token> tokens_;
  size_t position_ = 0;
  std::vector<std::string> symbols_;

 private:
  ExprPtr parse_conditional();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  bool parse_comparison(Comparison& out);
  ExprPtr parse_sum();
  ExprPtr parse_concatenation();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filters);
  ExprPtr parse_primary(bool with_namespace);
  ExprPtr parse_name(bool with_namespace);
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_postfix_filters(ExprPtr node);
  ExprPtr parse_attribute(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_subscribed(ExprPtr& object, bool& is_slice);
  ExprPtr parse_slice_bound();
  ExprPtr parse_call(ExprPtr node);
  ExprPtr parse_test(ExprPtr node);
  void parse_arguments(Expr& call);
  std::string parse_dotted_name();
  bool at_tuple_end(const char* end) const;
  void check_target(const Expr& target) const;

  ExprPtr make(ExprKind kind, int line) const { return std::make_unique<Expr>(kind, line); }
  ExprPtr constant(Value value, int line) const;
  /// Adds operands, and checks how deep the tree has become.
  template <typename... Items>
  ExprPtr node(ExprKind kind, int line, Items... items) const {
    ExprPtr out = make(kind, line);
    (add(*out, std::move(items)), ...);
    return out;
  }
  void add(Expr& parent, ExprPtr child) const;
  void deepen(Expr& parent, const Expr& child) const;

  std::unordered_map<std::string, Symbol> symbol_of_;
  int nested_ = 0;
};

}  // namespace lockstep::jinja
