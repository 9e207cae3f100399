// Times grammars: how long a structural tag takes to compile, and what its masks cost a step.
//
//   grammar_bench --model=DIR [--tokens=2000] [--json=FILE]
//
// DIR has a tokenizer.json; the larger its vocabulary, the more there is to do. A text is drawn
// from what the masks allow. Times are of the thread, in microseconds. A grammar is compiled twice:
// with nothing known, and where another one had the same parts.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "nlohmann/json.hpp"
#include "server/grammar/xgrammar_border.h"

ABSL_FLAG(std::string, model, "", "folder with a tokenizer.json");
ABSL_FLAG(int32_t, tokens, 2000, "of each grammar's text");
ABSL_FLAG(std::string, json, "", "file for the results");

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;

struct Case {
  const char* name;
  Json format;
};

Json SchemaFormat(const char* schema) {
  return {{"type", "json_schema"}, {"json_schema", Json::parse(schema)}, {"max_whitespace_cnt", 8}};
}

std::vector<Case> Cases() {
  Json wide = {{"type", "object"}, {"properties", Json::object()}};
  for (int i = 0; i < 300; ++i) {
    wide["properties"]["property_" + std::to_string(i)] = {{"type", "string"}};
  }
  return {
      {"any object", SchemaFormat(R"({"type": "object", "additionalProperties": true})")},
      {"person", SchemaFormat(R"({"type": "object", "required": ["name", "age"], "properties": {
           "name": {"type": "string"}, "age": {"type": "integer"},
           "tags": {"type": "array", "items": {"type": "string"}}}})")},
      {"strings", SchemaFormat(R"({"type": "array", "minItems": 10000, "items": {
           "type": "string"}})")},
      {"bounded strings", SchemaFormat(R"({"type": "array", "minItems": 10000, "items": {
           "type": "string", "maxLength": 100000}})")},
      {"300 properties", {{"type", "json_schema"}, {"json_schema", wide}}},
      {"e-mail addresses",
       {{"type", "regex"}, {"pattern", "([a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\\.[a-zA-Z]{2,4} )*"}}},
      {"thinking, then JSON",
       {{"type", "sequence"},
        {"elements",
         Json::array({Json{{"type", "any_text"}, {"excludes", Json::array({"</think>"})}},
                      Json{{"type", "const_string"}, {"value", "</think>"}},
                      SchemaFormat(R"({"type": "object", "additionalProperties": true})")})}}}};
}

double ThreadMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e6 * static_cast<double>(now.tv_sec) + 1e-3 * static_cast<double>(now.tv_nsec);
}

double Share(std::vector<double>& times, double share) {
  std::sort(times.begin(), times.end());
  return times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))];
}

class Bench {
 public:
  explicit Bench(const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), words_((tokenizer.vocab_size() + 31) / 32) {}

  Json Run(const Case& c) {
    const std::string tag = Json{{"type", "structural_tag"}, {"format", c.format}}.dump();
    auto library = MakeGrammarLibrary(tokenizer_, tokenizer_.vocab_size(), {});
    double begin = ThreadMicroseconds();
    auto structure = library->Compile(tag);
    const double cold = ThreadMicroseconds() - begin;
    if (!structure.ok())
      return {{"name", c.name}, {"error", std::string(structure.status().message())}};
    // The same parts in another whole.
    const Json twin = {{"type", "sequence"},
                       {"elements", {{{"type", "const_string"}, {"value", ":"}}, c.format}}};
    begin = ThreadMicroseconds();
    const bool compiled =
        library->Compile(Json{{"type", "structural_tag"}, {"format", twin}}.dump()).ok();
    const double warm = ThreadMicroseconds() - begin;
    std::vector<double> fills, accepts;
    Walk(**structure, &fills, &accepts);
    return {{"name", c.name},
            {"compile_ms", cold / 1e3},
            {"compile_again_ms", compiled ? warm / 1e3 : -1},
            {"mib", static_cast<double>(library->Bytes(**structure)) / (1 << 20)},
            {"tokens", fills.size()},
            {"fill_p50_us", Share(fills, 0.5)},
            {"fill_p99_us", Share(fills, 0.99)},
            {"fill_max_us", Share(fills, 1)},
            {"accept_p50_us", Share(accepts, 0.5)},
            {"accept_p99_us", Share(accepts, 0.99)}};
  }

 private:
  void Walk(const CompiledStructure& structure, std::vector<double>* fills,
            std::vector<double>* accepts) {
    auto constraint = structure.MakeConstraint(0);
    std::vector<uint32_t> mask(words_);
    std::mt19937 random(1);
    while (static_cast<int32_t>(fills->size()) < absl::GetFlag(FLAGS_tokens)) {
      std::fill(mask.begin(), mask.end(), ~0u);
      const double begin = ThreadMicroseconds();
      constraint->FillMask(absl::MakeSpan(mask));
      const double filled = ThreadMicroseconds();
      auto token = static_cast<TokenId>(random() % tokenizer_.vocab_size());
      while ((mask[token / 32] >> (token % 32) & 1) == 0) {
        token = (token + 1) % tokenizer_.vocab_size();
      }
      const double chosen = ThreadMicroseconds();
      if (!constraint->Accept(token)) break;
      accepts->push_back(ThreadMicroseconds() - chosen);
      fills->push_back(filled - begin);
      if (constraint->complete()) constraint = structure.MakeConstraint(0);
    }
  }

  const Tokenizer& tokenizer_;
  const size_t words_;
};

int Main() {
  const auto tokenizer = Tokenizer::Load(absl::GetFlag(FLAGS_model));
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "grammar_bench: %s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  Json results = Json::array();
  for (const Case& c : Cases()) {
    results.push_back(Bench(**tokenizer).Run(c));
    std::printf("%s\n", results.back().dump().c_str());
  }
  if (!absl::GetFlag(FLAGS_json).empty()) {
    std::ofstream(absl::GetFlag(FLAGS_json))
        << Json{{"vocab", (*tokenizer)->vocab_size()}, {"grammars", results}}.dump(1) << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace tidal

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("times grammars and their masks");
  absl::ParseCommandLine(argc, argv);
  return tidal::Main();
}
