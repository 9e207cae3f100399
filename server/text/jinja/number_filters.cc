#include <algorithm>
#include <charconv>
#include <cmath>

#include "server/text/concat.h"
#include "server/text/jinja/builtins.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"

namespace tidal::jinja {
namespace {

using Args = const Arguments&;

// Digits with single underscores between them, as Python reads numbers; nothing otherwise.
std::optional<std::string> PlainNumber(std::string_view text) {
  text = StripRight(StripLeft(text));
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() && std::isalnum(text[i - 1] & 0x7F) &&
                         std::isalnum(text[i + 1] & 0x7F);
    if (text[i] != '_') {
      plain += text[i];
    } else if (!between) {
      return std::nullopt;
    }
  }
  if (plain.starts_with('+')) plain.erase(0, 1);
  if (plain.empty() || plain.starts_with('+')) return std::nullopt;
  return plain;
}

std::optional<int64_t> ParseInt(std::string_view text, int base) {
  const auto plain = PlainNumber(text);
  if (!plain.has_value()) return std::nullopt;
  std::string digits = *plain;
  const bool negative = digits[0] == '-';
  if (negative) digits.erase(0, 1);
  const std::string prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  if (!prefix.empty() && ToLower(digits).starts_with(prefix)) digits.erase(0, 2);
  if (digits.empty() || digits[0] == '-') return std::nullopt;
  if (negative) digits.insert(0, 1, '-');
  int64_t number = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number, base);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::optional<double> ParseFloat(std::string_view text) {
  const auto plain = PlainNumber(text);
  if (!plain.has_value()) return std::nullopt;
  double number = 0;
  const char* end = plain->data() + plain->size();
  const auto [stop, error] = std::from_chars(plain->data(), end, number);
  if (stop != end || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::strtod(plain->c_str(), nullptr);
  return number;
}

std::optional<int64_t> Truncated(double number) {
  if (!(std::abs(number) < 9.2e18)) return std::nullopt;
  return static_cast<int64_t>(number);
}

Value Int(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "int", args, {"default", "base"});
  const Value otherwise = p.Has(0) ? p.Get(0) : Value(int64_t{0});
  const int64_t base = p.Int(1, 10);
  if (base < 2 || base > 36) return rt->Fail("int() base must be from 2 to 36");
  std::optional<int64_t> number = value.IntOrBool();
  if (value.is_float()) number = Truncated(value.floating());
  if (value.is_string()) {
    number = ParseInt(value.string(), static_cast<int>(base));
    if (!number.has_value()) {
      const auto floating = ParseFloat(value.string());
      if (floating.has_value()) number = Truncated(*floating);
    }
  }
  rt->FailIfUndefined(value);
  return number.has_value() ? Value(*number) : otherwise;
}

Value Float(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "float", args, {"default"});
  if (value.is_number()) return Value(value.AsDouble());
  if (value.is_string()) {
    if (const auto number = ParseFloat(value.string())) return Value(*number);
  }
  rt->FailIfUndefined(value);
  return p.Has(0) ? p.Get(0) : Value(0.0);
}

Value Abs(Runtime* rt, const Value& value, Args args) {
  const Parameters none(rt, "abs", args, {});
  if (value.is_float()) return Value(std::abs(value.floating()));
  const auto number = value.IntOrBool();
  return number.has_value() && *number >= 0 ? Value(*number) : Negate(rt, value);
}

// Python rounds the exact decimal value, ties to even.
double RoundHalfEven(double number, int64_t precision) {
  if (precision > 300 || !std::isfinite(number)) return number;
  if (precision < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    return std::isinf(scale) ? 0.0 : std::nearbyint(number / scale) * scale;
  }
  char buffer[700];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::fixed,
                                 static_cast<int>(precision))
                       .ptr;
  double rounded = number;
  std::from_chars(buffer, end, rounded);
  return rounded;
}

Value Round(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "round", args, {"precision", "method"});
  const int64_t precision = p.Int(0, 0);
  const std::string method = p.String(1, "common");
  if (!value.is_number()) {
    rt->FailIfUndefined(value);
    return rt->Fail(Concat("round() needs a number, got ", TypeName(value)));
  }
  if (method == "common") {
    if (value.is_float()) return Value(RoundHalfEven(value.floating(), precision));
    if (precision >= 0) return Value(*value.IntOrBool());
    return Value(static_cast<int64_t>(RoundHalfEven(value.AsDouble(), precision)));
  }
  if (method != "ceil" && method != "floor") {
    return rt->Fail("method must be common, ceil or floor");
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.AsDouble() * scale;
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value FileSize(Runtime* rt, const Value& value, Args args) {
  const Parameters p(rt, "filesizeformat", args, {"binary"});
  const bool binary = p.Bool(0, false);
  const double base = binary ? 1024 : 1000;
  const auto number = value.is_string()   ? ParseFloat(value.string())
                      : value.is_number() ? std::optional(value.AsDouble())
                                          : std::nullopt;
  if (!number.has_value()) return rt->Fail("filesizeformat() needs a number");
  const double bytes = *number;
  if (bytes == 1) return Value("1 Byte");
  if (bytes < base) return Value(Concat(static_cast<int64_t>(bytes), " Bytes"));
  constexpr std::string_view kUnits[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
  double unit = base;
  size_t i = 0;
  while (i + 1 < std::size(kUnits) && bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.1f ", bytes / unit);
  return Value(Concat(buffer, binary && i == 0 ? "K" : kUnits[i], binary ? "iB" : "B"));
}

}  // namespace

const FilterTable& NumberFilters() {
  static const auto* const filters = new FilterTable{
      {"int", Int}, {"float", Float}, {"abs", Abs}, {"round", Round}, {"filesizeformat", FileSize},
  };
  return *filters;
}

}  // namespace tidal::jinja
