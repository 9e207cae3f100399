#include "server/grammar/structure.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace tidal {
namespace {

using Format = StructureFormat;

// Optional arguments of a call in Python's way, where none is required: the formats of which grow
// as their square.
constexpr size_t kMaxFirstKeywords = 16;

Format Const(std::string_view text) {
  return {{"type", "const_string"}, {"value", std::string(text)}};
}

Format Regex(const char* pattern) { return {{"type", "regex"}, {"pattern", pattern}}; }

// Null elements are left out.
Format Sequence(std::vector<Format> elements) {
  std::erase_if(elements, [](const Format& element) { return element.is_null(); });
  if (elements.empty()) return nullptr;
  if (elements.size() == 1) return std::move(elements.front());
  return {{"type", "sequence"}, {"elements", std::move(elements)}};
}

Format OneOf(std::vector<Format> alternatives) {
  if (alternatives.size() == 1) return std::move(alternatives.front());
  return {{"type", "or"}, {"elements", std::move(alternatives)}};
}

Format Optional(Format content) { return {{"type", "optional"}, {"content", std::move(content)}}; }

// Between tags, where the reader takes a line's end at either side of a value for none of it.
Format TaggedSchemaFormat(Format schema, const char* style) {
  Format format = SchemaFormat(std::move(schema), /*max_whitespace=*/1);
  format["style"] = style;
  return format;
}

class StructureBuilder {
 public:
  explicit StructureBuilder(const StructureParts& parts) : parts_(parts) {
    if (parts.calls != nullptr) writing_ = WritingOf(*parts.calls, parts.special);
  }

  std::optional<std::string> Build() const {
    Format body = Body();
    const bool budget = parts_.reasoning != nullptr && parts_.reasoning_budget.has_value();
    if (body.is_null() && !budget) return std::nullopt;
    if (body.is_null()) body = AnyTokens({}, std::nullopt);
    if (parts_.reasoning != nullptr) body = WithReasoning(std::move(body), budget);
    const Format tag = {{"type", "structural_tag"}, {"format", std::move(body)}};
    return tag.dump(-1, ' ', false, Format::error_handler_t::replace);
  }

 private:
  // Null: anything.
  Format Body() const {
    const bool calls = parts_.calls != nullptr && !parts_.tools.empty();
    if (calls && parts_.calls_required) return Block(/*all_strict=*/true);
    if (parts_.answer.has_value()) {
      if (!calls) return *parts_.answer;
      return OneOf({*parts_.answer, Block(/*all_strict=*/false)});
    }
    const bool strict = std::any_of(parts_.tools.begin(), parts_.tools.end(),
                                    [](const CallableTool& tool) { return tool.strict; });
    if (!calls || !(strict || parts_.single_call) || writing_.trigger.empty()) return nullptr;
    return TextWithCalls();
  }

  std::optional<TokenId> SpecialToken(std::string_view marker) const {
    if (!HasMarker(parts_.special, marker)) return std::nullopt;
    return parts_.tokenizer->TokenToId(marker);
  }

  // Text, whose markers that are special tokens are these tokens. Null: empty.
  Format Text(std::string_view text) const {
    std::vector<Format> elements;
    while (!text.empty()) {
      size_t first = text.size(), size = 0;
      std::optional<TokenId> token;
      for (const std::string& marker : parts_.special) {
        const size_t at = text.find(marker);
        if (at > first || (at == first && marker.size() <= size)) continue;
        if (at == std::string_view::npos) continue;
        first = at;
        size = marker.size();
        token = SpecialToken(marker);
      }
      if (first > 0) elements.push_back(Const(text.substr(0, first)));
      if (token.has_value()) elements.push_back({{"type", "token"}, {"token", *token}});
      text.remove_prefix(std::min(text.size(), first + size));
    }
    return Sequence(std::move(elements));
  }

  // Any tokens but those and the stop tokens.
  Format AnyTokens(std::vector<TokenId> excluded, std::optional<int32_t> most) const {
    excluded.insert(excluded.end(), parts_.stop_tokens.begin(), parts_.stop_tokens.end());
    Format format = {{"type", "any_tokens"}, {"exclude_tokens", excluded}};
    if (most.has_value()) format["max_tokens"] = *most;
    return format;
  }

  // What is thought, up to the end marker and with it.
  Format Thoughts(const std::string& end) const {
    if (const std::optional<TokenId> token = SpecialToken(end)) {
      return Sequence({AnyTokens({*token}, parts_.reasoning_budget), Text(end)});
    }
    Format any = {{"type", "any_text"}, {"excludes", Format::array({end})}};
    if (parts_.reasoning_budget.has_value()) any["max_tokens"] = *parts_.reasoning_budget;
    // A model that is made to write what it has a token for is to write that token.
    const std::optional<TokenId> token = parts_.tokenizer->TokenToId(end);
    return Sequence(
        {std::move(any), token ? Format{{"type", "token"}, {"token", *token}} : Const(end)});
  }

  Format Reasoning() const {
    std::vector<Format> alternatives;
    for (const ReasoningMarkers& markers : parts_.reasoning->markers) {
      Format start = Text(markers.start);
      if (parts_.starts_in_reasoning)
        start = nullptr;
      else if (parts_.reasoning->starts_open)
        start = Optional(std::move(start));
      alternatives.push_back(Sequence({std::move(start), Thoughts(markers.end)}));
    }
    return Sequence({OneOf(std::move(alternatives)), Regex("[ \\t\\n]{0,8}")});
  }

  // The answer behind the reasoning, which a model may leave out where nothing has begun it.
  Format WithReasoning(Format answer, bool budget) const {
    if (parts_.starts_in_reasoning || parts_.reasoning->starts_open) {
      return Sequence({Reasoning(), std::move(answer)});
    }
    if (!budget) return Sequence({Optional(Reasoning()), std::move(answer)});
    // Without reasoning none may begin: else what is above the budget would pass for the answer.
    Format alone = WithoutReasoning(answer);
    return OneOf({Sequence({Reasoning(), std::move(answer)}), std::move(alone)});
  }

  // The same answer, in which no start marker is. Answers that are no free text have none.
  Format WithoutReasoning(Format answer) const {
    std::vector<std::string> texts;
    std::vector<TokenId> tokens;
    for (const ReasoningMarkers& markers : parts_.reasoning->markers) {
      texts.push_back(markers.start);
      // Special or not, a model writes what is one token as that.
      if (const auto token = parts_.tokenizer->TokenToId(markers.start)) tokens.push_back(*token);
    }
    if (answer["type"] == "dispatch") {
      answer["excludes"] = texts;
    } else if (answer["type"] == "any_tokens" && tokens.empty() && parts_.calls == nullptr) {
      answer = {{"type", "any_text"}, {"excludes", texts}};
    } else if (answer.contains("exclude_tokens")) {
      for (const TokenId token : tokens) answer["exclude_tokens"].push_back(token);
    }
    return answer;
  }

  Format KeywordsOf(const Format& schema) const;

  Format Arguments(const CallableTool& tool, bool all_strict) const {
    const Format& schema = tool.strict || all_strict ? tool.parameters : AnyObjectSchema();
    switch (writing_.arguments) {
      case ArgumentWriting::kJson:
        return SchemaFormat(schema);
      case ArgumentWriting::kQwenTags:
        return TaggedSchemaFormat(schema, "qwen_xml");
      case ArgumentWriting::kGlmTags:
        return TaggedSchemaFormat(schema, "glm_xml");
      case ArgumentWriting::kPythonKeywords:
        return KeywordsOf(tool.parameters);
    }
    return nullptr;
  }

  // A call of any of the tools, without the first `skipped` bytes.
  Format Call(bool all_strict, size_t skipped) const {
    std::vector<Format> alternatives;
    for (const CallableTool& tool : parts_.tools) {
      std::vector<Format> parts = {Text(std::string_view(writing_.before_name).substr(skipped)),
                                   Const(tool.name)};
      if (writing_.numbered) {
        parts.push_back(Const(":"));
        parts.push_back(Regex("[0-9]{1,3}"));
      }
      parts.push_back(Text(writing_.after_name));
      parts.push_back(Arguments(tool, all_strict));
      parts.push_back(Text(writing_.after_arguments));
      alternatives.push_back(Sequence(std::move(parts)));
    }
    return OneOf(std::move(alternatives));
  }

  Format Calls(bool all_strict) const {
    if (parts_.single_call) return Call(all_strict, 0);
    Format more = Sequence({Text(writing_.between), Call(all_strict, 0)});
    return Sequence({Call(all_strict, 0), Format{{"type", "star"}, {"content", std::move(more)}}});
  }

  Format Block(bool all_strict) const {
    return Sequence({Text(writing_.block_begin), Calls(all_strict), Text(writing_.block_end)});
  }

  // Any text, in which what begins like calls is calls of these tools.
  Format TextWithCalls() const {
    const std::string_view begin = writing_.block_begin;
    const size_t skipped = writing_.trigger.size();
    Format rest =
        begin.empty()
            ? Call(/*all_strict=*/false, skipped)
            : Sequence({Text(begin.substr(skipped)), Calls(false), Text(writing_.block_end)});
    Format format = {{"loop", !parts_.single_call}};
    Format trigger = writing_.trigger;
    if (const std::optional<TokenId> token = SpecialToken(writing_.trigger)) {
      trigger = *token;
      format["type"] = "token_dispatch";
      format["exclude_tokens"] = parts_.stop_tokens;
    } else {
      format["type"] = "dispatch";
    }
    Format rule = Format::array({std::move(trigger), std::move(rest)});
    format["rules"] = Format::array({std::move(rule)});
    return format;
  }

  const StructureParts& parts_;
  CallWriting writing_;
};

// city="Paris", days=3: the required ones first.
Format StructureBuilder::KeywordsOf(const Format& schema) const {
  std::vector<Format> required, optional;
  const auto properties = schema.find("properties");
  if (!schema.is_object() || properties == schema.end()) return nullptr;
  const Format names = schema.value("required", Format::array());
  for (const auto& [name, property] : properties->items()) {
    Format value = property.is_object() ? property : Format::object();
    for (const char* shared : {"$defs", "definitions"}) {
      if (schema.contains(shared)) value[shared] = schema[shared];
    }
    const bool is_required = std::find(names.begin(), names.end(), name) != names.end();
    (is_required ? required : optional)
        .push_back(Sequence({Const(name + "="), SchemaFormat(std::move(value))}));
  }
  const auto after_others = [](const Format& item) {
    return Optional(Sequence({Const(", "), item}));
  };
  std::vector<Format> parts;
  for (Format& item : required) {
    if (!parts.empty()) parts.push_back(Const(", "));
    parts.push_back(std::move(item));
  }
  if (!parts.empty()) {
    for (const Format& item : optional) parts.push_back(after_others(item));
    return Sequence(std::move(parts));
  }
  std::vector<Format> firsts;
  optional.resize(std::min(optional.size(), kMaxFirstKeywords));
  for (size_t first = 0; first < optional.size(); ++first) {
    std::vector<Format> chosen = {optional[first]};
    for (size_t i = first + 1; i < optional.size(); ++i)
      chosen.push_back(after_others(optional[i]));
    firsts.push_back(Sequence(std::move(chosen)));
  }
  return firsts.empty() ? Format(nullptr) : Optional(OneOf(std::move(firsts)));
}

}  // namespace

StructureFormat SchemaFormat(StructureFormat schema, int max_whitespace) {
  return {{"type", "json_schema"},
          {"json_schema", std::move(schema)},
          {"max_whitespace_cnt", max_whitespace}};
}

StructureFormat AnyObjectSchema() { return {{"type", "object"}, {"additionalProperties", true}}; }

std::optional<std::string> StructureOf(const StructureParts& parts) {
  return StructureBuilder(parts).Build();
}

}  // namespace tidal
