#include "text/jinja_expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace lockstep::jinja {
namespace {
/// Python's own parser gives up at 200 nested parentheses, and so do the templates it compiles.
constexpr int kMaxDepth = 200;
}  // namespace

bool ExpressionParser::skip_operator(std::string_view text) {
  if (!at_operator(text)) return false;
  advance();
  return true;
}

bool ExpressionParser::skip_name(std::string_view text) {
  if (!at_name(text)) return false;
  advance();
  return true;
}

Token ExpressionParser::expect(TokenKind kind) {
  if (current().kind != kind) {
    Token wanted{kind, 0, "name", Value()};
    if (current().kind == TokenKind::kEnd) {
      fail_here(fmt::format("unexpected end of template, expected '{}'.", describe(wanted)));
    }
    fail_here(fmt::format("expected token '{}', got '{}'", describe(wanted), describe(current())));
  }
  return take();
}

void ExpressionParser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) {
    fail_here(fmt::format("expected token '{}', got '{}'", text, describe(current())));
  }
}

void ExpressionParser::expect_name(std::string_view text) {
  if (!skip_name(text)) {
    fail_here(fmt::format("expected token '{}', got '{}'", text, describe(current())));
  }
}

void ExpressionParser::fail_here(const std::string& message) const {
  throw SyntaxFailure{current().line, message};
}

Symbol ExpressionParser::intern(const std::string& name) {
  const auto [it, is_new] = symbol_of_.emplace(name, static_cast<Symbol>(symbols_.size()));
  if (is_new) symbols_.push_back(name);
  return it->second;
}

void ExpressionParser::check_assignable(const Token& name) const {
  for (const char* literal : {"true", "false", "none", "True", "False", "None"}) {
    if (name.text == literal) throw SyntaxFailure{name.line, "can't assign to 'name'"};
  }
}

ExprPtr ExpressionParser::constant(Value value, int line) const {
  ExprPtr out = make(ExprKind::kConstant, line);
  out->value = std::move(value);
  return out;
}

void ExpressionParser::deepen(Expr& parent, const Expr& child) const {
  parent.depth = std::max(parent.depth, child.depth + 1);
  if (parent.depth > kMaxDepth) {
    throw SyntaxFailure{parent.line,
                        fmt::format("an expression nests more than {} deep", kMaxDepth)};
  }
}

void ExpressionParser::add(Expr& parent, ExprPtr child) const {
  if (child != nullptr) deepen(parent, *child);
  parent.items.push_back(std::move(child));
}

ExprPtr ExpressionParser::parse_expression(bool conditional) {
  if (++nested_ > kMaxDepth / 2) {
    fail_here(fmt::format("expressions nest more than {} deep", kMaxDepth / 2));
  }
  ExprPtr out = conditional ? parse_conditional() : parse_or();
  --nested_;
  return out;
}

ExprPtr ExpressionParser::parse_conditional() {
  int line = current().line;
  ExprPtr value = parse_or();
  while (skip_name("if")) {
    ExprPtr test = parse_or();
    ExprPtr out = node(ExprKind::kConditional, line, std::move(test), std::move(value));
    if (skip_name("else")) add(*out, parse_expression());
    value = std::move(out);
    line = current().line;
  }
  return value;
}

ExprPtr ExpressionParser::parse_or() {
  int line = current().line;
  ExprPtr left = parse_and();
  while (skip_name("or")) {
    left = node(ExprKind::kOr, line, std::move(left), parse_and());
    line = current().line;
  }
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  int line = current().line;
  ExprPtr left = parse_not();
  while (skip_name("and")) {
    left = node(ExprKind::kAnd, line, std::move(left), parse_not());
    line = current().line;
  }
  return left;
}

ExprPtr ExpressionParser::parse_not() {
  if (!at_name("not")) return parse_compare();
  std::vector<int> lines;
  while (at_name("not")) lines.push_back(take().line);
  ExprPtr out = parse_compare();
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    out = node(ExprKind::kNot, *line, std::move(out));
  }
  return out;
}

bool ExpressionParser::parse_comparison(Comparison& out) {
  static constexpr std::array<std::pair<std::string_view, Comparison>, 6> kOperators = {{
      {"==", Comparison::kEqual},
      {"!=", Comparison::kNotEqual},
      {"<", Comparison::kLess},
      {"<=", Comparison::kLessEqual},
      {">", Comparison::kGreater},
      {">=", Comparison::kGreaterEqual},
  }};
  for (const auto& [text, comparison] : kOperators) {
    if (skip_operator(text)) {
      out = comparison;
      return true;
    }
  }
  if (skip_name("in")) {
    out = Comparison::kIn;
    return true;
  }
  if (!at_name("not") || ahead().kind != TokenKind::kName || ahead().text != "in") return false;
  advance();
  advance();
  out = Comparison::kNotIn;
  return true;
}

ExprPtr ExpressionParser::parse_compare() {
  const int line = current().line;
  ExprPtr first = parse_sum();
  Comparison comparison = Comparison::kEqual;
  if (!parse_comparison(comparison)) return first;
  ExprPtr out = node(ExprKind::kCompare, line, std::move(first));
  do {
    out->comparisons.push_back(comparison);
    add(*out, parse_sum());
  } while (parse_comparison(comparison));
  return out;
}

ExprPtr ExpressionParser::parse_sum() {
  int line = current().line;
  ExprPtr left = parse_concatenation();
  while (at_operator("+") || at_operator("-")) {
    const Operator op = take().text == "+" ? Operator::kAdd : Operator::kSubtract;
    left = node(ExprKind::kBinary, line, std::move(left), parse_concatenation());
    left->op = op;
    line = current().line;
  }
  return left;
}

ExprPtr ExpressionParser::parse_concatenation() {
  const int line = current().line;
  ExprPtr first = parse_product();
  if (!at_operator("~")) return first;
  ExprPtr out = node(ExprKind::kConcatenate, line, std::move(first));
  while (skip_operator("~")) add(*out, parse_product());
  return out;
}

ExprPtr ExpressionParser::parse_product() {
  int line = current().line;
  ExprPtr left = parse_power();
  while (at_operator("*") || at_operator("/") || at_operator("//") || at_operator("%")) {
    const std::string text = take().text;
    left = node(ExprKind::kBinary, line, std::move(left), parse_power());
    left->op = text == "*"    ? Operator::kMultiply
               : text == "/"  ? Operator::kDivide
               : text == "//" ? Operator::kFloorDivide
                              : Operator::kModulo;
    line = current().line;
  }
  return left;
}

ExprPtr ExpressionParser::parse_power() {
  int line = current().line;
  ExprPtr left = parse_unary(true);
  while (skip_operator("**")) {
    left = node(ExprKind::kBinary, line, std::move(left), parse_unary(true));
    left->op = Operator::kPower;
    line = current().line;
  }
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filters) {
  const int line = current().line;
  ExprPtr out;
  if (at_operator("-") || at_operator("+")) {
    const ExprKind kind = take().text == "-" ? ExprKind::kUnaryMinus : ExprKind::kUnaryPlus;
    if (++nested_ > kMaxDepth) fail_here("too many signs");
    out = node(kind, line, parse_unary(false));
    --nested_;
  } else {
    out = parse_primary(false);
  }
  out = parse_postfix(std::move(out));
  return with_filters ? parse_postfix_filters(std::move(out)) : std::move(out);
}

ExprPtr ExpressionParser::parse_primary(bool with_namespace) {
  const int line = current().line;
  switch (current().kind) {
    case TokenKind::kName:
      return parse_name(with_namespace);
    case TokenKind::kString: {
      std::string text = take().text;
      while (current().kind == TokenKind::kString) text += take().text;
      return constant(Value::string(std::move(text)), line);
    }
    case TokenKind::kNumber:
      return constant(take().value, line);
    default:
      break;
  }
  if (skip_operator("(")) {
    ExprPtr out = parse_tuple({.in_parentheses = true});
    expect_operator(")");
    return out;
  }
  if (at_operator("[")) return parse_list();
  if (at_operator("{")) return parse_dict();
  fail_here(fmt::format("unexpected '{}'", describe(current())));
}

ExprPtr ExpressionParser::parse_name(bool with_namespace) {
  const Token token = take();
  const std::string& name = token.text;
  if (name == "true" || name == "True") return constant(Value::boolean(true), token.line);
  if (name == "false" || name == "False") return constant(Value::boolean(false), token.line);
  if (name == "none" || name == "None") return constant(Value::none(), token.line);
  ExprPtr out = make(ExprKind::kName, token.line);
  out->name = name;
  out->symbol = intern(name);
  if (with_namespace && skip_operator(".")) {
    out->kind = ExprKind::kNamespaceName;
    out->value = Value::string(expect(TokenKind::kName).text);
  }
  return out;
}

bool ExpressionParser::at_tuple_end(const char* end) const {
  return current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd ||
         at_operator(")") || (end != nullptr && at_name(end));
}

ExprPtr ExpressionParser::parse_tuple(const TupleOptions& options) {
  const int line = current().line;
  ExprPtr tuple = make(ExprKind::kTuple, line);
  bool is_tuple = false;
  for (;;) {
    if (!tuple->items.empty()) expect_operator(",");
    if (at_tuple_end(options.end)) break;
    add(*tuple, options.simple ? parse_primary(options.with_namespace)
                               : parse_expression(options.conditional));
    if (!at_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return tuple;
  if (!tuple->items.empty()) return std::move(tuple->items[0]);
  if (!options.in_parentheses) {
    fail_here(fmt::format("Expected an expression, got '{}'", describe(current())));
  }
  return tuple;
}

void ExpressionParser::check_target(const Expr& target) const {
  if (target.kind == ExprKind::kTuple) {
    for (const ExprPtr& item : target.items) check_target(*item);
  } else if (target.kind != ExprKind::kName && target.kind != ExprKind::kNamespaceName) {
    throw SyntaxFailure{target.line, "can't assign to a literal or an expression"};
  }
}

ExprPtr ExpressionParser::parse_target(const TargetOptions& options) {
  ExprPtr target =
      parse_tuple({.simple = true, .with_namespace = options.with_namespace, .end = options.end});
  check_target(*target);
  return target;
}

ExprPtr ExpressionParser::parse_list() {
  ExprPtr list = make(ExprKind::kList, take().line);
  while (!at_operator("]")) {
    if (!list->items.empty()) expect_operator(",");
    if (at_operator("]")) break;
    add(*list, parse_expression());
  }
  expect_operator("]");
  return list;
}

ExprPtr ExpressionParser::parse_dict() {
  ExprPtr dict = make(ExprKind::kDict, take().line);
  while (!at_operator("}")) {
    if (!dict->items.empty()) expect_operator(",");
    if (at_operator("}")) break;
    add(*dict, parse_expression());
    expect_operator(":");
    add(*dict, parse_expression());
  }
  expect_operator("}");
  return dict;
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr out) {
  for (;;) {
    if (at_operator(".")) {
      out = parse_attribute(std::move(out));
    } else if (at_operator("[")) {
      out = parse_subscript(std::move(out));
    } else if (at_operator("(")) {
      out = parse_call(std::move(out));
    } else {
      return out;
    }
  }
}

ExprPtr ExpressionParser::parse_postfix_filters(ExprPtr out) {
  for (;;) {
    if (at_operator("|")) {
      out = parse_filters(std::move(out));
    } else if (at_name("is")) {
      out = parse_test(std::move(out));
    } else if (at_operator("(")) {
      out = parse_call(std::move(out));
    } else {
      return out;
    }
  }
}

ExprPtr ExpressionParser::parse_attribute(ExprPtr object) {
  const int line = take().line;
  const Token token = take();
  if (token.kind == TokenKind::kName) {
    ExprPtr out = node(ExprKind::kAttribute, line, std::move(object));
    out->name = token.text;
    out->value = Value::string(token.text);
    return out;
  }
  if (token.kind != TokenKind::kNumber || !token.value.is(Kind::kInt)) {
    throw SyntaxFailure{token.line, "expected name or number"};
  }
  return node(ExprKind::kItem, line, std::move(object), constant(token.value, token.line));
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr object) {
  const int line = take().line;
  ExprPtr keys = make(ExprKind::kTuple, line);
  bool is_slice = false;
  while (!at_operator("]") && !is_slice) {
    if (!keys->items.empty()) expect_operator(",");
    add(*keys, parse_subscribed(object, is_slice));
  }
  expect_operator("]");
  if (is_slice && keys->items.size() != 1) fail_here("a slice cannot be one of several subscripts");
  ExprPtr key = keys->items.size() == 1 ? std::move(keys->items[0]) : std::move(keys);
  if (is_slice) return key;
  return node(ExprKind::kItem, line, std::move(object), std::move(key));
}

/// A subscript, or a whole slice of `object`, which it then takes.
ExprPtr ExpressionParser::parse_subscribed(ExprPtr& object, bool& is_slice) {
  const int line = current().line;
  ExprPtr start;
  if (!at_operator(":")) {
    start = parse_expression();
    if (!at_operator(":")) return start;
  }
  advance();
  is_slice = true;
  if (start == nullptr) start = constant(Value::none(), line);
  ExprPtr stop = parse_slice_bound();
  ExprPtr step = skip_operator(":") ? parse_slice_bound() : constant(Value::none(), line);
  return node(ExprKind::kSlice, line, std::move(object), std::move(start), std::move(stop),
              std::move(step));
}

ExprPtr ExpressionParser::parse_slice_bound() {
  if (at_operator(":") || at_operator("]") || at_operator(",")) {
    return constant(Value::none(), current().line);
  }
  return parse_expression();
}

void ExpressionParser::parse_arguments(Expr& call) {
  const int line = current().line;
  const auto ensure = [line](bool good) {
    if (!good) throw SyntaxFailure{line, "invalid syntax for function call expression"};
  };
  expect_operator("(");
  for (bool is_first = true; !at_operator(")"); is_first = false) {
    if (!is_first) {
      expect_operator(",");
      if (at_operator(")")) break;
    }
    if (skip_operator("*")) {
      ensure(call.more_positional == nullptr && call.more_named == nullptr);
      call.more_positional = parse_expression();
      deepen(call, *call.more_positional);
    } else if (skip_operator("**")) {
      ensure(call.more_named == nullptr);
      call.more_named = parse_expression();
      deepen(call, *call.more_named);
    } else if (current().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator &&
               ahead().text == "=") {
      ensure(call.more_named == nullptr);
      const std::string name = take().text;
      advance();
      for (const auto& [other, value] : call.named) {
        if (other == name) fail_here("keyword argument repeated: " + name);
      }
      ExprPtr value = parse_expression();
      deepen(call, *value);
      call.named.emplace_back(name, std::move(value));
    } else {
      ensure(call.more_positional == nullptr && call.more_named == nullptr && call.named.empty());
      add(call, parse_expression());
    }
  }
  expect_operator(")");
}

ExprPtr ExpressionParser::parse_call(ExprPtr function) {
  ExprPtr call = node(ExprKind::kCall, current().line, std::move(function));
  parse_arguments(*call);
  return call;
}

std::string ExpressionParser::parse_dotted_name() {
  std::string name = expect(TokenKind::kName).text;
  while (skip_operator(".")) {
    name += '.';
    name += expect(TokenKind::kName).text;
  }
  return name;
}

ExprPtr ExpressionParser::parse_filter(ExprPtr value) {
  ExprPtr filter = node(ExprKind::kFilter, current().line, std::move(value));
  filter->name = parse_dotted_name();
  if (at_operator("(")) parse_arguments(*filter);
  return filter;
}

ExprPtr ExpressionParser::parse_filters(ExprPtr value) {
  while (skip_operator("|")) value = parse_filter(std::move(value));
  return value;
}

ExprPtr ExpressionParser::parse_test(ExprPtr value) {
  const int line = take().line;
  const bool negated = skip_name("not");
  ExprPtr test = node(ExprKind::kTest, line, std::move(value));
  test->name = parse_dotted_name();
  const TokenKind kind = current().kind;
  if (at_operator("(")) {
    parse_arguments(*test);
  } else if ((kind == TokenKind::kName || kind == TokenKind::kString ||
              kind == TokenKind::kNumber || at_operator("[") || at_operator("{")) &&
             !at_name("else") && !at_name("or") && !at_name("and")) {
    if (at_name("is")) fail_here("You cannot chain multiple tests with is");
    add(*test, parse_postfix(parse_primary(false)));
  }
  return negated ? node(ExprKind::kNot, line, std::move(test)) : std::move(test);
}

}  // namespace lockstep::jinja
