#include "server/text/jinja/check_names.h"

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/lexer.h"

namespace tidal::jinja {
namespace {

class NameChecker {
 public:
  // `sure`: not within an if that may be false.
  void CheckBlock(const Block& block, bool sure) {
    for (const StmtPtr& stmt : block) CheckStmt(*stmt, sure);
  }
  const absl::Status& status() const { return status_; }

 private:
  void CheckStmt(const Stmt& stmt, bool sure) {
    sure = sure && stmt.kind != Stmt::kIf;
    CheckExpr(stmt.expr.get(), sure);
    // Other statements have a frame of their own, where Jinja checks again.
    const bool sure_inside = stmt.kind != Stmt::kIf;
    CheckExpr(stmt.condition.get(), sure_inside);
    CheckAll(stmt.signature.defaults, sure_inside);
    CheckAll(stmt.values, sure_inside);
    CheckBlock(stmt.body, sure_inside);
    CheckBlock(stmt.otherwise, sure_inside);
  }

  void CheckAll(const std::vector<ExprPtr>& exprs, bool sure) {
    for (const ExprPtr& expr : exprs) CheckExpr(expr.get(), sure);
  }

  void CheckExpr(const Expr* expr, bool sure) {
    if (expr == nullptr) return;
    sure = sure && expr->kind != Expr::kCondition;
    if (expr->kind == Expr::kFilter && sure && FindFilter(expr->name) == nullptr) {
      Fail(*expr, "filter");
    }
    if (expr->kind == Expr::kTest && sure && FindTest(expr->name) == nullptr) Fail(*expr, "test");
    CheckAll(expr->items, sure);
    CheckAll(expr->arguments.positional, sure);
    for (const auto& [name, value] : expr->arguments.named) CheckExpr(value.get(), sure);
    CheckExpr(expr->arguments.dynamic_positional.get(), sure);
    CheckExpr(expr->arguments.dynamic_named.get(), sure);
  }

  void Fail(const Expr& expr, std::string_view kind) {
    status_.Update(absl::InvalidArgumentError(
        Concat(DescribePosition(expr.at), "No ", kind, " named '", expr.name, "'.")));
  }

  absl::Status status_;
};

}  // namespace

absl::Status CheckNames(const Block& block) {
  NameChecker checker;
  checker.CheckBlock(block, /*sure=*/true);
  return checker.status();
}

}  // namespace tidal::jinja
