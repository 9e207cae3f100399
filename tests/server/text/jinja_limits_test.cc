// Templates that would take for ever, or all memory, or the stack.
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/parser.h"

namespace tidal::jinja {
namespace {

absl::StatusOr<std::string> RenderSource(const std::string& source, const Limits& limits = {}) {
  const auto block = ParseTemplate(source);
  if (!block.ok()) return block.status();
  return Render(*block, Dict(), limits, std::chrono::system_clock::time_point());
}

std::string Repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

constexpr char kLoops[] =
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";

TEST(JinjaLimitsTest, Steps) {
  EXPECT_TRUE(absl::IsResourceExhausted(RenderSource(kLoops).status()));
  Limits limits;
  limits.steps = 10;
  EXPECT_TRUE(RenderSource("{{ 1 + 2 }}", limits).ok());
  const auto text = RenderSource("{{ 1 }}\n{{ 1 + 2 + 3 + 4 + 5 + 6 }}", limits);
  EXPECT_EQ(std::string(text.status().message()).substr(0, 7), "line 2,") << text.status();
}

TEST(JinjaLimitsTest, Output) {
  Limits limits;
  limits.output_bytes = 8;
  EXPECT_EQ(*RenderSource("12345678", limits), "12345678");
  EXPECT_TRUE(absl::IsResourceExhausted(RenderSource("123456789", limits).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      RenderSource("{% for i in range(9) %}x{% endfor %}", limits).status()));
}

TEST(JinjaLimitsTest, StringsThatGrow) {
  for (const char* source : {
           "{{ 'ab' * 1000000000000 }}",
           "{{ 'ab' * 9000000 * 9000000 }}",
           "{{ [1] * 1000000000 }}",
           "{{ 'x'.ljust(99999999999) }}",
           "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
           "{{ ('x' * 1000000).replace('', 'y' * 1000000) }}",
           "{{ ('\n' * 1000000) | indent(1000, blank=true) }}",
           "{{ 'x' | center(99999999999) }}",
           "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
           "{% endfor %}",
           "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}"
           "{% endfor %}",
           "{% for i in range(100000) %}{% set s = 'x' * 9000000 %}{% endfor %}",
       }) {
    EXPECT_TRUE(absl::IsResourceExhausted(RenderSource(source).status())) << source;
  }
}

// Values that share their parts are exponentially larger as text than in memory.
TEST(JinjaLimitsTest, SharedParts) {
  const std::string build =
      "{% set ns = namespace(l=['x' * 100]) %}{% for i in range(60) %}"
      "{% set ns.l = [ns.l, ns.l] %}{% endfor %}";
  const std::string pairs =
      "{% set ns = namespace(l=(1,)) %}{% for i in range(60) %}"
      "{% set ns.l = (ns.l, ns.l) %}{% endfor %}";
  for (const std::string& source :
       {build + "{{ ns.l }}", build + "{{ ns.l | tojson }}", build + "{{ ns.l | string | length }}",
        build + "{% set m = ns.l %}" + build + "{{ ns.l == m }}",
        build + "{% set m = ns.l %}" + build + "{{ ns.l < m }}"}) {
    EXPECT_TRUE(absl::IsResourceExhausted(RenderSource(source).status())) << source;
  }
  EXPECT_FALSE(RenderSource(pairs + "{{ {ns.l: 1} }}").ok());
}

TEST(JinjaLimitsTest, DeepValues) {
  EXPECT_TRUE(absl::IsResourceExhausted(
      RenderSource("{% set ns = namespace(l=[]) %}{% for i in range(100000) %}"
                   "{% set ns.l = [ns.l] %}{% endfor %}")
          .status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      RenderSource("{% set ns = namespace(l={}) %}{% for i in range(100000) %}"
                   "{% set ns.l = {'x': ns.l} %}{% endfor %}")
          .status()));
}

TEST(JinjaLimitsTest, CyclesAndChainsOfNamespaces) {
  EXPECT_EQ(*RenderSource("{% set a = namespace() %}{% set a.self = a %}{% set a.l = [a, a] %}"
                          "{{ a.self.self.l | length }}{{ a.l == a.l }}"),
            "2True");
  EXPECT_EQ(*RenderSource("{% set n = namespace(next=none) %}{% for i in range(100000) %}"
                          "{% set n.next = namespace(next=n.next) %}{% endfor %}ok"),
            "ok");
  EXPECT_EQ(*RenderSource("{% macro m() %}{% endmacro %}{% set n = namespace(m=m) %}"
                          "{% set l = [m, n] %}ok"),
            "ok");
}

TEST(JinjaLimitsTest, Recursion) {
  EXPECT_TRUE(absl::IsResourceExhausted(
      RenderSource("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      RenderSource("{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}").status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      RenderSource("{% macro m(k) %}{{ m(k - 1) ~ m(k - 1) if k }}{% endmacro %}{{ m(30) }}")
          .status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      RenderSource("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}").status()));
}

TEST(JinjaLimitsTest, DeepSyntax) {
  constexpr int kDeep = 200'000;
  for (const char* part : {"(", "[", "{1:", "-", "not ", "a.", "a[", "a(", "a|b(", "1 if "}) {
    EXPECT_FALSE(RenderSource("{{ " + Repeat(part, kDeep)).ok()) << part;
  }
  for (const char* part :
       {" + 1", " and 1", " or 0", " * 1", " ** 1", " - 1", ".x", "[0]", "|abs", " if 1 else 1"}) {
    EXPECT_FALSE(RenderSource("{{ 1" + Repeat(part, kDeep) + " }}").ok()) << part;
  }
  for (const char* part : {"{% if 1 %}", "{% for x in y %}", "{% macro m() %}", "{% set x %}",
                           "{% filter upper %}", "{% with %}", "{% if 1 %}{% elif 1 %}"}) {
    EXPECT_FALSE(RenderSource(Repeat(part, kDeep / 10)).ok()) << part;
  }
  EXPECT_FALSE(
      RenderSource("{% if 0 %}" + Repeat("{% elif 0 %}", kDeep / 10) + "{% endif %}").ok());
}

TEST(JinjaLimitsTest, LongButFlat) {
  EXPECT_EQ(*RenderSource("{{ " + Repeat("'' ~ ", 20'000) + "'x' }}"), "x");
  EXPECT_EQ(*RenderSource("{{ [" + Repeat("1,", 20'000) + "] | length }}"), "20000");
  EXPECT_EQ(*RenderSource(Repeat("{{ 1 }}", 20'000) + "{# " + Repeat("x", 100'000) + "#}"),
            Repeat("1", 20'000));
}

TEST(JinjaLimitsTest, StrftimeUsesTheTimeGiven) {
  const auto block = ParseTemplate("{{ strftime_now('%Y') }}{{ strftime_now('') }}");
  ASSERT_TRUE(block.ok());
  // The middle of 2001 is in 2001 in every time zone.
  const auto now = std::chrono::system_clock::time_point(std::chrono::seconds(993'945'600));
  EXPECT_EQ(*Render(*block, Dict(), Limits(), now), "2001");
}

}  // namespace
}  // namespace tidal::jinja
