// What comes after an operand: subscripts, calls, filters and tests.
#include <utility>

#include "server/text/jinja/parser.h"

namespace tidal::jinja {

ExprPtr Parser::ParsePostfix(ExprPtr expr) {
  Nesting nesting(this);
  while (IsOperator(".") || IsOperator("[") || IsOperator("(")) {
    nesting.Deepen();
    expr = IsOperator("(") ? ParseCall(std::move(expr)) : ParseSubscript(std::move(expr));
  }
  return expr;
}

ExprPtr Parser::ParseFiltersAndTests(ExprPtr expr) {
  Nesting nesting(this);
  while (IsOperator("|") || IsName("is") || IsOperator("(")) {
    nesting.Deepen();
    if (IsOperator("|")) {
      expr = ParseFilters(std::move(expr), /*first_without_pipe=*/false);
    } else if (IsName("is")) {
      expr = ParseTest(std::move(expr));
    } else if (IsOperator("(")) {
      expr = ParseCall(std::move(expr));
    }
  }
  return expr;
}

ExprPtr Parser::ParseFilters(ExprPtr expr, bool first_without_pipe) {
  Nesting nesting(this);
  while (first_without_pipe || SkipOperator("|")) {
    nesting.Deepen();
    ExprPtr filter = MakeExpr(Expr::kFilter, Current().at);
    filter->name = ParseDottedName();
    if (IsOperator("(")) filter->arguments = ParseArguments();
    filter->items.push_back(std::move(expr));
    expr = std::move(filter);
    first_without_pipe = false;
  }
  return expr;
}

// Of a filter or a test; environments may have some with dots in their names.
std::string Parser::ParseDottedName() {
  std::string name = ExpectName();
  while (SkipOperator(".")) name.append(".").append(ExpectName());
  return name;
}

ExprPtr Parser::ParseTest(ExprPtr expr) {
  const Position at = Next().at;
  const bool negated = SkipName("not");
  ExprPtr test = MakeExpr(Expr::kTest, at);
  test->name = ParseDottedName();
  test->items.push_back(std::move(expr));
  const Token::Kind kind = Current().kind;
  if (IsOperator("(")) {
    test->arguments = ParseArguments();
  } else if (IsName("is")) {
    Fail(Current().at, "tests cannot be chained with 'is'");
  } else if (IsOperator("[") || IsOperator("{") || kind == Token::kString ||
             kind == Token::kInteger || kind == Token::kFloat ||
             (kind == Token::kName && !IsName("else") && !IsName("or") && !IsName("and"))) {
    test->arguments.positional.push_back(ParsePostfix(ParsePrimary()));
  }
  if (!negated) return test;
  ExprPtr result = MakeExpr(Expr::kUnary, at);
  result->name = "not";
  result->items.push_back(std::move(test));
  return result;
}

ExprPtr Parser::ParseSubscript(ExprPtr expr) {
  const Position at = Current().at;
  ExprPtr result = MakeExpr(Expr::kItem, at);
  result->items.push_back(std::move(expr));
  if (SkipOperator(".")) {
    if (Current().kind == Token::kInteger) {
      result->items.push_back(ParseNumber());
    } else {
      result->kind = Expr::kAttribute;
      result->name = ExpectName();
    }
    return result;
  }
  ExpectOperator("[");
  ExprPtr index = MakeExpr(Expr::kTuple, Current().at);  // unless there is just one
  while (status_.ok() && !IsOperator("]")) {
    if (!index->items.empty()) ExpectOperator(",");
    index->items.push_back(ParseIndex());
  }
  if (index->items.size() == 1) index = std::move(index->items[0]);
  ExpectOperator("]");
  result->items.push_back(std::move(index));
  return result;
}

ExprPtr Parser::ParseIndex() {
  const Position at = Current().at;
  ExprPtr start = IsOperator(":") ? nullptr : ParseExpression();
  if (!IsOperator(":")) return start;
  ExprPtr slice = MakeExpr(Expr::kSlice, at);
  slice->items.push_back(std::move(start));
  for (int part = 0; part < 2; ++part) {
    const bool given =
        SkipOperator(":") && !IsOperator(":") && !IsOperator("]") && !IsOperator(",");
    slice->items.push_back(given ? ParseExpression() : nullptr);
  }
  return slice;
}

ExprPtr Parser::ParseCall(ExprPtr callee) {
  ExprPtr call = MakeExpr(Expr::kCall, Current().at);
  call->items.push_back(std::move(callee));
  call->arguments = ParseArguments();
  return call;
}

ArgumentList Parser::ParseArguments() {
  ArgumentList list;
  const Position at = Current().at;
  ExpectOperator("(");
  bool first = true;
  while (status_.ok() && !IsOperator(")")) {
    if (!std::exchange(first, false)) {
      ExpectOperator(",");
      if (IsOperator(")")) break;
    }
    if (SkipOperator("*")) {
      if (list.dynamic_positional != nullptr || list.dynamic_named != nullptr) break;
      list.dynamic_positional = ParseExpression();
    } else if (SkipOperator("**")) {
      if (list.dynamic_named != nullptr) break;
      list.dynamic_named = ParseExpression();
    } else if (Current().kind == Token::kName && Ahead().kind == Token::kOperator &&
               Ahead().text == "=") {
      std::string name = Next().text;
      Next();
      list.named.emplace_back(std::move(name), ParseExpression());
    } else if (list.named.empty() && list.dynamic_positional == nullptr &&
               list.dynamic_named == nullptr) {
      list.positional.push_back(ParseExpression());
    } else {
      Fail(at, "a positional argument after others");
    }
  }
  ExpectOperator(")");
  return list;
}

}  // namespace tidal::jinja
