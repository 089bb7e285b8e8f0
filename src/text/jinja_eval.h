// Runs a template's tree once.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_call.h"

namespace lockstep::jinja {

/// The variables of one scope. A macro keeps the scope it was written in.
struct Frame {
  explicit Frame(std::shared_ptr<Frame> parent_, const Scope& scope);
  std::shared_ptr<Frame> parent;
  std::vector<std::pair<Symbol, Value>> variables;
  bool is_kept = false;  // by the interpreter, to the end

  /// nullptr where the scope does not know the name.
  const Value* find(Symbol name) const noexcept;
  void set(Symbol name, Value value);
};
using FramePtr = std::shared_ptr<Frame>;

/// A part of the output that a `generation` block wrote: bytes [begin, end).
struct GenerationSpan {
  size_t begin, end;
};

class Interpreter {
 public:
  /// `variables` are what the template is rendered with; they hide the functions of the same name.
  Interpreter(const Tree& tree, const std::vector<std::pair<std::string, Value>>& variables,
              const std::tm& now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  /// The whole output. Throws Failure; line() is then where.
  std::string run();
  int line() const noexcept { return line_; }
  const std::vector<GenerationSpan>& generations() const noexcept { return generations_; }
  const std::tm& now() const noexcept { return now_; }

  /// For filters, tests and macros.
  Value call_filter(std::string_view name, const Value& value, const Arguments& arguments);
  bool call_test(std::string_view name, const Value& value, const Arguments& arguments);
  Value call_macro(const Stmt& macro, const FramePtr& scope, const Arguments& arguments);
  /// The body of a loop for another sequence, one level deeper.
  Value run_loop_again(const Stmt& loop, const FramePtr& scope, const Value& sequence, Int depth);
  /// Kept to the end, so that chains of what can be changed are taken apart there, not link by
  /// link on the stack, and cycles at all.
  void keep(std::shared_ptr<Namespace> object) { namespaces_.push_back(std::move(object)); }
  /// The same for a scope and those around it, which a value refers to.
  void keep(const FramePtr& frame);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };

  Flow run_body(const Body& body, const FramePtr& frame);
  Flow run_stmt(const Stmt& stmt, const FramePtr& frame);
  Flow run_if(const Stmt& stmt, const FramePtr& frame);
  void run_for(const Stmt& stmt, const FramePtr& frame, const Value& sequence, Int depth);
  void run_set(const Stmt& stmt, const FramePtr& frame);
  Flow run_set_block(const Stmt& stmt, const FramePtr& frame);
  Flow run_filter_block(const Stmt& stmt, const FramePtr& frame);
  Flow run_with(const Stmt& stmt, const FramePtr& frame);
  Value apply_filters(const Expr* filter, const FramePtr& frame, std::string text);
  void bind_arguments(const Stmt& macro, Frame& frame, const Arguments& arguments) const;
  void run_call(const Stmt& stmt, const FramePtr& frame);
  void run_generation(const Stmt& stmt, const FramePtr& frame);
  void run_block(const Stmt& stmt, const FramePtr& frame);
  Value filtered(const Stmt& loop, const FramePtr& frame, const Value& sequence);
  Value make_macro(const Stmt& stmt, const FramePtr& frame);
  /// Runs `body` with its output into a string of its own.
  Flow capture(const Body& body, const FramePtr& frame, std::string& out);
  void write(std::string_view text) { grow(*out_, text); }
  void write_string(const Value& value);

  void assign(const Expr& target, const Value& value, Frame& frame);
  void check_namespaces(const Expr& target, const FramePtr& frame);
  void set_variable(Symbol name, Value value, Frame& frame);
  const Value* find_variable(Symbol name, const Frame& frame) const noexcept;

  Value eval(const Expr& expr, const FramePtr& frame);
  Value eval_node(const Expr& expr, const FramePtr& frame);
  Value eval_name(const Expr& expr, const Frame& frame) const;
  std::vector<Value> eval_items(const Expr& expr, const FramePtr& frame, size_t first);
  Value eval_dict(const Expr& expr, const FramePtr& frame);
  Value eval_binary(const Expr& expr, const FramePtr& frame);
  Value eval_concatenate(const Expr& expr, const FramePtr& frame);
  Value eval_compare(const Expr& expr, const FramePtr& frame);
  Value eval_conditional(const Expr& expr, const FramePtr& frame);
  Value eval_slice(const Expr& expr, const FramePtr& frame);
  Value eval_call(const Expr& expr, const FramePtr& frame, const Value* caller);
  Value eval_filter(const Expr& expr, const FramePtr& frame, const Value& value);
  Arguments eval_arguments(const Expr& expr, const FramePtr& frame);

  const Tree& tree_;
  std::vector<Value> context_;   // by symbol: what was given, else the function of that name
  std::vector<Value> exported_;  // by symbol: what the top level set, for blocks
  FramePtr root_;
  std::tm now_;
  int line_ = 1;
  std::string* out_ = nullptr;
  std::string output_;
  std::vector<GenerationSpan> generations_;
  std::vector<FramePtr> frames_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

/// `loop`, for the sequence it goes through.
class Loop final : public Instance {
 public:
  Loop(Value sequence, const Stmt* recursive, FramePtr scope, Int depth);
  /// Steps on; false at the end.
  bool next(Value& item);

  const char* type() const noexcept override { return "LoopContext"; }
  const char* module() const noexcept override { return "jinja2.runtime"; }
  std::string describe() const override;
  bool length(Int& out) override;
  bool attribute(const Value& self, std::string_view name, Value& out) override;
  bool is_callable() const noexcept override { return true; }
  Value call(Interpreter& interpreter, const Arguments& arguments) override;
  Value cycle(const Arguments& arguments) const;
  Value changed(const Arguments& arguments);
  void forget() { last_ = Value(); }

 private:
  Int total();
  bool peek();

  Value sequence_;
  Cursor cursor_;
  const Stmt* recursive_;
  FramePtr scope_;
  Int depth_;
  Int index_ = -1;
  Int length_ = -1;
  bool is_open_ = true;
  Value before_, current_, after_, last_;
};

}  // namespace lockstep::jinja
