#include "server/text/jinja/builtins.h"

#include <algorithm>
#include <charconv>

#include "server/text/concat.h"
#include "server/text/jinja/operators.h"

namespace tidal::jinja {

Parameters::Parameters(Runtime* rt, std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names)
    : rt_(rt), function_(function), names_(names), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size()) {
    rt->Fail(Concat(function, "() takes at most ", names.size(), " arguments, got ",
                    arguments.positional.size()));
  }
  for (size_t i = 0; i < std::min(names.size(), arguments.positional.size()); ++i) {
    values_[i] = &arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.named) {
    const auto it = std::find(names_.begin(), names_.end(), name);
    if (it == names_.end()) {
      rt->Fail(Concat(function, "() got an unexpected keyword argument '", name, "'"));
    } else {
      values_[it - names_.begin()] = &value;
    }
  }
}

int64_t Parameters::Int(size_t index, int64_t otherwise) const {
  if (!Has(index)) return otherwise;
  if (const auto integer = values_[index]->IntOrBool()) return *integer;
  rt_->FailIfUndefined(*values_[index]);
  rt_->Fail(Concat(function_, "() needs an integer for '", names_[index], "', got ",
                   TypeName(*values_[index])));
  return otherwise;
}

std::string Parameters::String(size_t index, std::string_view otherwise) const {
  if (!Has(index)) return std::string(otherwise);
  if (values_[index]->is_string()) return values_[index]->string();
  rt_->FailIfUndefined(*values_[index]);
  rt_->Fail(Concat(function_, "() needs a string for '", names_[index], "', got ",
                   TypeName(*values_[index])));
  return std::string(otherwise);
}

bool Parameters::Bool(size_t index, bool otherwise) const {
  return Has(index) ? values_[index]->Truth() : otherwise;
}

const Parameters& Parameters::Require(size_t index) const {
  if (!Has(index)) {
    rt_->Fail(Concat(function_, "() is missing the argument '", names_[index], "'"));
  }
  return *this;
}

FilterFn FindFilter(const std::string& name) {
  for (const FilterTable* table :
       {&TextFilters(), &SequenceFilters(), &SelectionFilters(), &NumberFilters()}) {
    const auto it = table->find(name);
    if (it != table->end()) return it->second;
  }
  return nullptr;
}

Value GetPath(Runtime* rt, const Value& value, const Value& attribute, const Value* otherwise) {
  Value at = value;
  const auto step = [&](const Value& key) {
    at = rt->GetItem(at, key);
    if (otherwise != nullptr && at.is_undefined()) at = *otherwise;
  };
  if (!attribute.is_string()) {
    step(attribute);
    return at;
  }
  std::string_view path = attribute.string();
  while (!rt->failed()) {
    const std::string_view part = path.substr(0, path.find('.'));
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = error == std::errc() && end == part.data() + part.size() && index >= 0;
    step(number ? Value(index) : Value(std::string(part)));
    if (part.size() == path.size()) break;
    path.remove_prefix(part.size() + 1);
  }
  return at;
}

}  // namespace tidal::jinja
