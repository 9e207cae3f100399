// The syntax tree of a template.
#ifndef TIDAL_SERVER_TEXT_JINJA_AST_H_
#define TIDAL_SERVER_TEXT_JINJA_AST_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/text/jinja/value.h"

namespace tidal::jinja {

// Both count from 1; columns in bytes.
struct Position {
  int line = 1, column = 1;
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

// The arguments of a call, a filter or a test.
struct ArgumentList {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr dynamic_positional, dynamic_named;  // *args and **kwargs, or null
};

struct Expr {
  enum Kind {
    kConstant,   // value
    kName,       // name
    kAttribute,  // items[0].name
    kItem,       // items[0][items[1]]
    kSlice,      // items: start, stop, step; null when left out
    kCall,       // items[0](arguments)
    kFilter,     // items[0] | name(arguments); items[0] is null in {% filter %} and {% set %}
    kTest,       // items[0] is name(arguments)
    kList,
    kTuple,
    kDict,       // items: key, value, key, value, ...
    kUnary,      // op items[0]; op: - + not
    kBinary,     // items[0] op items[1]; op: + - * / // % ** and or
    kCompare,    // items[0] ops[0] items[1] ops[1] items[2] ...
    kConcat,     // items joined as strings
    kCondition,  // items[0] if items[1] else items[2]; items[2] may be null
  };
  Kind kind;
  Position at;
  std::string name;  // or the operator
  Value value;
  std::vector<ExprPtr> items;
  std::vector<std::string> ops;
  ArgumentList arguments;
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

// The parameters of a macro or of the body of a {% call %}: the last `defaults.size()` of them have
// a default.
struct Signature {
  std::vector<std::string> names;
  std::vector<ExprPtr> defaults;
};

struct Stmt {
  enum Kind {
    kText,         // name
    kOutput,       // expr
    kIf,           // expr, body, otherwise
    kFor,          // target in expr if condition, body, otherwise, recursive
    kSet,          // target = expr
    kSetBlock,     // target = body, through the filters of expr when there is one
    kMacro,        // name, signature, body
    kCallBlock,    // expr (a call) with the signature and body as its caller
    kFilterBlock,  // body through the filters of expr
    kWith,         // targets = values for body
    kScope,        // body, with variables of its own
    kBreak,
    kContinue,
  };
  Kind kind;
  Position at;
  std::string name;
  ExprPtr target;  // kName, kAttribute of a name (a namespace), or kTuple of them
  ExprPtr expr, condition;
  Block body, otherwise;
  Signature signature;
  std::vector<ExprPtr> targets, values;
  bool recursive = false;
  bool uses_varargs = false, uses_kwargs = false;  // a macro whose body names them
};

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_AST_H_
