#include "server/text/content_format.h"

#include <gtest/gtest.h>

#include "server/text/jinja/parser.h"

namespace tidal {
namespace {

ContentFormat Detect(const char* source) {
  const auto block = jinja::ParseTemplate(source);
  EXPECT_TRUE(block.ok()) << block.status();
  return DetectContentFormat(*block);
}

TEST(ContentFormatTest, Strings) {
  for (const char* source : {
           "",
           "{{ messages[0].content }}",
           "{% for m in messages %}{{ m.content }}{% endfor %}",
           "{% for m in messages %}{% for c in m.tool_calls %}{% endfor %}{% endfor %}",
           "{% for m in others %}{% for c in m.content %}{% endfor %}{% endfor %}",
           "{% for m in messages %}{% for c in m[content] %}{% endfor %}{% endfor %}",
           "{% for a, b in messages %}{% for c in a.content %}{% endfor %}{% endfor %}",
           "{% for c in messages[0].content %}{% endfor %}",
       }) {
    EXPECT_EQ(Detect(source), ContentFormat::kString) << source;
  }
}

TEST(ContentFormatTest, Parts) {
  for (const char* source : {
           "{% for m in messages %}{% for c in m.content %}{% endfor %}{% endfor %}",
           "{% for m in messages %}{% for c in m['content'] %}{% endfor %}{% endfor %}",
           "{% for m in messages[1:] | list %}{% if 1 %}{% else %}{% for c in m.content | list %}"
           "{% endfor %}{% endif %}{% endfor %}",
           "{% set rest = messages[1:] %}{% set all = rest %}{% set all = all %}"
           "{% for m in all %}{% for c in m.content %}{% endfor %}{% endfor %}",
           // What a name was set to is not followed through the flow of a template.
           "{% macro x(m) %}{% for c in m.content %}{% endfor %}{% endmacro %}"
           "{% for m in messages %}{{ x(m) }}{% endfor %}",
       }) {
    EXPECT_EQ(Detect(source), ContentFormat::kParts) << source;
  }
}

}  // namespace
}  // namespace tidal
