#include "server/text/jinja/json_value.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "server/text/concat.h"

namespace tidal::jinja {
namespace {

// Takes the parser's events; false ends the parsing. Not nlohmann's own tree, which either sorts
// keys or takes quadratic time for them.
class ValueBuilder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  bool null() { return Add(Value(nullptr)); }
  bool boolean(bool value) { return Add(Value(value)); }
  bool number_integer(number_integer_t value) { return Add(Value(int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return FailInteger();
    return Add(Value(static_cast<int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t& digits) {
    // The parser gives integers that are too long for it as floating-point numbers.
    if (digits.find_first_of(".eE") == string_t::npos) return FailInteger();
    return Add(Value(value));
  }
  bool string(string_t& value) { return Add(Value(std::move(value))); }
  bool binary(binary_t&) { return false; }  // JSON has none

  bool start_object(size_t) { return Open(/*is_object=*/true); }
  bool key(string_t& name) {
    open_.back().key = std::move(name);
    return true;
  }
  bool end_object() {
    Dict dict = std::move(open_.back().dict);
    open_.pop_back();
    return Add(Value(std::make_shared<const Dict>(std::move(dict))));
  }
  bool start_array(size_t) { return Open(/*is_object=*/false); }
  bool end_array() {
    std::vector<Value> items = std::move(open_.back().items);
    open_.pop_back();
    return Add(Value::List(std::move(items)));
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) {
    return Fail(Concat("must be valid JSON in UTF-8, got an error at byte ", position));
  }

  absl::StatusOr<Value> Finish() && {
    if (!status_.ok()) return status_;
    return std::move(result_);
  }

 private:
  struct Container {
    bool is_object = false;
    std::string key;  // of the member to come
    Dict dict;
    std::vector<Value> items;
  };

  bool Fail(std::string message) {
    status_ = absl::InvalidArgumentError(message);
    return false;
  }
  bool FailInteger() { return Fail("must have integers of at most 64 bits, got a larger one"); }

  bool Open(bool is_object) {
    if (open_.size() == kMaxJsonDepth) {
      return Fail(Concat("must be JSON nested at most ", kMaxJsonDepth, " deep"));
    }
    open_.emplace_back();
    open_.back().is_object = is_object;
    return true;
  }

  bool Add(Value value) {
    if (open_.empty()) {
      result_ = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().dict.SetName(open_.back().key, std::move(value));
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  std::vector<Container> open_;
  Value result_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<Value> ParseJson(std::string_view text) {
  ValueBuilder builder;
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return std::move(builder).Finish();
}

}  // namespace tidal::jinja
