// What Jinja's compiler finds in the whole tree: which names a scope starts without, unknown
// filters and tests, break and continue outside of loops. Mirrors jinja2's idtracking.
#include <fmt/format.h>

#include <map>
#include <set>

#include "text/jinja_parser.h"

namespace lockstep::jinja {
namespace {

/// Where a name of a scope gets its first value from. Only kUnset matters when running: the other
/// three find the value by looking through the scopes and the variables given to render().
enum class Load : uint8_t { kParameter, kResolve, kAlias, kUnset };

struct Symbols {
  const Symbols* parent = nullptr;
  std::map<Symbol, Load> loads;
  std::set<Symbol> stores;

  bool knows(Symbol name) const {
    for (const Symbols* scope = this; scope != nullptr; scope = scope->parent) {
      if (scope->loads.contains(name)) return true;
    }
    return false;
  }
  bool is_outside(Symbol name) const { return parent != nullptr && parent->knows(name); }
  void store(Symbol name) {
    stores.insert(name);
    loads.try_emplace(name, is_outside(name) ? Load::kAlias : Load::kUnset);
  }
  void load(Symbol name) {
    if (!knows(name)) loads.emplace(name, Load::kResolve);
  }
  void parameter(Symbol name) {
    stores.insert(name);
    loads[name] = Load::kParameter;
  }
  /// What branches did of which one runs: what they set may keep its value from outside.
  void join(const std::vector<Symbols>& branches) {
    std::set<Symbol> added;
    for (const Symbols& branch : branches) {
      for (const Symbol name : branch.stores) {
        if (!stores.contains(name)) added.insert(name);
      }
    }
    for (const Symbols& branch : branches) {
      for (const auto& [name, load] : branch.loads) loads[name] = load;
      stores.insert(branch.stores.begin(), branch.stores.end());
    }
    for (const Symbol name : added) {
      loads[name] = is_outside(name) ? Load::kAlias : Load::kResolve;
    }
  }
  Scope scope() const {
    Scope out;
    for (const auto& [name, load] : loads) {
      if (load == Load::kUnset) out.unset.push_back(name);
    }
    return out;
  }
};

/// The names that one scope reads and sets, without the scopes inside of it.
class Collector {
 public:
  explicit Collector(Symbols& symbols) : symbols_(&symbols) {}

  void visit(const Body& body) {
    for (const auto& stmt : body) visit(*stmt);
  }

  void visit(const Expr* expr) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kName) symbols_->load(expr->symbol);
    for (const ExprPtr& item : expr->items) visit(item.get());
    for (const auto& [name, value] : expr->named) visit(value.get());
    visit(expr->more_positional.get());
    visit(expr->more_named.get());
  }

  void target(const Expr& expr, bool is_parameter) {
    if (expr.kind == ExprKind::kTuple) {
      for (const ExprPtr& item : expr.items) target(*item, is_parameter);
    } else if (expr.kind == ExprKind::kNamespaceName) {
      symbols_->load(expr.symbol);
    } else if (is_parameter) {
      symbols_->parameter(expr.symbol);
    } else {
      symbols_->store(expr.symbol);
    }
  }

 private:
  void visit(const Stmt& stmt) {
    switch (stmt.kind) {
      case StmtKind::kPrint:
      case StmtKind::kCall:
      case StmtKind::kFilterBlock:
        for (const ExprPtr& expr : stmt.exprs) visit(expr.get());
        break;
      case StmtKind::kIf:
        visit_if(stmt);
        break;
      case StmtKind::kFor:
        visit(stmt.iterable.get());
        break;
      case StmtKind::kSet:
        visit(stmt.exprs[1].get());
        target(*stmt.exprs[0], false);
        break;
      case StmtKind::kSetBlock:
        target(*stmt.exprs[0], false);
        break;
      case StmtKind::kMacro:
        symbols_->store(stmt.symbol);
        break;
      case StmtKind::kWith:
        for (size_t i = 1; i < stmt.exprs.size(); i += 2) visit(stmt.exprs[i].get());
        break;
      default:
        break;
    }
  }

  void visit_if(const Stmt& stmt) {
    visit(stmt.exprs[0].get());
    Symbols* outer = symbols_;
    std::vector<Symbols> branches(2, *outer);
    symbols_ = branches.data();
    visit(stmt.body);
    symbols_ = &branches[1];
    visit(stmt.other);
    symbols_ = outer;
    symbols_->join(branches);
  }

  Symbols* symbols_;
};

/// Whether `name` is read before it is set, as jinja2's find_undeclared has it: in the order of
/// the text, scopes inside included, blocks not.
class Reads {
 public:
  explicit Reads(Symbol name) : name_(name) {}
  bool in(const Body& body) {
    for (const auto& stmt : body) {
      visit(*stmt);
      if (is_read_ || is_set_) break;
    }
    return is_read_;
  }

 private:
  void visit(const Stmt& stmt) {
    if (stmt.kind == StmtKind::kBlock) return;
    if (stmt.kind == StmtKind::kMacro || stmt.kind == StmtKind::kCall) {
      for (const Symbol parameter : stmt.parameters) is_set_ = is_set_ || parameter == name_;
    }
    const bool has_target = stmt.kind == StmtKind::kSet || stmt.kind == StmtKind::kSetBlock;
    for (size_t i = 0; i < stmt.exprs.size(); ++i) {
      const bool is_target = (has_target && i == 0) || (stmt.kind == StmtKind::kWith && i % 2 == 0);
      visit(stmt.exprs[i].get(), is_target);
    }
    visit(stmt.target.get(), true);
    visit(stmt.iterable.get(), false);
    for (const Body* body : {&stmt.body, &stmt.other}) {
      for (const auto& inner : *body) visit(*inner);
    }
    visit(stmt.condition.get(), false);
    for (const ExprPtr& value : stmt.defaults) visit(value.get(), false);
  }
  void visit(const Expr* expr, bool is_target) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kName && expr->symbol == name_) {
      if (is_target) is_set_ = true;
      if (!is_target && !is_set_) is_read_ = true;
    }
    for (const ExprPtr& item : expr->items) visit(item.get(), is_target);
    for (const auto& [name, value] : expr->named) visit(value.get(), false);
    visit(expr->more_positional.get(), false);
    visit(expr->more_named.get(), false);
  }

  Symbol name_;
  bool is_read_ = false, is_set_ = false;
};

/// Goes through the scopes from the outside in.
class Analyser {
 public:
  explicit Analyser(Tree& tree) : tree_(tree) {
    for (size_t i = 0; i < tree.symbols.size(); ++i) {
      const std::string& name = tree.symbols[i];
      const auto symbol = static_cast<Symbol>(i);
      if (name == "caller") tree.caller = symbol;
      if (name == "kwargs") tree.kwargs = symbol;
      if (name == "varargs") tree.varargs = symbol;
      if (name == "loop") tree.loop = symbol;
    }
  }

  void run() {
    Symbols symbols;
    Collector(symbols).visit(tree_.body);
    tree_.scope = symbols.scope();
    visit(tree_.body, symbols, {});
  }

 private:
  struct Place {
    bool in_loop = false;           // where break and continue have a loop
    bool no_loop_variable = false;  // where `loop` cannot be set
    bool soft = false;              // in a branch, where an unknown filter fails only when it runs
  };

  void visit(const Body& body, const Symbols& symbols, Place place) {
    for (const auto& stmt : body) visit(*stmt, symbols, place);
  }

  void visit(Stmt& stmt, const Symbols& symbols, Place place) {
    Place inner = place;
    inner.soft = false;
    Place function = inner;
    function.in_loop = false;
    switch (stmt.kind) {
      case StmtKind::kIf: {
        Place branch = place;
        branch.soft = true;
        check_all(stmt.exprs, branch);
        visit(stmt.body, symbols, branch);
        visit(stmt.other, symbols, branch);
        return;
      }
      case StmtKind::kFor:
        return visit_for(stmt, symbols, place);
      case StmtKind::kSet:
        check_target(*stmt.exprs[0], place);
        check(stmt.exprs[1].get(), place);
        return;
      case StmtKind::kSetBlock:
        check_target(*stmt.exprs[0], place);
        check(stmt.exprs[1].get(), inner);
        return visit_scope(stmt, symbols, inner);
      case StmtKind::kMacro:
        check_all(stmt.defaults, function);
        return visit_macro(stmt, symbols, function);
      case StmtKind::kCall:
        check_all(stmt.exprs, place);
        check_all(stmt.defaults, function);
        return visit_macro(stmt, symbols, function);
      case StmtKind::kGeneration:
        return visit_macro(stmt, symbols, function);
      case StmtKind::kFilterBlock:
        check_all(stmt.exprs, inner);
        return visit_scope(stmt, symbols, inner);
      case StmtKind::kWith:
        for (size_t i = 1; i < stmt.exprs.size(); i += 2) check(stmt.exprs[i].get(), place);
        return visit_scope(stmt, symbols, inner);
      case StmtKind::kBlock:
        return visit_block(stmt, function);
      case StmtKind::kBreak:
      case StmtKind::kContinue:
        if (!place.in_loop) {
          throw SyntaxFailure{stmt.line, stmt.kind == StmtKind::kBreak
                                             ? "'break' outside loop"
                                             : "'continue' not properly in loop"};
        }
        return;
      default:
        return check_all(stmt.exprs, place);
    }
  }

  void visit_for(Stmt& loop, const Symbols& symbols, Place place) {
    loop.symbol = tree_.loop;
    check(loop.iterable.get(), place);
    place.soft = false;
    check(loop.condition.get(), place);
    Place other = place;
    place.in_loop = true;
    place.no_loop_variable = true;
    other.no_loop_variable = true;
    check_target(*loop.target, place);
    Symbols inside{&symbols, {}, {}};
    Collector collector(inside);
    if (tree_.loop >= 0) inside.parameter(tree_.loop);
    collector.target(*loop.target, true);
    collector.visit(loop.body);
    loop.scope = inside.scope();
    visit(loop.body, inside, place);
    Symbols otherwise{&symbols, {}, {}};
    Collector(otherwise).visit(loop.other);
    loop.other_scope = otherwise.scope();
    visit(loop.other, otherwise, other);
  }

  /// set, filter and with blocks.
  void visit_scope(Stmt& stmt, const Symbols& symbols, Place place) {
    Symbols inside{&symbols, {}, {}};
    Collector collector(inside);
    if (stmt.kind == StmtKind::kWith) {
      for (size_t i = 0; i < stmt.exprs.size(); i += 2) collector.target(*stmt.exprs[i], true);
    }
    collector.visit(stmt.body);
    if (stmt.kind == StmtKind::kFilterBlock) collector.visit(stmt.exprs[0].get());
    stmt.scope = inside.scope();
    visit(stmt.body, inside, place);
  }

  void visit_macro(Stmt& stmt, const Symbols& symbols, Place place) {
    Symbols inside{&symbols, {}, {}};
    Collector collector(inside);
    bool has_kwargs = false, has_varargs = false, has_caller = false;
    for (const Symbol parameter : stmt.parameters) {
      inside.parameter(parameter);
      has_caller = has_caller || parameter == tree_.caller;
      has_kwargs = has_kwargs || parameter == tree_.kwargs;
      has_varargs = has_varargs || parameter == tree_.varargs;
    }
    for (const ExprPtr& value : stmt.defaults) collector.visit(value.get());
    stmt.uses_caller = tree_.caller >= 0 && Reads(tree_.caller).in(stmt.body);
    stmt.uses_kwargs = tree_.kwargs >= 0 && !has_kwargs && Reads(tree_.kwargs).in(stmt.body);
    stmt.uses_varargs = tree_.varargs >= 0 && !has_varargs && Reads(tree_.varargs).in(stmt.body);
    if (stmt.uses_caller && has_caller) check_caller(stmt);
    for (const auto& [uses, symbol] :
         {std::pair(stmt.uses_caller, tree_.caller), std::pair(stmt.uses_kwargs, tree_.kwargs),
          std::pair(stmt.uses_varargs, tree_.varargs)}) {
      if (uses) inside.parameter(symbol);
    }
    collector.visit(stmt.body);
    stmt.scope = inside.scope();
    visit(stmt.body, inside, place);
  }

  /// A parameter of that name must have a default.
  void check_caller(const Stmt& stmt) const {
    const size_t n_required = stmt.parameters.size() - stmt.defaults.size();
    for (size_t i = 0; i < n_required; ++i) {
      if (stmt.parameters[i] == tree_.caller) {
        throw SyntaxFailure{stmt.line,
                            "When defining macros or call blocks the special \"caller\" argument "
                            "must be omitted or be given a default."};
      }
    }
  }

  void visit_block(Stmt& stmt, Place place) {
    for (const Stmt* block : tree_.blocks) {
      if (block->text == stmt.text) {
        throw SyntaxFailure{stmt.line, fmt::format("block '{}' defined twice", stmt.text)};
      }
    }
    tree_.blocks.push_back(&stmt);
    Symbols inside;
    Collector(inside).visit(stmt.body);
    stmt.scope = inside.scope();
    visit(stmt.body, inside, place);
  }

  void check_target(const Expr& target, Place place) const {
    if (target.kind == ExprKind::kName && target.symbol == tree_.loop && place.no_loop_variable) {
      throw SyntaxFailure{target.line, "Can't assign to special loop variable in for-loop target"};
    }
    for (const ExprPtr& item : target.items) check_target(*item, place);
  }

  void check_all(const std::vector<ExprPtr>& exprs, Place place) const {
    for (const ExprPtr& expr : exprs) check(expr.get(), place);
  }

  void check(const Expr* expr, Place place) const {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kConditional) place.soft = true;
    const bool is_filter = expr->kind == ExprKind::kFilter;
    if (!place.soft && ((is_filter && !has_filter(expr->name)) ||
                        (expr->kind == ExprKind::kTest && !has_test(expr->name)))) {
      throw SyntaxFailure{
          expr->line, fmt::format("No {} named '{}'.", is_filter ? "filter" : "test", expr->name)};
    }
    for (const ExprPtr& item : expr->items) check(item.get(), place);
    for (const auto& [name, value] : expr->named) check(value.get(), place);
    check(expr->more_positional.get(), place);
    check(expr->more_named.get(), place);
  }

  Tree& tree_;
};

}  // namespace

void analyse(Tree& tree) { Analyser(tree).run(); }

}  // namespace lockstep::jinja
