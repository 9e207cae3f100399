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

struct Text;
struct Sequence;
struct Stream;
class Dict;
struct Namespace;
struct Function;
struct LoopState;

using StringPtr = std::shared_ptr<const std::string>;
using StreamPtr = std::shared_ptr<const Stream>;
using SequencePtr = std::shared_ptr<const Sequence>;
using DictPtr = std::shared_ptr<const Dict>;
using NamespacePtr = std::shared_ptr<Namespace>;
using FunctionPtr = std::shared_ptr<const Function>;
using LoopPtr = std::shared_ptr<const LoopState>;

// What is missing, and the words Jinja has for it when it is used after all.
struct Undefined {
  StringPtr message;
};

// A string. An escaped one (markupsafe.Markup: what | safe and | escape make) escapes for HTML what
// is not, once the two meet in an operator or a method.
struct Text {
  StringPtr text;
  bool escaped = false;
};

// Not thread-safe where two threads share one namespace; they never do: every rendering makes its
// own. Strings are valid UTF-8; lengths and indices count code points, as in Python.
class Value {
 public:
  // Containers within containers, at most; what recurses over values stays within the stack.
  static constexpr int kMaxDepth = 100;

  Value() : data_(Undefined{}) {}
  Value(std::nullptr_t) : data_(None{}) {}    // NOLINT: None
  Value(bool b) : data_(b) {}                 // NOLINT
  Value(int64_t i) : data_(i) {}              // NOLINT
  Value(double d) : data_(d) {}               // NOLINT
  Value(std::string s, bool escaped = false)  // NOLINT
      : data_(Text{std::make_shared<const std::string>(std::move(s)), escaped}) {}
  Value(const char* s) : Value(std::string(s)) {}  // NOLINT
  Value(SequencePtr s) : data_(std::move(s)) {}    // NOLINT
  Value(StreamPtr s) : data_(std::move(s)) {}      // NOLINT
  Value(DictPtr d) : data_(std::move(d)) {}        // NOLINT
  Value(NamespacePtr n) : data_(std::move(n)) {}   // NOLINT
  Value(FunctionPtr f) : data_(std::move(f)) {}    // NOLINT
  Value(LoopPtr l) : data_(std::move(l)) {}        // NOLINT
  static Value List(std::vector<Value> items);
  static Value Tuple(std::vector<Value> items);
  static Value Group(Value grouper, Value list);
  static Value View(std::vector<Value> items, std::string_view type_name);
  static Value Generator(std::vector<Value> items, std::string_view type_name = "generator");
  static Value Missing(std::string message);

  bool is_undefined() const { return Is<Undefined>(); }
  bool is_none() const { return Is<None>(); }
  bool is_bool() const { return Is<bool>(); }
  bool is_int() const { return Is<int64_t>(); }  // True and False are not: see IntOrBool()
  bool is_float() const { return Is<double>(); }
  bool is_string() const { return Is<Text>(); }
  bool is_escaped() const { return is_string() && std::get<Text>(data_).escaped; }
  bool is_sequence() const { return Is<SequencePtr>(); }  // list or tuple
  bool is_stream() const { return Is<StreamPtr>(); }
  bool is_dict() const { return Is<DictPtr>(); }
  bool is_namespace() const { return Is<NamespacePtr>(); }
  bool is_function() const { return Is<FunctionPtr>(); }
  bool is_loop() const { return Is<LoopPtr>(); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_list() const;
  bool is_tuple() const;
  bool is_group() const;

  // Each only for its kind.
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const { return std::get<int64_t>(data_); }
  double floating() const { return std::get<double>(data_); }
  const std::string& string() const { return *std::get<Text>(data_).text; }
  const std::vector<Value>& items() const;
  const Stream& stream() const { return *std::get<StreamPtr>(data_); }
  const Dict& dict() const { return *std::get<DictPtr>(data_); }
  const NamespacePtr& name_space() const { return std::get<NamespacePtr>(data_); }
  const FunctionPtr& function() const { return std::get<FunctionPtr>(data_); }
  const LoopState& loop() const { return *std::get<LoopPtr>(data_); }

  std::optional<int64_t> IntOrBool() const;
  double AsDouble() const;  // of a number
  bool Truth() const;
  std::string UndefinedMessage() const;  // of an undefined value
  int depth() const;                     // containers within, this one included; 0 for the others
  const void* identity() const;          // of a namespace, function, loop or stream; else null

 private:
  struct None {};
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(data_);
  }

  std::variant<Undefined, None, bool, int64_t, double, Text, SequencePtr, StreamPtr, DictPtr,
               NamespacePtr, FunctionPtr, LoopPtr>
      data_;
};

// A list or a tuple.
struct Sequence {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
  bool group = false;  // what groupby makes: (grouper, list), which are attributes too
};

// What can be gone through and has no index: what dict.items() and its like give, and what filters
// such as map do, which is gone once it has been gone through.
struct Stream {
  std::vector<Value> items;
  std::string_view type_name;  // "dict_items", "generator", ...
  bool once = true;
  int depth = 1;
  mutable size_t taken = 0;  // items that are gone
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
