// Expressions.
#include "text/jinja_eval.h"

#include <fmt/format.h>

#include <unordered_map>

namespace lockstep::jinja {
namespace {

bool is_literal(const Expr& expr) {
  return expr.kind == ExprKind::kConstant ||
         (expr.kind == ExprKind::kUnaryMinus && is_literal(*expr.items[0]));
}

/// jinja2 writes `-2` into Python without parentheses, so that `-2 ** x` becomes `-(2 ** x)` there
/// unless it knows x and computes `(-2) ** x` itself.
bool is_negative_literal(const Expr& expr) {
  return expr.kind == ExprKind::kUnaryMinus && expr.items[0]->kind == ExprKind::kConstant &&
         expr.items[0]->value.is_number() && expr.items[0]->value.as_double() > 0;
}

}  // namespace

Interpreter::Interpreter(const Tree& tree,
                         const std::vector<std::pair<std::string, Value>>& variables,
                         const std::tm& now)
    : tree_(tree), context_(tree.symbols.size()), exported_(tree.symbols.size()), now_(now) {
  for (size_t i = 0; i < tree.symbols.size(); ++i) {
    if (const Value* global = find_global(tree.symbols[i])) context_[i] = *global;
  }
  std::unordered_map<std::string_view, size_t> by_name;
  for (size_t i = 0; i < tree.symbols.size(); ++i) by_name.emplace(tree.symbols[i], i);
  for (const auto& [name, value] : variables) {
    if (const auto found = by_name.find(name); found != by_name.end()) {
      context_[found->second] = value;
    }
  }
}

Interpreter::~Interpreter() {
  // Everything that may be part of a chain or a cycle lets go first, so nothing is destroyed
  // through more levels than values may nest.
  std::vector<Value> rest;
  for (const auto& object : namespaces_) {
    for (auto& [name, value] : object->attributes) rest.push_back(std::move(value));
    object->attributes.clear();
  }
  for (const FramePtr& frame : frames_) {
    for (auto& [name, value] : frame->variables) rest.push_back(std::move(value));
    frame->variables.clear();
  }
}

Value Interpreter::eval(const Expr& expr, const FramePtr& frame) {
  const Nested nested;
  line_ = expr.line;
  return eval_node(expr, frame);
}

Value Interpreter::eval_node(const Expr& expr, const FramePtr& frame) {
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.value;
    case ExprKind::kName:
      return eval_name(expr, *frame);
    case ExprKind::kNamespaceName:
      break;
    case ExprKind::kTuple:
      return Value::tuple(eval_items(expr, frame, 0));
    case ExprKind::kList:
      return Value::list(eval_items(expr, frame, 0));
    case ExprKind::kDict:
      return eval_dict(expr, frame);
    case ExprKind::kAttribute: {
      const Value object = eval(*expr.items[0], frame);
      line_ = expr.line;
      return get_attribute(object, expr.value);
    }
    case ExprKind::kItem: {
      const Value object = eval(*expr.items[0], frame);
      const Value key = eval(*expr.items[1], frame);
      line_ = expr.line;
      return get_item(object, key);
    }
    case ExprKind::kSlice:
      return eval_slice(expr, frame);
    case ExprKind::kCall:
      return eval_call(expr, frame, nullptr);
    case ExprKind::kFilter:
      return eval_filter(expr, frame, eval(*expr.items[0], frame));
    case ExprKind::kTest: {
      const Value value = eval(*expr.items[0], frame);
      const Arguments arguments = eval_arguments(expr, frame);
      line_ = expr.line;
      return Value::boolean(call_test(expr.name, value, arguments));
    }
    case ExprKind::kUnaryPlus:
      return positive(eval(*expr.items[0], frame));
    case ExprKind::kUnaryMinus:
      return negative(eval(*expr.items[0], frame));
    case ExprKind::kNot:
      return Value::boolean(!truth(eval(*expr.items[0], frame)));
    case ExprKind::kBinary:
      return eval_binary(expr, frame);
    case ExprKind::kConcatenate:
      return eval_concatenate(expr, frame);
    case ExprKind::kAnd: {
      Value left = eval(*expr.items[0], frame);
      return truth(left) ? eval(*expr.items[1], frame) : left;
    }
    case ExprKind::kOr: {
      Value left = eval(*expr.items[0], frame);
      return truth(left) ? left : eval(*expr.items[1], frame);
    }
    case ExprKind::kCompare:
      return eval_compare(expr, frame);
    case ExprKind::kConditional:
      return eval_conditional(expr, frame);
  }
  fail("TemplateRuntimeError", "an assignment target has no value");
}

const Value* Interpreter::find_variable(Symbol name, const Frame& frame) const noexcept {
  for (const Frame* scope = &frame; scope != nullptr; scope = scope->parent.get()) {
    if (const Value* value = scope->find(name)) return value;
  }
  const auto i = static_cast<size_t>(name);
  return exported_[i].is(Kind::kMissing) ? &context_[i] : &exported_[i];
}

Value Interpreter::eval_name(const Expr& expr, const Frame& frame) const {
  const Value* value = find_variable(expr.symbol, frame);
  return value->is(Kind::kMissing) ? undefined_name(expr.name) : *value;
}

std::vector<Value> Interpreter::eval_items(const Expr& expr, const FramePtr& frame, size_t first) {
  std::vector<Value> items;
  items.reserve(expr.items.size() - first);
  for (size_t i = first; i < expr.items.size(); ++i) items.push_back(eval(*expr.items[i], frame));
  return items;
}

Value Interpreter::eval_dict(const Expr& expr, const FramePtr& frame) {
  std::vector<Dict::Item> items;
  items.reserve(expr.items.size() / 2);
  for (size_t i = 0; i < expr.items.size(); i += 2) {
    Value key = eval(*expr.items[i], frame);
    items.emplace_back(std::move(key), eval(*expr.items[i + 1], frame));
  }
  return Dict::make(std::move(items));
}

Value Interpreter::eval_binary(const Expr& expr, const FramePtr& frame) {
  const Value left = eval(*expr.items[0], frame);
  const Value right = eval(*expr.items[1], frame);
  line_ = expr.line;
  if (expr.op == Operator::kPower && is_negative_literal(*expr.items[0]) &&
      !is_literal(*expr.items[1])) {
    return negative(binary(expr.op, negative(left), right));
  }
  return binary(expr.op, left, right);
}

Value Interpreter::eval_concatenate(const Expr& expr, const FramePtr& frame) {
  std::string text;
  for (const Value& item : eval_items(expr, frame, 0)) grow(text, to_str(item));
  return Value::string(std::move(text));
}

Value Interpreter::eval_compare(const Expr& expr, const FramePtr& frame) {
  Value left = eval(*expr.items[0], frame);
  for (size_t i = 0; i < expr.comparisons.size(); ++i) {
    Value right = eval(*expr.items[i + 1], frame);
    line_ = expr.line;
    bool holds = false;
    switch (expr.comparisons[i]) {
      case Comparison::kEqual:
        holds = equals(left, right);
        break;
      case Comparison::kNotEqual:
        holds = !equals(left, right);
        break;
      case Comparison::kLess:
        holds = compare(left, right, Order::kLess);
        break;
      case Comparison::kLessEqual:
        holds = compare(left, right, Order::kLessEqual);
        break;
      case Comparison::kGreater:
        holds = compare(left, right, Order::kGreater);
        break;
      case Comparison::kGreaterEqual:
        holds = compare(left, right, Order::kGreaterEqual);
        break;
      case Comparison::kIn:
        holds = contains(right, left);
        break;
      case Comparison::kNotIn:
        holds = !contains(right, left);
        break;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::eval_conditional(const Expr& expr, const FramePtr& frame) {
  if (truth(eval(*expr.items[0], frame))) return eval(*expr.items[1], frame);
  if (expr.items.size() > 2) return eval(*expr.items[2], frame);
  return undefined_hint(
      fmt::format("the inline if-expression on line {} evaluated to false and no else section was "
                  "defined.",
                  expr.line));
}

Value Interpreter::eval_slice(const Expr& expr, const FramePtr& frame) {
  const std::vector<Value> parts = eval_items(expr, frame, 0);
  line_ = expr.line;
  return get_slice(parts[0], parts[1], parts[2], parts[3]);
}

Arguments Interpreter::eval_arguments(const Expr& expr, const FramePtr& frame) {
  Arguments arguments;
  arguments.positional = eval_items(expr, frame, 1);
  for (const auto& [name, value] : expr.named) {
    arguments.named.emplace_back(name, eval(*value, frame));
  }
  if (expr.more_positional != nullptr) {
    std::vector<Value> more = collect(eval(*expr.more_positional, frame));
    arguments.positional.insert(arguments.positional.end(), more.begin(), more.end());
  }
  if (expr.more_named == nullptr) return arguments;
  const Value more = eval(*expr.more_named, frame);
  if (!more.is(Kind::kDict)) fail("TypeError", "argument after ** must be a mapping");
  for (const auto& [key, value] : more.dict().items()) {
    if (!key.is(Kind::kStr)) fail("TypeError", "keywords must be strings");
    if (arguments.find(key.text()) != nullptr) {
      fail("TypeError", fmt::format("got multiple values for keyword argument '{}'", key.text()));
    }
    arguments.named.emplace_back(key.text(), value);
  }
  return arguments;
}

Value Interpreter::eval_call(const Expr& expr, const FramePtr& frame, const Value* caller) {
  const Value function = eval(*expr.items[0], frame);
  Arguments arguments = eval_arguments(expr, frame);
  if (caller != nullptr) {
    if (arguments.find("caller") != nullptr) fail("TypeError", "keyword argument repeated: caller");
    arguments.named.emplace_back("caller", *caller);
  }
  line_ = expr.line;
  Value result = call_value(*this, function, arguments);
  line_ = expr.line;
  return result;
}

Value Interpreter::eval_filter(const Expr& expr, const FramePtr& frame, const Value& value) {
  const Arguments arguments = eval_arguments(expr, frame);
  line_ = expr.line;
  Value result = call_filter(expr.name, value, arguments);
  line_ = expr.line;
  return result;
}

}  // namespace lockstep::jinja
