// Values as text: str(), repr() and json.dumps().
#include <algorithm>
#include <cmath>

#include "server/text/concat.h"
#include "server/text/jinja/operators.h"
#include "server/text/jinja/python_string.h"
#include "server/text/utf8.h"

namespace tidal::jinja {
namespace {

// One value inside another costs a step, and what is too long ends the rendering: shared values can
// be far longer as text than in memory.
bool MayGoOn(Runtime* rt, const std::string& out) {
  rt->Step();
  if (!rt->Fits(static_cast<int64_t>(out.size()))) rt->Exhausted("a text that is too long");
  return !rt->failed();
}

void AppendSequenceRepr(Runtime* rt, const Value& value, std::string* out) {
  const auto& items = value.items();
  out->push_back(value.is_tuple() ? '(' : '[');
  for (size_t i = 0; i < items.size() && MayGoOn(rt, *out); ++i) {
    if (i > 0) out->append(", ");
    AppendRepr(rt, items[i], out);
  }
  if (value.is_tuple() && items.size() == 1) out->push_back(',');
  out->push_back(value.is_tuple() ? ')' : ']');
}

void AppendStreamRepr(Runtime* rt, const Stream& stream, std::string* out) {
  if (stream.once) {
    out->append(Concat("<", stream.type_name, " object>"));
    return;
  }
  out->append(stream.type_name).push_back('(');
  AppendRepr(rt, Value::List(stream.items), out);
  out->push_back(')');
}

void AppendDictRepr(Runtime* rt, const Dict& dict, std::string* out) {
  out->push_back('{');
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!MayGoOn(rt, *out)) break;
    if (!std::exchange(first, false)) out->append(", ");
    AppendRepr(rt, key, out);
    out->append(": ");
    AppendRepr(rt, value, out);
  }
  out->push_back('}');
}

void AppendUnicodeEscape(uint32_t unit, std::string* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  out->append("\\u");
  for (int shift = 12; shift >= 0; shift -= 4) out->push_back(kDigits[(unit >> shift) & 15]);
}

void AppendJsonString(std::string_view text, bool ensure_ascii, std::string* out) {
  constexpr std::string_view kSpecial = "\"\\\b\f\n\r\t", kNames = "\"\\bfnrt";
  out->push_back('"');
  for (const std::string_view c : CodePoints(text)) {
    const char32_t code_point = ReadUtf8(c).code_point;
    if (const size_t i = kSpecial.find(c); i != std::string_view::npos) {
      out->push_back('\\');
      out->push_back(kNames[i]);
    } else if (code_point < 0x20) {
      AppendUnicodeEscape(code_point, out);
    } else if (code_point < 0x7F || !ensure_ascii) {
      out->append(c);
    } else if (code_point == 0x7F) {
      out->append(c);
    } else if (code_point < 0x10000) {
      AppendUnicodeEscape(code_point, out);
    } else {
      AppendUnicodeEscape(0xD800 + ((code_point - 0x10000) >> 10), out);
      AppendUnicodeEscape(0xDC00 + ((code_point - 0x10000) & 0x3FF), out);
    }
  }
  out->push_back('"');
}

class JsonWriter {
 public:
  JsonWriter(Runtime* rt, const JsonStyle& style, std::string* out)
      : rt_(rt), style_(style), out_(out) {}

  void Write(const Value& value, int level) {
    if (!MayGoOn(rt_, *out_)) return;
    if (value.is_string()) {
      AppendJsonString(value.string(), style_.ensure_ascii, out_);
    } else if (value.is_none()) {
      out_->append("null");
    } else if (value.is_bool()) {
      out_->append(value.boolean() ? "true" : "false");
    } else if (value.is_int()) {
      out_->append(std::to_string(value.integer()));
    } else if (value.is_float()) {
      WriteFloat(value.floating());
    } else if (value.is_sequence()) {
      WriteSequence(value.items(), level);
    } else if (value.is_dict()) {
      WriteDict(value.dict(), level);
    } else {
      rt_->Fail(Concat("Object of type ", TypeName(value), " is not JSON serializable"));
    }
  }

 private:
  void WriteFloat(double number) {
    if (std::isnan(number)) {
      out_->append("NaN");
    } else if (std::isinf(number)) {
      out_->append(number < 0 ? "-Infinity" : "Infinity");
    } else {
      out_->append(FormatFloat(number));
    }
  }

  void NewLine(int level) {
    if (!style_.indent.has_value()) return;
    out_->push_back('\n');
    for (int i = 0; i < level; ++i) out_->append(*style_.indent);
  }

  void WriteSequence(const std::vector<Value>& items, int level) {
    out_->push_back('[');
    for (size_t i = 0; i < items.size() && !rt_->failed(); ++i) {
      if (i > 0) out_->append(style_.item_separator);
      NewLine(level + 1);
      Write(items[i], level + 1);
    }
    if (!items.empty()) NewLine(level);
    out_->push_back(']');
  }

  void WriteDict(const Dict& dict, int level) {
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [this](const Dict::Entry* a, const Dict::Entry* b) {
                         return Less(rt_, a->first, b->first);
                       });
    }
    out_->push_back('{');
    for (size_t i = 0; i < entries.size() && !rt_->failed(); ++i) {
      if (i > 0) out_->append(style_.item_separator);
      NewLine(level + 1);
      WriteKey(entries[i]->first);
      out_->append(style_.key_separator);
      Write(entries[i]->second, level + 1);
    }
    if (!entries.empty()) NewLine(level);
    out_->push_back('}');
  }

  void WriteKey(const Value& key) {
    if (key.is_string()) return Write(key, 0);
    if (!key.is_number() && !key.is_none()) {
      rt_->Fail(Concat("keys must be str, int, float, bool or None, not ", TypeName(key)));
      return;
    }
    out_->push_back('"');
    Write(key, 0);
    out_->push_back('"');
  }

  Runtime* rt_;
  const JsonStyle& style_;
  std::string* out_;
};

}  // namespace

void AppendRepr(Runtime* rt, const Value& value, std::string* out) {
  if (!MayGoOn(rt, *out)) return;
  if (value.is_string()) {
    const std::string quoted = QuoteString(value.string());
    out->append(value.is_escaped() ? Concat("Markup(", quoted, ")") : quoted);
  } else if (value.is_undefined()) {
    out->append("Undefined");
  } else if (value.is_none()) {
    out->append("None");
  } else if (value.is_bool()) {
    out->append(value.boolean() ? "True" : "False");
  } else if (value.is_int()) {
    out->append(std::to_string(value.integer()));
  } else if (value.is_float()) {
    out->append(FormatFloat(value.floating()));
  } else if (value.is_sequence()) {
    AppendSequenceRepr(rt, value, out);
  } else if (value.is_stream()) {
    AppendStreamRepr(rt, value.stream(), out);
  } else if (value.is_dict()) {
    AppendDictRepr(rt, value.dict(), out);
  } else if (value.is_function()) {
    out->append(Concat("<function '", value.function()->name, "'>"));
  } else if (value.is_loop()) {
    out->append(Concat("<LoopContext ", static_cast<int64_t>(value.loop().index0) + 1, "/",
                       static_cast<int64_t>(value.loop().items->items.size()), ">"));
  } else {  // what a namespace holds may hold it
    out->append("<Namespace>");
  }
}

void AppendText(Runtime* rt, const Value& value, std::string* out) {
  if (value.is_string()) {
    out->append(value.string());
    MayGoOn(rt, *out);
  } else if (!value.is_undefined()) {
    AppendRepr(rt, value, out);
  }
}

std::string ToText(Runtime* rt, const Value& value) {
  std::string text;
  AppendText(rt, value, &text);
  return text;
}

void AppendJson(Runtime* rt, const Value& value, const JsonStyle& style, std::string* out) {
  JsonWriter(rt, style, out).Write(value, 0);
}

}  // namespace tidal::jinja
