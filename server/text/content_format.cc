#include "server/text/content_format.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace tidal {
namespace {

using jinja::Block;
using jinja::Expr;
using jinja::Stmt;
using Names = std::set<std::string>;

void Collect(const Block& block, Stmt::Kind kind, std::vector<const Stmt*>* found) {
  for (const jinja::StmtPtr& stmt : block) {
    if (stmt->kind == kind) found->push_back(stmt.get());
    Collect(stmt->body, kind, found);
    Collect(stmt->otherwise, kind, found);
  }
}

std::vector<const Stmt*> FindAll(const Block& block, Stmt::Kind kind) {
  std::vector<const Stmt*> found;
  Collect(block, kind, &found);
  return found;
}

// The value that filters, tests and slices are applied to: x of `x[1:] | list`.
const Expr* Inner(const Expr* expr) {
  while (expr != nullptr) {
    const bool slice = expr->kind == Expr::kItem && expr->items[1]->kind == Expr::kSlice;
    if (!slice && expr->kind != Expr::kFilter && expr->kind != Expr::kTest) return expr;
    expr = expr->items[0].get();
  }
  return nullptr;
}

bool IsOneOf(const Expr* expr, const Names& names) {
  return expr != nullptr && expr->kind == Expr::kName && names.contains(expr->name);
}

// message.content or message['content']
bool IsContentOf(const Expr* expr, const Names& messages) {
  if (expr == nullptr) return false;
  const bool attribute = expr->kind == Expr::kAttribute && expr->name == "content";
  const bool item = expr->kind == Expr::kItem && expr->items[1]->kind == Expr::kConstant &&
                    expr->items[1]->value.is_string() &&
                    expr->items[1]->value.string() == "content";
  return (attribute || item) && IsOneOf(expr->items[0].get(), messages);
}

// `messages` and the names that it, or a part of it, is set to.
Names NamesOfMessages(const Block& block) {
  const std::vector<const Stmt*> sets = FindAll(block, Stmt::kSet);
  Names names = {"messages"};
  for (size_t before = 0; before != names.size();) {
    before = names.size();
    for (const Stmt* set : sets) {
      const bool is_name = set->target->kind == Expr::kName;
      if (is_name && IsOneOf(Inner(set->expr.get()), names)) names.insert(set->target->name);
    }
  }
  return names;
}

}  // namespace

ContentFormat DetectContentFormat(const Block& block) {
  const Names lists = NamesOfMessages(block);
  const std::vector<const Stmt*> loops = FindAll(block, Stmt::kFor);
  Names messages;
  for (const Stmt* loop : loops) {
    const bool is_name = loop->target->kind == Expr::kName;
    if (is_name && IsOneOf(Inner(loop->expr.get()), lists)) messages.insert(loop->target->name);
  }
  const bool parts = std::any_of(loops.begin(), loops.end(), [&](const Stmt* loop) {
    return IsContentOf(Inner(loop->expr.get()), messages);
  });
  return parts ? ContentFormat::kParts : ContentFormat::kString;
}

}  // namespace tidal
