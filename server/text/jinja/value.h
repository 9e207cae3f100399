// The values of a template: Python's, as far as Jinja shows them. Immutable and shared, except
// namespaces.
#ifndef TIDAL_SERVER_TEXT_JINJA_VALUE_H_
#define TIDAL_SERVER_TEXT_JINJA_VALUE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace tidal::jinja {

class Runtime;
class Value;
struct Arguments;

struct Sequence;
class Dict;
struct Namespace;
struct Function;
struct LoopState;

using StringPtr = std::shared_ptr<const std::string>;
using SequencePtr = std::shared_ptr<const Sequence>;
using DictPtr = std::shared_ptr<const Dict>;
using NamespacePtr = std::shared_ptr<Namespace>;
using FunctionPtr = std::shared_ptr<const Function>;
using LoopPtr = std::shared_ptr<const LoopState>;

// What is missing, and the words Jinja has for it when it is used after all.
struct Undefined {
  StringPtr message;
};

// Not thread-safe where two threads share one namespace; they never do: every rendering makes its
// own. Strings are valid UTF-8; lengths and indices count code points, as in Python.
class Value {
 public:
  // Containers within containers, at most; what recurses over values stays within the stack.
  static constexpr int kMaxDepth = 100;

  Value() : data_(Undefined{}) {}
  Value(std::nullptr_t) : data_(None{}) {}  // NOLINT: None
  Value(bool b) : data_(b) {}               // NOLINT
  Value(int64_t i) : data_(i) {}            // NOLINT
  Value(double d) : data_(d) {}             // NOLINT
  Value(std::string s) : data_(std::make_shared<const std::string>(std::move(s))) {}  // NOLINT
  Value(const char* s) : Value(std::string(s)) {}                                     // NOLINT
  Value(SequencePtr s) : data_(std::move(s)) {}                                       // NOLINT
  Value(DictPtr d) : data_(std::move(d)) {}                                           // NOLINT
  Value(NamespacePtr n) : data_(std::move(n)) {}                                      // NOLINT
  Value(FunctionPtr f) : data_(std::move(f)) {}                                       // NOLINT
  Value(LoopPtr l) : data_(std::move(l)) {}                                           // NOLINT
  static Value List(std::vector<Value> items);
  static Value Tuple(std::vector<Value> items);
  static Value Missing(std::string message);

  bool is_undefined() const { return Is<Undefined>(); }
  bool is_none() const { return Is<None>(); }
  bool is_bool() const { return Is<bool>(); }
  bool is_int() const { return Is<int64_t>(); }  // True and False are not: see IntOrBool()
  bool is_float() const { return Is<double>(); }
  bool is_string() const { return Is<StringPtr>(); }
  bool is_sequence() const { return Is<SequencePtr>(); }  // list or tuple
  bool is_dict() const { return Is<DictPtr>(); }
  bool is_namespace() const { return Is<NamespacePtr>(); }
  bool is_function() const { return Is<FunctionPtr>(); }
  bool is_loop() const { return Is<LoopPtr>(); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_list() const;
  bool is_tuple() const;

  // Each only for its kind.
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const { return std::get<int64_t>(data_); }
  double floating() const { return std::get<double>(data_); }
  const std::string& string() const { return *std::get<StringPtr>(data_); }
  const std::vector<Value>& items() const;
  const Dict& dict() const { return *std::get<DictPtr>(data_); }
  const NamespacePtr& name_space() const { return std::get<NamespacePtr>(data_); }
  const FunctionPtr& function() const { return std::get<FunctionPtr>(data_); }
  const LoopState& loop() const { return *std::get<LoopPtr>(data_); }

  std::optional<int64_t> IntOrBool() const;
  double AsDouble() const;  // of a number
  bool Truth() const;
  std::string UndefinedMessage() const;  // of an undefined value
  int depth() const;                     // containers within, this one included; 0 for the others
  const void* identity() const;          // of a namespace, function or loop

 private:
  struct None {};
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(data_);
  }

  std::variant<Undefined, None, bool, int64_t, double, StringPtr, SequencePtr, DictPtr,
               NamespacePtr, FunctionPtr, LoopPtr>
      data_;
};

// A list or a tuple.
struct Sequence {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
};

// In the order of first insertion, as in Python.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  // False when `key` cannot be one (a list, a dict).
  bool Set(const Value& key, Value value);
  void SetName(std::string_view key, Value value) {
    Set(Value(std::string(key)), std::move(value));
  }
  const Value* Find(const Value& key) const;  // null when missing or not a possible key
  const Value* FindName(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;  // by the key's canonical text
  int depth_ = 1;
};

// Attributes can be set, with {% set ns.name = ... %}.
struct Namespace {
  Dict attributes;
};

// Named arguments keep their order.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// A macro, a global function, or a method bound to its object.
struct Function {
  std::string name;
  std::function<Value(Runtime*, const Arguments&)> call;
};

// The `loop` of a {% for %} at one iteration.
struct LoopState {
  SequencePtr items;
  size_t index0 = 0;
  int depth0 = 0;                 // loops around this one, of a recursive loop
  FunctionPtr recurse;            // loop(...); null unless the loop is recursive
  std::shared_ptr<Value> before;  // what loop.changed() saw last
};

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_VALUE_H_
