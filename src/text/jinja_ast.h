// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_ops.h"
#include "text/jinja_value.h"

namespace lockstep::jinja {

/// A variable's name as a number of its template.
using Symbol = int;

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind : uint8_t {
  kConstant,
  kName,
  kNamespaceName,  ///< `ns.x` as the target of `set`
  kTuple,
  kList,
  kDict,  ///< items: key, value, key, value
  kAttribute,
  kItem,
  kSlice,  ///< items: object, start, stop, step
  kCall,
  kFilter,
  kTest,
  kUnaryPlus,
  kUnaryMinus,
  kNot,
  kBinary,
  kConcatenate,
  kAnd,
  kOr,
  kCompare,      ///< items: the first operand and one for each of `comparisons`
  kConditional,  ///< items: test, value, and the value otherwise unless left out
};

enum class Comparison : uint8_t {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

struct Expr {
  Expr(ExprKind kind_, int line_) : kind(kind_), line(line_) {}
  ExprKind kind;
  Operator op = Operator::kAdd;
  int line;
  int depth = 1;
  Symbol symbol = -1;
  std::string name;  ///< of a name, attribute, filter or test
  Value value;       ///< of a constant; the name of an attribute
  /// Operands. Of a call, filter or test: what is called or filtered (null in a filter block),
  /// then the positional arguments.
  std::vector<ExprPtr> items;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr more_positional, more_named;  ///< `*args`, `**kwargs`
  std::vector<Comparison> comparisons;
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

enum class StmtKind : uint8_t {
  kText,
  kPrint,
  kIf,  ///< exprs: the test
  kFor,
  kSet,       ///< exprs: target, value
  kSetBlock,  ///< exprs: target, filter or null
  kMacro,
  kCall,        ///< exprs: the call
  kGeneration,  ///< a call block of the assistant tracker
  kFilterBlock,
  kWith,  ///< exprs: target, value, target, value
  kBlock,
  kBreak,
  kContinue,
  kUnsupported,  ///< include, import, extends: there is no loader
};

/// What a scope needs to know before it runs; see analyse().
struct Scope {
  /// Names without a value until they are set, whatever they are outside.
  std::vector<Symbol> unset;
};

struct Stmt {
  Stmt(StmtKind kind_, int line_) : kind(kind_), line(line_) {}
  StmtKind kind;
  bool recursive = false;                                               ///< of a for
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;  ///< of a macro
  bool scoped = false;                                                  ///< of a block
  int line;
  Symbol symbol = -1;  ///< of a macro; `loop` of a for
  std::string text;    ///< of text; the name of a macro, block or tag
  std::vector<ExprPtr> exprs;
  ExprPtr target, iterable, condition;  ///< of a for
  Body body, other;                     ///< `other`: else
  std::vector<Symbol> parameters;       ///< of a macro or call block
  std::vector<std::string> parameter_names;
  std::vector<ExprPtr> defaults;  ///< of the last parameters
  Scope scope, other_scope;
};

struct Tree {
  Body body;
  Scope scope;
  std::vector<std::string> symbols;
  std::vector<const Stmt*> blocks;
  /// The names with a meaning, -1 where the template has no such name.
  Symbol caller = -1, kwargs = -1, varargs = -1, loop = -1;
};

}  // namespace lockstep::jinja
