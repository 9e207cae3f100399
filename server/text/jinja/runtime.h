// What filters, tests, functions and methods may use of the rendering they are called from.
#ifndef TIDAL_SERVER_TEXT_JINJA_RUNTIME_H_
#define TIDAL_SERVER_TEXT_JINJA_RUNTIME_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/text/jinja/value.h"

namespace tidal::jinja {

struct Limits {
  int64_t steps = 5'000'000;           // expressions, statements and elements touched
  int64_t output_bytes = 16 << 20;     // of the text
  int64_t string_bytes = 16 << 20;     // of one string
  int64_t produced_bytes = 256 << 20;  // of all strings made on the way
  int depth = 800;                     // of calls and nested expressions
};

// One rendering. The first failure stays and ends it: after Fail() everything may return an
// undefined value, and nothing that is computed from it is seen. Not thread-safe.
class Runtime {
 public:
  virtual ~Runtime() = default;

  // All return an undefined value.
  Value Fail(std::string message);            // INVALID_ARGUMENT
  Value FailPlainly(std::string message);     // the same, without a position
  Value Exhausted(std::string message);       // RESOURCE_EXHAUSTED
  Value FailIfUndefined(const Value& value);  // fails in the value's own words
  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }

  // Work done, against the limits: elements touched, or bytes of strings made.
  void Step(int64_t count = 1);
  // Whether a string of so many bytes, or a list of so many elements, may be made.
  bool Fits(int64_t size) const { return size <= limits_.string_bytes; }
  // A string of this rendering; fails when it is too long.
  Value MakeString(std::string text, bool escaped = false);
  // Checks the nesting and the size before the values become one.
  Value MakeList(std::vector<Value> items);
  Value MakeTuple(std::vector<Value> items);
  Value MakeGroup(Value grouper, Value list);
  Value MakeDict(Dict dict);
  Value MakeGenerator(std::vector<Value> items, std::string_view type_name = "generator");
  Value MakeView(std::vector<Value> items, std::string_view type_name);
  NamespacePtr MakeNamespace();

  // value.name and value[key], with the order of lookups that Jinja has.
  virtual Value GetAttribute(const Value& value, const std::string& name) = 0;
  virtual Value GetItem(const Value& value, const Value& key) = 0;
  virtual Value Call(const Value& callee, const Arguments& arguments) = 0;
  virtual Value ApplyFilter(const std::string& name, const Value& value, const Arguments& args) = 0;
  virtual bool ApplyTest(const std::string& name, const Value& value, const Arguments& args) = 0;
  // The elements that a {% for %} over `value` sees; fails when there are none to see. Those of a
  // generator are gone afterwards, or only the first `most` of them.
  std::vector<Value> Iterate(const Value& value, size_t most = SIZE_MAX);

  std::chrono::system_clock::time_point now() const { return now_; }

 protected:
  Runtime(const Limits& limits, std::chrono::system_clock::time_point now)
      : limits_(limits), now_(now) {}
  // Empties the namespaces, which may hold each other.
  void ReleaseNamespaces();

  // Before the message: where in the template.
  virtual std::string Where() const = 0;

  const Limits limits_;

 private:
  Value CheckMade(Value value, size_t items);

  const std::chrono::system_clock::time_point now_;
  absl::Status status_;
  int64_t steps_ = 0, produced_bytes_ = 0;
  std::vector<NamespacePtr> namespaces_;
};

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_RUNTIME_H_
