#include "server/text/jinja/parser.h"

#include "server/text/concat.h"
#include "server/text/jinja/check_names.h"
#include "server/text/utf8.h"

namespace tidal::jinja {

absl::StatusOr<Block> ParseTemplate(std::string_view source) {
  if (const auto offset = FindInvalidUtf8(source); offset.has_value()) {
    return absl::InvalidArgumentError(
        Concat("must be valid UTF-8, got an invalid byte at offset ", *offset));
  }
  auto tokens = Tokenize(source);
  if (!tokens.ok()) return tokens.status();
  auto block = Parser(*std::move(tokens)).Run();
  if (!block.ok()) return block.status();
  if (const absl::Status names = CheckNames(*block); !names.ok()) return names;
  return block;
}

absl::StatusOr<Block> Parser::Run() {
  Block block = ParseBlock({});
  if (!status_.ok()) return status_;
  return block;
}

Token Parser::Next() {
  Token token = Current();
  if (token.kind != Token::kEnd) ++at_;
  return token;
}

bool Parser::IsName(std::string_view name) const {
  return Current().kind == Token::kName && Current().text == name;
}

bool Parser::IsOperator(std::string_view op) const {
  return Current().kind == Token::kOperator && Current().text == op;
}

bool Parser::SkipName(std::string_view name) {
  const bool is = IsName(name);
  if (is) ++at_;
  return is;
}

bool Parser::SkipOperator(std::string_view op) {
  const bool is = IsOperator(op);
  if (is) ++at_;
  return is;
}

std::string Parser::ExpectName() {
  if (Current().kind != Token::kName) {
    FailUnexpected();
    return "";
  }
  return Next().text;
}

void Parser::ExpectName(std::string_view name) {
  if (!SkipName(name)) Fail(Current().at, Concat("expected '", name, "'"));
}

void Parser::ExpectOperator(std::string_view op) {
  if (!SkipOperator(op)) Fail(Current().at, Concat("expected '", op, "'"));
}

void Parser::ExpectEndOfTag() {
  if (Current().kind != Token::kBlockEnd) return FailUnexpected();
  ++at_;
}

void Parser::Fail(Position at, std::string message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(Concat(DescribePosition(at), message));
  at_ = tokens_.size() - 1;
}

void Parser::FailUnexpected() {
  const Token& token = Current();
  switch (token.kind) {
    case Token::kEnd:
      return Fail(token.at, "unexpected end of the template");
    case Token::kBlockEnd:
    case Token::kOutputEnd:
      return Fail(token.at, "unexpected end of the tag");
    default:
      return Fail(token.at, Concat("unexpected '", token.text, "'"));
  }
}

StmtPtr Parser::MakeStmt(Stmt::Kind kind) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->at = Current().at;
  return stmt;
}

Block Parser::ParseBlock(std::initializer_list<std::string_view> ends) {
  const Nesting nesting(this);
  Block block;
  while (status_.ok()) {
    switch (Current().kind) {
      case Token::kText:
        block.push_back(MakeStmt(Stmt::kText));
        block.back()->name = Next().text;
        break;
      case Token::kOutputBegin:
        block.push_back(ParseOutput());
        break;
      case Token::kBlockBegin:
        ++at_;
        for (const std::string_view end : ends) {
          if (IsName(end)) return block;
        }
        block.push_back(ParseStatement());
        ExpectEndOfTag();
        break;
      default:
        if (Current().kind != Token::kEnd || ends.size() > 0) FailUnexpected();
        return block;
    }
  }
  return block;
}

Block Parser::ParseBody(std::string_view end) {
  ExpectEndOfTag();
  Block body = ParseBlock({end});
  ExpectName(end);
  return body;
}

StmtPtr Parser::ParseStatement() {
  if (IsName("if")) return ParseIf();
  if (IsName("for")) return ParseFor();
  if (IsName("set")) return ParseSet();
  if (IsName("macro")) return ParseMacro();
  if (IsName("call")) return ParseCallBlock();
  if (IsName("filter")) return ParseFilterBlock();
  if (IsName("with")) return ParseWith();
  if (IsName("break")) return ParseLoopControl(Stmt::kBreak);
  if (IsName("continue")) return ParseLoopControl(Stmt::kContinue);
  StmtPtr stmt = MakeStmt(Stmt::kScope);
  if (SkipName("generation")) {  // marks what the assistant said; the text is the same
    stmt->body = ParseBody("endgeneration");
  } else if (Current().kind == Token::kName) {
    Fail(Current().at, Concat("unknown tag '", Current().text, "'"));
  } else {
    FailUnexpected();
  }
  return stmt;
}

StmtPtr Parser::ParseOutput() {
  StmtPtr stmt = MakeStmt(Stmt::kOutput);
  ++at_;
  stmt->expr = ParseTuple(/*with_condition=*/true, /*parenthesized=*/false);
  if (Current().kind != Token::kOutputEnd) {
    FailUnexpected();
  } else {
    ++at_;
  }
  return stmt;
}

StmtPtr Parser::ParseIf() {
  const Nesting nesting(this);
  StmtPtr stmt = MakeStmt(Stmt::kIf);
  ++at_;  // if or elif
  stmt->expr = ParseTuple(/*with_condition=*/false, /*parenthesized=*/false);
  ExpectEndOfTag();
  stmt->body = ParseBlock({"elif", "else", "endif"});
  if (IsName("elif")) {
    stmt->otherwise.push_back(ParseIf());
  } else if (SkipName("else")) {
    stmt->otherwise = ParseBody("endif");
  } else {
    ExpectName("endif");
  }
  return stmt;
}

StmtPtr Parser::ParseFor() {
  StmtPtr stmt = MakeStmt(Stmt::kFor);
  ++at_;
  stmt->target = ParseTarget(/*with_namespace=*/false);
  ExpectName("in");
  stmt->expr = ParseTuple(/*with_condition=*/false, /*parenthesized=*/false);
  if (SkipName("if")) stmt->condition = ParseExpression();
  stmt->recursive = SkipName("recursive");
  ExpectEndOfTag();
  ++loops_;
  stmt->body = ParseBlock({"endfor", "else"});
  --loops_;
  if (SkipName("else")) {
    stmt->otherwise = ParseBody("endfor");
  } else {
    ExpectName("endfor");
  }
  return stmt;
}

StmtPtr Parser::ParseSet() {
  StmtPtr stmt = MakeStmt(Stmt::kSet);
  ++at_;
  stmt->target = ParseTarget(/*with_namespace=*/true);
  if (SkipOperator("=")) {
    stmt->expr = ParseTuple(/*with_condition=*/true, /*parenthesized=*/false);
    return stmt;
  }
  stmt->kind = Stmt::kSetBlock;
  stmt->expr = ParseFilters(nullptr, /*first_without_pipe=*/false);
  stmt->body = ParseBody("endset");
  return stmt;
}

StmtPtr Parser::ParseMacro() {
  StmtPtr stmt = MakeStmt(Stmt::kMacro);
  ++at_;
  stmt->name = ExpectName();
  stmt->signature = ParseSignature();
  const int loops = std::exchange(loops_, 0);
  const size_t begin = at_;
  stmt->body = ParseBody("endmacro");
  loops_ = loops;
  for (size_t i = begin; i < at_; ++i) {
    if (tokens_[i].kind != Token::kName) continue;
    stmt->uses_varargs = stmt->uses_varargs || tokens_[i].text == "varargs";
    stmt->uses_kwargs = stmt->uses_kwargs || tokens_[i].text == "kwargs";
  }
  return stmt;
}

StmtPtr Parser::ParseCallBlock() {
  StmtPtr stmt = MakeStmt(Stmt::kCallBlock);
  ++at_;
  if (IsOperator("(")) stmt->signature = ParseSignature();
  stmt->expr = ParseExpression();
  if (stmt->expr->kind != Expr::kCall) Fail(stmt->expr->at, "expected a call");
  const int loops = std::exchange(loops_, 0);
  stmt->body = ParseBody("endcall");
  loops_ = loops;
  return stmt;
}

StmtPtr Parser::ParseFilterBlock() {
  StmtPtr stmt = MakeStmt(Stmt::kFilterBlock);
  ++at_;
  stmt->expr = ParseFilters(nullptr, /*first_without_pipe=*/true);
  stmt->body = ParseBody("endfilter");
  return stmt;
}

StmtPtr Parser::ParseWith() {
  StmtPtr stmt = MakeStmt(Stmt::kWith);
  ++at_;
  while (status_.ok() && Current().kind != Token::kBlockEnd) {
    if (!stmt->targets.empty()) ExpectOperator(",");
    stmt->targets.push_back(ParseTarget(/*with_namespace=*/false));
    ExpectOperator("=");
    stmt->values.push_back(ParseExpression());
  }
  stmt->body = ParseBody("endwith");
  return stmt;
}

StmtPtr Parser::ParseLoopControl(Stmt::Kind kind) {
  StmtPtr stmt = MakeStmt(kind);
  if (loops_ == 0) Fail(Current().at, Concat("'", Current().text, "' outside a loop"));
  Next();
  return stmt;
}

Signature Parser::ParseSignature() {
  Signature signature;
  ExpectOperator("(");
  while (status_.ok() && !IsOperator(")")) {
    if (!signature.names.empty()) ExpectOperator(",");
    signature.names.push_back(ExpectName());
    if (SkipOperator("=")) {
      signature.defaults.push_back(ParseExpression());
    } else if (!signature.defaults.empty()) {
      Fail(Current().at, "a parameter without a default after one with a default");
    }
  }
  ExpectOperator(")");
  return signature;
}

ExprPtr Parser::ParseTargetPart(bool with_namespace) {
  const Nesting nesting(this);
  const Position at = Current().at;
  if (SkipOperator("(")) {
    ExprPtr target = ParseTarget(with_namespace);
    ExpectOperator(")");
    return target;
  }
  ExprPtr name = MakeExpr(Expr::kName, at);
  name->name = ExpectName();
  for (const char* constant : {"true", "false", "none", "True", "False", "None"}) {
    if (name->name == constant) Fail(at, "cannot assign to a constant");
  }
  if (!with_namespace || !SkipOperator(".")) return name;
  ExprPtr attribute = MakeExpr(Expr::kAttribute, at);
  attribute->items.push_back(std::move(name));
  attribute->name = ExpectName();
  return attribute;
}

ExprPtr Parser::ParseTarget(bool with_namespace) {
  const Position at = Current().at;
  ExprPtr first = ParseTargetPart(with_namespace);
  if (!IsOperator(",")) return first;
  ExprPtr tuple = MakeExpr(Expr::kTuple, at);
  tuple->items.push_back(std::move(first));
  while (SkipOperator(",")) {
    if (Current().kind != Token::kName && !IsOperator("(")) break;
    if (IsName("in")) break;
    tuple->items.push_back(ParseTargetPart(with_namespace));
  }
  return tuple;
}

}  // namespace tidal::jinja
