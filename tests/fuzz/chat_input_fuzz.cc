// Any bytes as the body of a chat request, put through templates that look at everything a request
// can give them. What is refused is refused as the client's mistake.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/generation/chat_prompt.h"
#include "server/openai/openai_codec.h"

namespace {

using tidal::ChatTemplate;

constexpr const char* kTemplates[] = {
    // Prints all of it.
    "{% for m in messages %}{{ m.role }}{{ m | tojson }}{{ m }}{% endfor %}{{ tools | tojson }}"
    "{{ documents }}{{ enable_thinking }}{{ add_generation_prompt }}",
    // Takes content in parts, and takes everything apart.
    "{% for m in messages %}{% for part in m.content %}{{ part.text | trim }}{% endfor %}"
    "{% for call in m.tool_calls %}{{ call.id }}{{ call.function.name | upper }}"
    "{% for key, value in call.function.arguments | items %}{{ key }}={{ value | string | e }}"
    "{% endfor %}{% endfor %}{{ m.reasoning_content | default('') }}{% endfor %}"
    "{% for t in tools or [] %}{{ t.function.parameters.properties | dictsort }}{% endfor %}"
    "{% for d in documents or [] %}{{ d.title ~ d.text }}{% endfor %}",
    // Works on the strings.
    "{%- set ns = namespace(last='') -%}{%- for m in messages -%}{%- set ns.last = m.content -%}"
    "{{ m.content.split('</think>')[-1].lstrip('\\n') | replace('a', 'bb') | indent(2) }}"
    "{{ m.content[:3] + m.content[::-1] }}{{ m.content | title | wordcount }}{%- endfor -%}"
    "{{ ns.last | truncate(9) | safe + ns.last }}{{ size * 2 if size is number else size }}"};

std::vector<std::unique_ptr<ChatTemplate>> CompileAll() {
  std::vector<std::unique_ptr<ChatTemplate>> compiled;
  for (const char* source : kTemplates) {
    auto one = ChatTemplate::Compile(source, "<s>", "</s>");
    if (!one.ok()) __builtin_trap();
    compiled.push_back(*std::move(one));
  }
  return compiled;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const templates = new std::vector(CompileAll());
  const auto request = tidal::ParseChatRequest({reinterpret_cast<const char*>(data), size});
  if (!request.ok()) return 0;
  for (const auto& chat_template : *templates) {
    const auto text = tidal::RenderChat(request->calls[0].chat(), chat_template.get(), nullptr);
    if (!text.ok() && !absl::IsInvalidArgument(text.status())) __builtin_trap();
  }
  return 0;
}
