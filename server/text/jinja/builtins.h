// What a template finds without being given it: filters, tests, global functions, methods.
#ifndef TIDAL_SERVER_TEXT_JINJA_BUILTINS_H_
#define TIDAL_SERVER_TEXT_JINJA_BUILTINS_H_

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/text/jinja/runtime.h"
#include "server/text/jinja/value.h"

namespace tidal::jinja {

using FilterFn = Value (*)(Runtime*, const Value& value, const Arguments&);
using TestFn = bool (*)(Runtime*, const Value& value, const Arguments&);
// A method with the object it is called on.
using MethodFn = Value (*)(Runtime*, const Value& self, const Arguments&);

// Null when there is none of that name.
FilterFn FindFilter(const std::string& name);
TestFn FindTest(const std::string& name);
// Undefined when there is none.
Value FindGlobal(const std::string& name);
MethodFn FindStringMethod(const std::string& name);
MethodFn FindDictMethod(const std::string& name);
MethodFn FindSequenceMethod(const std::string& name);
// A method of an escaped string: its arguments are escaped where they get into the result, and so
// is the result.
Value CallOnEscaped(Runtime* rt, const std::string& name, MethodFn method, const Value& self,
                    const Arguments& arguments);

// The filters, by what they work on.
using FilterTable = std::unordered_map<std::string_view, FilterFn>;
const FilterTable& TextFilters();
const FilterTable& SequenceFilters();
const FilterTable& SelectionFilters();
const FilterTable& NumberFilters();

// Arguments by parameter, in order: by position or by name.
class Parameters {
 public:
  // Fails on an argument too many or one of an unknown name.
  Parameters(Runtime* rt, std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names);

  bool Has(size_t index) const { return values_[index] != nullptr; }
  // Undefined when it was not given.
  Value Get(size_t index) const { return Has(index) ? *values_[index] : Value(); }
  // The given value in its kind, or what stands in for it; each fails on another kind.
  int64_t Int(size_t index, int64_t otherwise) const;
  std::string String(size_t index, std::string_view otherwise) const;
  bool Bool(size_t index, bool otherwise) const;  // its truth
  // Fails when it was not given.
  const Parameters& Require(size_t index) const;

 private:
  Runtime* rt_;
  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

// What `attribute` of filters such as map and sort names: "a.b.0" goes inwards from the value.
Value GetPath(Runtime* rt, const Value& value, const Value& attribute, const Value* otherwise);

// Parts that several builtins share.
std::vector<Value> DictItems(Runtime* rt, const Dict& dict);  // (key, value) tuples
// Lines without their ends, unless kept; as str.splitlines() has them.
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);
Value ReplaceText(Runtime* rt, const std::string& text, const std::string& from,
                  const std::string& to, int64_t count);
// `text` with `fill` (one code point) up to `width` code points; where: '<', '>' or '^'.
Value PadText(Runtime* rt, const std::string& text, int64_t width, const std::string& fill,
              char where);

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_BUILTINS_H_
