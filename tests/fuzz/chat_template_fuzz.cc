// Any bytes as a chat template, rendered over a fixed conversation.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/text/chat_template.h"
#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/parser.h"

namespace {

using tidal::jinja::Limits;

// Whether the template is cheap: under sanitizers those that reach a server's limits take a minute,
// in which nothing is found.
bool EndsSoon(std::string_view source) {
  const auto block = tidal::jinja::ParseTemplate(source);
  if (!block.ok()) return false;
  Limits limits;
  limits.steps = 200'000;
  limits.produced_bytes = 16 << 20;
  const auto text = Render(*block, tidal::jinja::Dict(), limits, std::chrono::system_clock::now());
  return !absl::IsResourceExhausted(text.status());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto compiled = tidal::ChatTemplate::Compile(source, "<s>", "</s>");
  if (!compiled.ok() || !EndsSoon(source)) return 0;
  tidal::ChatTemplateInput input;
  input.messages = {
      {"system", {"Be kind."}}, {"user", {" Größe?\n", "x"}, "Ann"}, {"assistant", {"5"}}};
  (void)(*compiled)->Render(input);
  input.continue_final_message = true;
  (void)(*compiled)->Render(input);
  return 0;
}
