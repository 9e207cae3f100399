// Of which types the arguments of tools may be, as their schemas say.
#ifndef TIDAL_SERVER_REPLY_ARGUMENT_TYPES_H_
#define TIDAL_SERVER_REPLY_ARGUMENT_TYPES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace tidal {

// A set of JSON's types.
class JsonTypes {
 public:
  enum Type : uint8_t {
    kString = 1,
    kNumber = 2,  // integers too
    kBoolean = 4,
    kNull = 8,
    kObject = 16,
    kArray = 32,
  };

  constexpr JsonTypes() = default;
  constexpr JsonTypes(uint8_t types) : types_(types) {}  // NOLINT: kString | kNull

  constexpr bool Has(Type type) const { return (types_ & type) != 0; }
  constexpr bool empty() const { return types_ == 0; }
  // Strings and nothing else.
  constexpr bool IsText() const { return types_ == kString; }
  constexpr void Add(JsonTypes other) { types_ |= other.types_; }

 private:
  uint8_t types_ = 0;
};

// Families with raw text between tags leave it to the schema what a value is. One of these serves
// all outputs of a request. Thread-safe once all tools are added.
class ArgumentTypes {
 public:
  // `schema`: of the object of arguments, JSON. One that cannot be read says nothing.
  void AddTool(std::string_view name, std::string_view schema);

  // Where the schema says nothing, text.
  JsonTypes Of(std::string_view tool, std::string_view argument) const;

 private:
  struct Tool {
    std::map<std::string, JsonTypes, std::less<>> arguments;
    JsonTypes others;
  };
  std::map<std::string, Tool, std::less<>> tools_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_REPLY_ARGUMENT_TYPES_H_
