// A template's tokens to its syntax tree, with Jinja 3's grammar and precedences.
#ifndef TIDAL_SERVER_TEXT_JINJA_PARSER_H_
#define TIDAL_SERVER_TEXT_JINJA_PARSER_H_

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/text/jinja/ast.h"
#include "server/text/jinja/lexer.h"

namespace tidal::jinja {

// INVALID_ARGUMENT "line 3, column 7: ..." on what is not a template, one that uses a filter or a
// test that there is not, or one nested too deeply.
absl::StatusOr<Block> ParseTemplate(std::string_view source);

// The first error stays; after it the tokens are at their end and everything returns quickly.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  absl::StatusOr<Block> Run();

 private:
  // Of expressions and of statements within each other; keeps the recursion within the stack.
  static constexpr int kMaxNesting = 1000;
  class Nesting;

  // parser.cc: tokens and statements.
  const Token& Current() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token Next();
  bool IsName(std::string_view name) const;
  bool IsOperator(std::string_view op) const;
  bool SkipName(std::string_view name);
  bool SkipOperator(std::string_view op);
  std::string ExpectName();
  void ExpectName(std::string_view name);
  void ExpectOperator(std::string_view op);
  void ExpectEndOfTag();
  void Fail(Position at, std::string message);
  void FailUnexpected();

  // Up to a tag of one of these names, whose name is then the current token.
  Block ParseBlock(std::initializer_list<std::string_view> ends);
  // A block that ends with {% `end` %}, which is consumed but for its %}.
  Block ParseBody(std::string_view end);
  StmtPtr ParseStatement();
  StmtPtr ParseOutput();
  StmtPtr ParseIf();
  StmtPtr ParseFor();
  StmtPtr ParseSet();
  StmtPtr ParseMacro();
  StmtPtr ParseCallBlock();
  StmtPtr ParseFilterBlock();
  StmtPtr ParseWith();
  StmtPtr ParseLoopControl(Stmt::Kind kind);
  Signature ParseSignature();
  ExprPtr ParseTarget(bool with_namespace);
  ExprPtr ParseTargetPart(bool with_namespace);
  StmtPtr MakeStmt(Stmt::Kind kind) const;

  // parse_expression.cc
  ExprPtr ParseExpression(bool with_condition = true);
  // One expression, or several with commas: a tuple.
  ExprPtr ParseTuple(bool with_condition, bool parenthesized);
  bool AtTupleEnd() const;
  ExprPtr ParseCondition();
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filters);
  ExprPtr ParsePrimary();
  ExprPtr ParseNumber();
  ExprPtr ParseList();
  ExprPtr ParseDict();
  ExprPtr MakeExpr(Expr::Kind kind, Position at) const;
  ExprPtr MakeBinary(std::string op, Position at, ExprPtr left, ExprPtr right) const;
  ExprPtr MakeConstant(Value value, Position at) const;

  // parse_postfix.cc
  ExprPtr ParsePostfix(ExprPtr expr);
  ExprPtr ParseFiltersAndTests(ExprPtr expr);
  ExprPtr ParseFilters(ExprPtr expr, bool first_without_pipe);
  std::string ParseDottedName();
  ExprPtr ParseTest(ExprPtr expr);
  ExprPtr ParseSubscript(ExprPtr expr);
  ExprPtr ParseIndex();
  ExprPtr ParseCall(ExprPtr callee);
  ArgumentList ParseArguments();

  std::vector<Token> tokens_;  // the last is kEnd
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;  // around the current statement, within the current macro
  absl::Status status_;
};

// Levels that end with its life: one at first, and one for each step down the left side of a tree
// that a loop builds.
class Parser::Nesting {
 public:
  explicit Nesting(Parser* parser) : parser_(parser), before_(parser->nesting_) { Deepen(); }
  ~Nesting() { parser_->nesting_ = before_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

  void Deepen() {
    if (++parser_->nesting_ > kMaxNesting)
      parser_->Fail(parser_->Current().at, "nested too deeply");
  }

 private:
  Parser* parser_;
  const int before_;
};

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_PARSER_H_
