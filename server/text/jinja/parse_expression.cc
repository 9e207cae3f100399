// Operators, literals and names.
#include <charconv>
#include <cstdlib>

#include "server/text/concat.h"
#include "server/text/jinja/parser.h"

namespace tidal::jinja {

ExprPtr Parser::MakeExpr(Expr::Kind kind, Position at) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->at = at;
  return expr;
}

ExprPtr Parser::MakeBinary(std::string op, Position at, ExprPtr left, ExprPtr right) const {
  ExprPtr expr = MakeExpr(Expr::kBinary, at);
  expr->name = std::move(op);
  expr->items.push_back(std::move(left));
  expr->items.push_back(std::move(right));
  return expr;
}

ExprPtr Parser::MakeConstant(Value value, Position at) const {
  ExprPtr expr = MakeExpr(Expr::kConstant, at);
  expr->value = std::move(value);
  return expr;
}

ExprPtr Parser::ParseExpression(bool with_condition) {
  const Nesting nesting(this);
  if (!status_.ok()) return MakeConstant(Value(), Current().at);
  return with_condition ? ParseCondition() : ParseOr();
}

bool Parser::AtTupleEnd() const {
  return Current().kind == Token::kOutputEnd || Current().kind == Token::kBlockEnd ||
         Current().kind == Token::kEnd || IsOperator(")") || IsName("recursive");
}

ExprPtr Parser::ParseTuple(bool with_condition, bool parenthesized) {
  ExprPtr tuple = MakeExpr(Expr::kTuple, Current().at);
  bool is_tuple = false;
  while (status_.ok()) {
    if (!tuple->items.empty()) ExpectOperator(",");
    if (AtTupleEnd()) break;
    tuple->items.push_back(ParseExpression(with_condition));
    if (!IsOperator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return tuple;
  if (!tuple->items.empty()) return std::move(tuple->items[0]);
  if (!parenthesized) FailUnexpected();
  return tuple;
}

ExprPtr Parser::ParseCondition() {
  Nesting nesting(this);
  ExprPtr expr = ParseOr();
  while (IsName("if")) {
    nesting.Deepen();
    ExprPtr condition = MakeExpr(Expr::kCondition, Next().at);
    condition->items.push_back(std::move(expr));
    condition->items.push_back(ParseOr());
    condition->items.push_back(SkipName("else") ? ParseCondition() : nullptr);
    expr = std::move(condition);
  }
  return expr;
}

ExprPtr Parser::ParseOr() {
  Nesting nesting(this);
  ExprPtr left = ParseAnd();
  while (IsName("or")) {
    nesting.Deepen();
    const Position at = Next().at;
    left = MakeBinary("or", at, std::move(left), ParseAnd());
  }
  return left;
}

ExprPtr Parser::ParseAnd() {
  Nesting nesting(this);
  ExprPtr left = ParseNot();
  while (IsName("and")) {
    nesting.Deepen();
    const Position at = Next().at;
    left = MakeBinary("and", at, std::move(left), ParseNot());
  }
  return left;
}

ExprPtr Parser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  const Nesting nesting(this);
  ExprPtr expr = MakeExpr(Expr::kUnary, Next().at);
  expr->name = "not";
  expr->items.push_back(status_.ok() ? ParseNot() : MakeConstant(Value(), expr->at));
  return expr;
}

ExprPtr Parser::ParseCompare() {
  ExprPtr first = ParseSum();
  ExprPtr compare;
  while (true) {
    std::string op;
    const Position at = Current().at;
    for (const std::string_view candidate : {"==", "!=", "<", "<=", ">", ">="}) {
      if (IsOperator(candidate)) op = candidate;
    }
    if (IsName("in")) op = "in";
    if (IsName("not") && Ahead().kind == Token::kName && Ahead().text == "in") {
      op = "not in";
      Next();
    }
    if (op.empty()) return compare == nullptr ? std::move(first) : std::move(compare);
    Next();
    if (compare == nullptr) {
      compare = MakeExpr(Expr::kCompare, at);
      compare->items.push_back(std::move(first));
    }
    compare->ops.push_back(std::move(op));
    compare->items.push_back(ParseSum());
  }
}

ExprPtr Parser::ParseSum() {
  Nesting nesting(this);
  ExprPtr left = ParseConcat();
  while (IsOperator("+") || IsOperator("-")) {
    nesting.Deepen();
    const Token op = Next();
    left = MakeBinary(op.text, op.at, std::move(left), ParseConcat());
  }
  return left;
}

ExprPtr Parser::ParseConcat() {
  ExprPtr first = ParseProduct();
  if (!IsOperator("~")) return first;
  ExprPtr concat = MakeExpr(Expr::kConcat, Current().at);
  concat->items.push_back(std::move(first));
  while (SkipOperator("~")) concat->items.push_back(ParseProduct());
  return concat;
}

ExprPtr Parser::ParseProduct() {
  Nesting nesting(this);
  ExprPtr left = ParsePower();
  while (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%")) {
    nesting.Deepen();
    const Token op = Next();
    left = MakeBinary(op.text, op.at, std::move(left), ParsePower());
  }
  return left;
}

// Jinja's power is left-associative.
ExprPtr Parser::ParsePower() {
  Nesting nesting(this);
  ExprPtr left = ParseUnary(/*with_filters=*/true);
  while (IsOperator("**")) {
    nesting.Deepen();
    const Position at = Next().at;
    left = MakeBinary("**", at, std::move(left), ParseUnary(/*with_filters=*/true));
  }
  return left;
}

ExprPtr Parser::ParseUnary(bool with_filters) {
  const Nesting nesting(this);
  ExprPtr expr;
  if ((IsOperator("-") || IsOperator("+")) && status_.ok()) {
    const Token op = Next();
    expr = MakeExpr(Expr::kUnary, op.at);
    expr->name = op.text;
    expr->items.push_back(ParseUnary(/*with_filters=*/false));
  } else {
    expr = ParsePrimary();
  }
  expr = ParsePostfix(std::move(expr));
  return with_filters ? ParseFiltersAndTests(std::move(expr)) : std::move(expr);
}

ExprPtr Parser::ParsePrimary() {
  const Position at = Current().at;
  if (IsName("true") || IsName("True")) return Next(), MakeConstant(Value(true), at);
  if (IsName("false") || IsName("False")) return Next(), MakeConstant(Value(false), at);
  if (IsName("none") || IsName("None")) return Next(), MakeConstant(Value(nullptr), at);
  switch (Current().kind) {
    case Token::kName: {
      ExprPtr expr = MakeExpr(Expr::kName, at);
      expr->name = Next().text;
      return expr;
    }
    case Token::kString: {
      std::string text;  // neighbours are one string
      while (Current().kind == Token::kString) text += Next().text;
      return MakeConstant(Value(std::move(text)), at);
    }
    case Token::kInteger:
    case Token::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (SkipOperator("(")) {
    const Nesting nesting(this);
    ExprPtr expr = ParseTuple(/*with_condition=*/true, /*parenthesized=*/true);
    ExpectOperator(")");
    return expr;
  }
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  FailUnexpected();
  return MakeConstant(Value(), at);
}

ExprPtr Parser::ParseNumber() {
  const Token token = Next();
  if (token.kind == Token::kFloat) {
    return MakeConstant(Value(std::strtod(token.text.c_str(), nullptr)), token.at);
  }
  std::string digits = token.text;
  std::erase(digits, '_');
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0' && digits[1] > '9') {
    base = (digits[1] | 0x20) == 'x' ? 16 : (digits[1] | 0x20) == 'o' ? 8 : 2;
    digits.erase(0, 2);
  }
  int64_t number = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number, base);
  if (error != std::errc() || stop != end) Fail(token.at, "an integer of more than 64 bits");
  return MakeConstant(Value(number), token.at);
}

ExprPtr Parser::ParseList() {
  ExprPtr list = MakeExpr(Expr::kList, Next().at);
  while (status_.ok() && !IsOperator("]")) {
    if (!list->items.empty()) ExpectOperator(",");
    if (IsOperator("]")) break;
    list->items.push_back(ParseExpression());
  }
  ExpectOperator("]");
  return list;
}

ExprPtr Parser::ParseDict() {
  ExprPtr dict = MakeExpr(Expr::kDict, Next().at);
  while (status_.ok() && !IsOperator("}")) {
    if (!dict->items.empty()) ExpectOperator(",");
    if (IsOperator("}")) break;
    dict->items.push_back(ParseExpression());
    ExpectOperator(":");
    dict->items.push_back(ParseExpression());
  }
  ExpectOperator("}");
  return dict;
}

}  // namespace tidal::jinja
