// Statements, and macros.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_eval.h"

namespace lockstep::jinja {
namespace {

class Macro final : public Callable {
 public:
  // Scopes form chains of any length, but what a macro holds is taken apart by the interpreter.
  Macro(const Stmt& stmt, FramePtr scope)
      : Callable(sizeof(Macro), 1), stmt_(stmt), scope_(std::move(scope)) {}

  const char* type() const noexcept override { return "Macro"; }
  std::string describe() const override {
    return stmt_.kind == StmtKind::kMacro ? fmt::format("<Macro {}>", repr_string(stmt_.text))
                                          : "<Macro anonymous>";
  }
  Value call(Interpreter& interpreter, const Arguments& arguments) const override {
    return interpreter.call_macro(stmt_, scope_, arguments);
  }
  bool attribute(std::string_view name, Value& out) const override {
    if (name == "name") {
      out = stmt_.kind == StmtKind::kMacro ? Value::string(stmt_.text) : Value::none();
    } else if (name == "arguments") {
      std::vector<Value> names;
      for (const std::string& parameter : stmt_.parameter_names) {
        names.push_back(Value::string(parameter));
      }
      out = Value::tuple(std::move(names));
    } else if (name == "catch_kwargs") {
      out = Value::boolean(stmt_.uses_kwargs);
    } else if (name == "catch_varargs") {
      out = Value::boolean(stmt_.uses_varargs);
    } else if (name == "caller") {
      out = Value::boolean(stmt_.uses_caller);
    } else if (name == "explicit_caller") {
      out = Value::boolean(
          std::count(stmt_.parameter_names.begin(), stmt_.parameter_names.end(), "caller") != 0);
    } else {
      return false;
    }
    return true;
  }

 private:
  const Stmt& stmt_;
  FramePtr scope_;
};

/// What `loop.changed(...)` remembers may be the loop itself.
struct LoopEnd {
  Loop& loop;
  ~LoopEnd() { loop.forget(); }
};

}  // namespace

Frame::Frame(std::shared_ptr<Frame> parent_, const Scope& scope) : parent(std::move(parent_)) {
  for (const Symbol name : scope.unset) variables.emplace_back(name, Value());
}

const Value* Frame::find(Symbol name) const noexcept {
  for (const auto& [symbol, value] : variables) {
    if (symbol == name) return &value;
  }
  return nullptr;
}

void Frame::set(Symbol name, Value value) {
  for (auto& [symbol, old] : variables) {
    if (symbol == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

std::string Interpreter::run() {
  out_ = &output_;
  root_ = std::make_shared<Frame>(nullptr, tree_.scope);
  keep(root_);
  run_body(tree_.body, root_);
  return std::move(output_);
}

Interpreter::Flow Interpreter::run_body(const Body& body, const FramePtr& frame) {
  for (const auto& stmt : body) {
    if (const Flow flow = run_stmt(*stmt, frame); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_stmt(const Stmt& stmt, const FramePtr& frame) {
  const Nested nested;
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kText:
      write(stmt.text);
      break;
    case StmtKind::kPrint:
      for (const ExprPtr& expr : stmt.exprs) {
        const Value value = eval(*expr, frame);
        write(value.is(Kind::kStr) ? value.text() : to_str(value));
      }
      break;
    case StmtKind::kIf:
      return run_if(stmt, frame);
    case StmtKind::kFor: {
      const Value sequence = eval(*stmt.iterable, frame);
      if (stmt.recursive) {
        write_string(run_loop_again(stmt, frame, sequence, 0));
      } else {
        run_for(stmt, frame, sequence, 0);
      }
      break;
    }
    case StmtKind::kSet:
      run_set(stmt, frame);
      break;
    case StmtKind::kSetBlock:
      return run_set_block(stmt, frame);
    case StmtKind::kMacro:
      set_variable(stmt.symbol, make_macro(stmt, frame), *frame);
      break;
    case StmtKind::kCall:
      run_call(stmt, frame);
      break;
    case StmtKind::kGeneration:
      run_generation(stmt, frame);
      break;
    case StmtKind::kFilterBlock:
      return run_filter_block(stmt, frame);
    case StmtKind::kWith:
      return run_with(stmt, frame);
    case StmtKind::kBlock:
      run_block(stmt, frame);
      break;
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
    case StmtKind::kUnsupported:
      fail("TypeError", fmt::format("'{}': a chat template has no other templates to load; no "
                                    "loader for this environment specified",
                                    stmt.text));
  }
  return Flow::kNext;
}

/// `elif` is an if in the else branch, gone through without going deeper.
Interpreter::Flow Interpreter::run_if(const Stmt& stmt, const FramePtr& frame) {
  const Stmt* branch = &stmt;
  while (!truth(eval(*branch->exprs[0], frame))) {
    const Body& other = branch->other;
    if (other.size() != 1 || other[0]->kind != StmtKind::kIf) return run_body(other, frame);
    branch = other[0].get();
  }
  return run_body(branch->body, frame);
}

Value Interpreter::filtered(const Stmt& loop, const FramePtr& frame, const Value& sequence) {
  auto cursor = std::make_shared<Cursor>(sequence);
  return Iterator::make("generator", sequence.nesting() + 1,
                        [this, &loop, frame, cursor](Value& item) {
                          while (cursor->next(item)) {
                            const auto scope = std::make_shared<Frame>(frame, Scope());
                            assign(*loop.target, item, *scope);
                            if (truth(eval(*loop.condition, scope))) return true;
                          }
                          return false;
                        });
}

void Interpreter::run_for(const Stmt& stmt, const FramePtr& frame, const Value& sequence,
                          Int depth) {
  if (stmt.recursive || stmt.condition != nullptr) keep(frame);
  const Value source = stmt.condition != nullptr ? filtered(stmt, frame, sequence) : sequence;
  const auto loop = std::make_shared<Loop>(source, stmt.recursive ? &stmt : nullptr, frame, depth);
  const LoopEnd end{*loop};
  const Value loop_value = Value::object(Kind::kInstance, loop);
  bool ran = false;
  for (Value item; loop->next(item);) {
    const auto scope = std::make_shared<Frame>(frame, stmt.scope);
    if (stmt.symbol >= 0) scope->set(stmt.symbol, loop_value);
    assign(*stmt.target, item, *scope);
    const Flow flow = run_body(stmt.body, scope);
    // As in Jinja, and not as in Python: an iteration that was left early is none.
    if (flow == Flow::kNext) ran = true;
    if (flow == Flow::kBreak) break;
  }
  if (!ran && !stmt.other.empty()) {
    run_body(stmt.other, std::make_shared<Frame>(frame, stmt.other_scope));
  }
}

Value Interpreter::run_loop_again(const Stmt& loop, const FramePtr& scope, const Value& sequence,
                                  Int depth) {
  std::string text;
  std::string* outer = std::exchange(out_, &text);
  run_for(loop, scope, sequence, depth);
  out_ = outer;
  return Value::string(std::move(text));
}

void Interpreter::run_set(const Stmt& stmt, const FramePtr& frame) {
  check_namespaces(*stmt.exprs[0], frame);
  const Value value = eval(*stmt.exprs[1], frame);
  line_ = stmt.line;
  assign(*stmt.exprs[0], value, *frame);
}

Interpreter::Flow Interpreter::capture(const Body& body, const FramePtr& frame, std::string& out) {
  std::string* outer = std::exchange(out_, &out);
  const Flow flow = run_body(body, frame);
  out_ = outer;
  return flow;
}

/// The filters of a block, the innermost of which takes its text.
Value Interpreter::apply_filters(const Expr* filter, const FramePtr& frame, std::string text) {
  std::vector<const Expr*> filters;
  for (; filter != nullptr; filter = filter->items[0].get()) filters.push_back(filter);
  Value value = Value::string(std::move(text));
  for (auto each = filters.rbegin(); each != filters.rend(); ++each) {
    value = eval_filter(**each, frame, value);
  }
  return value;
}

Interpreter::Flow Interpreter::run_set_block(const Stmt& stmt, const FramePtr& frame) {
  const auto scope = std::make_shared<Frame>(frame, stmt.scope);
  std::string text;
  if (const Flow flow = capture(stmt.body, scope, text); flow != Flow::kNext) return flow;
  const Value value = apply_filters(stmt.exprs[1].get(), scope, std::move(text));
  check_namespaces(*stmt.exprs[0], frame);
  assign(*stmt.exprs[0], value, *frame);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_filter_block(const Stmt& stmt, const FramePtr& frame) {
  const auto scope = std::make_shared<Frame>(frame, stmt.scope);
  std::string text;
  if (const Flow flow = capture(stmt.body, scope, text); flow != Flow::kNext) return flow;
  write_string(apply_filters(stmt.exprs[0].get(), scope, std::move(text)));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_with(const Stmt& stmt, const FramePtr& frame) {
  const auto scope = std::make_shared<Frame>(frame, stmt.scope);
  for (size_t i = 0; i < stmt.exprs.size(); i += 2) {
    assign(*stmt.exprs[i], eval(*stmt.exprs[i + 1], frame), *scope);
  }
  return run_body(stmt.body, scope);
}

void Interpreter::run_call(const Stmt& stmt, const FramePtr& frame) {
  const Value caller = make_macro(stmt, frame);
  write_string(eval_call(*stmt.exprs[0], frame, &caller));
}

void Interpreter::run_generation(const Stmt& stmt, const FramePtr& frame) {
  std::string text;
  capture(stmt.body, std::make_shared<Frame>(frame, stmt.scope), text);
  generations_.push_back({output_.size(), output_.size() + text.size()});
  write(text);
}

/// A block sees what the top level set, and of the scopes around it only with `scoped`.
void Interpreter::run_block(const Stmt& stmt, const FramePtr& frame) {
  run_body(stmt.body, std::make_shared<Frame>(stmt.scoped ? frame : nullptr, stmt.scope));
}

void Interpreter::write_string(const Value& value) {
  if (!value.is(Kind::kStr)) {
    fail("TypeError",
         fmt::format("sequence item 0: expected str instance, {} found", type_name(value)));
  }
  write(value.text());
}

void Interpreter::keep(const FramePtr& frame) {
  for (FramePtr scope = frame; scope != nullptr && !scope->is_kept; scope = scope->parent) {
    Budget::current()->hold(sizeof(Frame));
    scope->is_kept = true;
    frames_.push_back(scope);
  }
}

Value Interpreter::make_macro(const Stmt& stmt, const FramePtr& frame) {
  keep(frame);
  return Value::object(Kind::kCallable, std::make_shared<Macro>(stmt, frame));
}

void Interpreter::set_variable(Symbol name, Value value, Frame& frame) {
  if (&frame == root_.get()) exported_[static_cast<size_t>(name)] = value;
  frame.set(name, std::move(value));
}

void Interpreter::check_namespaces(const Expr& target, const FramePtr& frame) {
  if (target.kind == ExprKind::kNamespaceName &&
      !find_variable(target.symbol, *frame)->is(Kind::kNamespace)) {
    line_ = target.line;
    fail("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
  }
  for (const ExprPtr& item : target.items) check_namespaces(*item, frame);
}

void Interpreter::assign(const Expr& target, const Value& value, Frame& frame) {
  if (target.kind == ExprKind::kName) return set_variable(target.symbol, value, frame);
  if (target.kind == ExprKind::kNamespaceName) {
    find_variable(target.symbol, frame)->as<Namespace>().set(target.value.text(), value);
    return;
  }
  if (!is_iterable(value)) {
    fail("TypeError", fmt::format("cannot unpack non-iterable {} object", type_name(value)));
  }
  std::vector<Value> items;
  Cursor cursor(value);
  for (Value item; items.size() <= target.items.size() && cursor.next(item);) {
    items.push_back(std::move(item));
  }
  if (items.size() < target.items.size()) {
    fail("ValueError", fmt::format("not enough values to unpack (expected {}, got {})",
                                   target.items.size(), items.size()));
  }
  if (items.size() > target.items.size()) {
    fail("ValueError", fmt::format("too many values to unpack (expected {})", target.items.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) assign(*target.items[i], items[i], frame);
}

Value Interpreter::call_macro(const Stmt& macro, const FramePtr& scope,
                              const Arguments& arguments) {
  const Nested nested;
  const auto frame = std::make_shared<Frame>(scope, macro.scope);
  bind_arguments(macro, *frame, arguments);
  const size_t n = macro.parameters.size(), n_required = n - macro.defaults.size();
  for (size_t i = 0; i < n; ++i) {
    if (!frame->find(macro.parameters[i])->is(Kind::kMissing)) continue;
    Value value = i >= n_required
                      ? eval(*macro.defaults[i - n_required], frame)
                      : undefined_hint(fmt::format("parameter {} was not provided",
                                                   repr_string(macro.parameter_names[i])));
    frame->set(macro.parameters[i], std::move(value));
  }
  std::string text;
  capture(macro.body, frame, text);
  return Value::string(std::move(text));
}

void Interpreter::bind_arguments(const Stmt& macro, Frame& frame,
                                 const Arguments& arguments) const {
  std::vector<std::pair<std::string, Value>> named = arguments.named;
  const auto pop = [&named](std::string_view key) {
    for (auto it = named.begin(); it != named.end(); ++it) {
      if (it->first != key) continue;
      Value value = std::move(it->second);
      named.erase(it);
      return value;
    }
    return Value();
  };
  const size_t n = macro.parameters.size();
  const size_t n_given = std::min(n, arguments.positional.size());
  bool has_caller = false;
  for (size_t i = 0; i < n; ++i) {
    frame.set(macro.parameters[i],
              i < n_given ? arguments.positional[i] : pop(macro.parameter_names[i]));
    has_caller = has_caller || macro.parameter_names[i] == "caller";
  }
  if (macro.uses_caller && !has_caller) {
    Value caller = pop("caller");
    const bool has_none = caller.is(Kind::kMissing) || caller.is(Kind::kNone);
    frame.set(tree_.caller, has_none ? undefined_hint("No caller defined") : std::move(caller));
  }
  const auto name = [&macro] {
    return macro.kind == StmtKind::kMacro ? repr_string(macro.text) : std::string("None");
  };
  if (macro.uses_kwargs) {
    std::vector<Dict::Item> items;
    for (auto& [key, value] : named) items.emplace_back(Value::string(key), value);
    frame.set(tree_.kwargs, Dict::make(std::move(items)));
  } else if (!named.empty()) {
    fail("TypeError",
         fmt::format("macro {} takes no keyword argument {}", name(), repr_string(named[0].first)));
  }
  if (macro.uses_varargs) {
    frame.set(tree_.varargs,
              Value::tuple({arguments.positional.begin() + static_cast<ptrdiff_t>(n_given),
                            arguments.positional.end()}));
  } else if (arguments.positional.size() > n) {
    fail("TypeError", fmt::format("macro {} takes not more than {} argument(s)", name(), n));
  }
}

}  // namespace lockstep::jinja
