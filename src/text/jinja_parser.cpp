#include "text/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <unordered_map>

#include "text/jinja_expression_parser.h"

namespace lockstep::jinja {
namespace {

/// Statements; expressions are the base's.
class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Tree run() {
    Tree tree;
    tree.body = parse_until({});
    tree.symbols = std::move(symbols_);
    return tree;
  }

 private:
  using Tags = std::initializer_list<const char*>;
  using StmtPtr = std::unique_ptr<Stmt>;

  static constexpr int kMaxBlocks = 100;

  bool at_tag(Tags tags) const {
    return current().kind == TokenKind::kName &&
           std::any_of(tags.begin(), tags.end(),
                       [this](const char* tag) { return current().text == tag; });
  }

  /// Statements up to a block whose tag is one of `tags`, which is then the current token.
  Body parse_until(Tags tags) {
    Body body;
    if (open_.size() > kMaxBlocks) {
      fail_here(fmt::format("blocks nest more than {} deep", kMaxBlocks));
    }
    while (current().kind != TokenKind::kEnd) {
      const Token& token = current();
      if (token.kind == TokenKind::kData) {
        auto text = std::make_unique<Stmt>(StmtKind::kText, token.line);
        text->text = token.text;
        advance();
        body.push_back(std::move(text));
      } else if (token.kind == TokenKind::kVariableBegin) {
        auto print = std::make_unique<Stmt>(StmtKind::kPrint, token.line);
        advance();
        print->exprs.push_back(parse_tuple());
        expect(TokenKind::kVariableEnd);
        body.push_back(std::move(print));
      } else {
        advance();
        if (at_tag(tags)) return body;
        body.push_back(parse_statement(tags));
        expect(TokenKind::kBlockEnd);
      }
    }
    if (tags.size() != 0) {
      fail_here(fmt::format("Unexpected end of template. {}", expectation(tags)));
    }
    return body;
  }

  /// The body of a block after its head; takes the end tag where there is only one.
  Body parse_body(Tags tags) {
    skip_operator(":");
    expect(TokenKind::kBlockEnd);
    Body body = parse_until(tags);
    if (tags.size() == 1) advance();
    return body;
  }

  std::string expectation(Tags tags) const {
    std::string text = "Jinja was looking for the following tags: ";
    const char* separator = "";
    for (const char* tag : tags) {
      text += fmt::format("{}'{}'", separator, tag);
      separator = " or ";
    }
    text += '.';
    if (!open_.empty()) {
      text += fmt::format(" The innermost block that needs to be closed is '{}' of line {}.",
                          open_.back().first, open_.back().second);
    }
    return text;
  }

  StmtPtr parse_statement(Tags tags) {
    if (current().kind != TokenKind::kName) fail_here("tag name expected");
    using Parse = StmtPtr (Parser::*)();
    static const std::unordered_map<std::string_view, Parse> kParsers = {
        {"for", &Parser::parse_for},
        {"if", &Parser::parse_if},
        {"block", &Parser::parse_block},
        {"extends", &Parser::parse_unsupported},
        {"print", &Parser::parse_print},
        {"macro", &Parser::parse_macro},
        {"include", &Parser::parse_unsupported},
        {"from", &Parser::parse_unsupported},
        {"import", &Parser::parse_unsupported},
        {"set", &Parser::parse_set},
        {"with", &Parser::parse_with},
        {"autoescape", &Parser::parse_autoescape},
        {"call", &Parser::parse_call_block},
        {"filter", &Parser::parse_filter_block},
        {"generation", &Parser::parse_generation},
        {"break", &Parser::parse_loop_control},
        {"continue", &Parser::parse_loop_control},
    };
    const auto parser = kParsers.find(current().text);
    if (parser == kParsers.end()) {
      std::string message = fmt::format("Encountered unknown tag '{}'.", current().text);
      if (tags.size() != 0) message += " " + expectation(tags);
      fail_here(message);
    }
    open_.emplace_back(current().text, current().line);
    StmtPtr statement = (this->*parser->second)();
    open_.pop_back();
    return statement;
  }

  StmtPtr begin(StmtKind kind) { return std::make_unique<Stmt>(kind, take().line); }

  StmtPtr parse_set() {
    StmtPtr set = begin(StmtKind::kSet);
    set->exprs.push_back(parse_target({.with_namespace = true}));
    if (skip_operator("=")) {
      set->exprs.push_back(parse_tuple());
      return set;
    }
    set->kind = StmtKind::kSetBlock;
    set->exprs.push_back(parse_filters(nullptr));
    set->body = parse_body({"endset"});
    return set;
  }

  StmtPtr parse_for() {
    StmtPtr loop = begin(StmtKind::kFor);
    loop->target = parse_target({.end = "in"});
    expect_name("in");
    loop->iterable = parse_tuple({.conditional = false, .end = "recursive"});
    if (skip_name("if")) loop->condition = parse_expression();
    loop->recursive = skip_name("recursive");
    loop->body = parse_body({"endfor", "else"});
    if (take().text != "endfor") loop->other = parse_body({"endfor"});
    return loop;
  }

  /// An elif becomes an if in the else branch.
  StmtPtr parse_if() {
    StmtPtr first = begin(StmtKind::kIf);
    Stmt* branch = first.get();
    for (;;) {
      branch->exprs.push_back(parse_tuple({.conditional = false}));
      branch->body = parse_body({"elif", "else", "endif"});
      const Token token = take();
      if (token.text == "else") branch->other = parse_body({"endif"});
      if (token.text != "elif") return first;
      branch->other.push_back(std::make_unique<Stmt>(StmtKind::kIf, token.line));
      branch = branch->other.back().get();
      if (++n_elifs_ > kMaxElifs) fail_here(fmt::format("more than {} elif", kMaxElifs));
    }
  }

  StmtPtr parse_with() {
    StmtPtr with = begin(StmtKind::kWith);
    while (current().kind != TokenKind::kBlockEnd) {
      if (!with->exprs.empty()) expect_operator(",");
      with->exprs.push_back(parse_target({}));
      expect_operator("=");
      with->exprs.push_back(parse_expression());
    }
    with->body = parse_body({"endwith"});
    return with;
  }

  StmtPtr parse_autoescape() {
    fail_here("autoescape is not supported: a chat template writes text, not HTML");
  }

  StmtPtr parse_block() {
    StmtPtr block = begin(StmtKind::kBlock);
    block->text = expect(TokenKind::kName).text;
    block->scoped = skip_name("scoped");
    if (skip_name("required")) fail_here("required blocks need a template that extends this one");
    block->body = parse_body({"endblock"});
    skip_name(block->text);
    return block;
  }

  StmtPtr parse_unsupported() {
    StmtPtr tag = begin(StmtKind::kUnsupported);
    tag->text = tokens_[position_ - 1].text;
    while (current().kind != TokenKind::kBlockEnd && current().kind != TokenKind::kEnd) advance();
    return tag;
  }

  StmtPtr parse_print() {
    StmtPtr print = begin(StmtKind::kPrint);
    while (current().kind != TokenKind::kBlockEnd) {
      if (!print->exprs.empty()) expect_operator(",");
      print->exprs.push_back(parse_expression());
    }
    return print;
  }

  void parse_signature(Stmt& macro) {
    expect_operator("(");
    while (!at_operator(")")) {
      if (!macro.parameters.empty()) expect_operator(",");
      const Token name = expect(TokenKind::kName);
      check_assignable(name);
      if (std::count(macro.parameter_names.begin(), macro.parameter_names.end(), name.text) != 0) {
        fail_here(fmt::format("duplicate argument '{}' in macro", name.text));
      }
      macro.parameters.push_back(intern(name.text));
      macro.parameter_names.push_back(name.text);
      if (skip_operator("=")) {
        macro.defaults.push_back(parse_expression());
      } else if (!macro.defaults.empty()) {
        fail_here("non-default argument follows default argument");
      }
    }
    expect_operator(")");
  }

  StmtPtr parse_macro() {
    StmtPtr macro = begin(StmtKind::kMacro);
    const Token name = expect(TokenKind::kName);
    check_assignable(name);
    macro->text = name.text;
    macro->symbol = intern(name.text);
    parse_signature(*macro);
    macro->body = parse_body({"endmacro"});
    return macro;
  }

  StmtPtr parse_call_block() {
    StmtPtr call = begin(StmtKind::kCall);
    if (at_operator("(")) parse_signature(*call);
    call->exprs.push_back(parse_expression());
    if (call->exprs[0]->kind != ExprKind::kCall) {
      throw SyntaxFailure{call->line, "expected call"};
    }
    call->body = parse_body({"endcall"});
    return call;
  }

  StmtPtr parse_filter_block() {
    StmtPtr filter = begin(StmtKind::kFilterBlock);
    filter->exprs.push_back(parse_filters(parse_filter(nullptr)));
    filter->body = parse_body({"endfilter"});
    return filter;
  }

  StmtPtr parse_generation() {
    StmtPtr generation = begin(StmtKind::kGeneration);
    generation->body = parse_body({"endgeneration"});
    return generation;
  }

  StmtPtr parse_loop_control() {
    StmtPtr control = begin(StmtKind::kBreak);
    if (tokens_[position_ - 1].text == "continue") control->kind = StmtKind::kContinue;
    return control;
  }

  static constexpr int kMaxElifs = 500;
  int n_elifs_ = 0;
  std::vector<std::pair<std::string, int>> open_;
};

}  // namespace

Tree parse(std::string_view source) {
  Tree tree = Parser(tokenize(source)).run();
  analyse(tree);
  return tree;
}

}  // namespace lockstep::jinja
