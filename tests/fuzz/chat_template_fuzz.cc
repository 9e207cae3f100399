// Any bytes as a chat template, rendered over a fixed conversation.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto compiled = tidal::ChatTemplate::Compile(source, "<s>", "</s>");
  if (!compiled.ok()) return 0;
  tidal::ChatTemplateInput input;
  input.messages = {
      {"system", {"Be kind."}}, {"user", {" Größe?\n", "x"}, "Ann"}, {"assistant", {"5"}}};
  (void)(*compiled)->Render(input);
  input.continue_final_message = true;
  (void)(*compiled)->Render(input);
  return 0;
}
