"""Writes jinja_fixture.json: templates, their variables, and what Jinja2's sandbox makes of them.

    python tests/server/text/make_jinja_fixture.py

The environment is the one transformers renders chat templates in. Each entry is
{"template", "vars", "text"}, or with "error" where rendering must fail: true, or the message of
raise_exception, which is to be the same.
"""

import json
import pathlib

import jinja_reference


CHAT = {
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
    "tools": None, "documents": None,
    "messages": [
        {"role": "system", "content": " Be kind. "},
        {"role": "user", "content": "What is 2 + 2?\n"},
        {"role": "assistant", "content": "<think>easy</think>\n\n4", "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "And 3 + 3?"}, {"type": "image"}]},
    ],
}
TOOLS = dict(CHAT, tools=[
    {"type": "function", "function": {
        "name": "weather", "description": "Says the \"weather\" at <place> & more — now",
        "parameters": {"type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "enum": ["Århus", "東京"]},
            "days": {"type": ["integer", "null"], "default": 1.5}}}}}],
    messages=CHAT["messages"][:2] + [
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "function": {"name": "weather", "arguments": {"place": "東京", "days": 2}}},
            {"function": {"name": "none", "arguments": "{}"}}]},
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        {"role": "tool", "content": "sun"},
        {"role": "assistant", "content": "Take an umbrella."}])
V = {
    "n": 7, "neg": -7, "f": 2.5, "t": True, "none": None, "e": "", "s": "Hello, World",
    "u": "Straße ÅÆØ ǆ Σίσυφος ﬁne İ", "ws": "\t two  words \n", "lines": "a\n\n b\r\nc\n",
    "l": [3, 1, 2], "mixed": ["b", "A", "c", "a", "B"], "nested": [[1, 2], [3], []],
    "d": {"b": 1, "a": {"c": [1, {"x": None}]}, "Z": "z", "get": "shadow"},
    "people": [{"name": "Ann", "age": 31, "city": {"name": "Oslo"}},
               {"name": "bob", "age": 25}, {"name": "Cid", "age": 31, "city": {"name": "Rome"}}],
    "quote": "it's \"so\" \\ \n\t\x07 é \u200b 😀", "html": "<a href='x'>&</a>",
}


def cases():
    def each(variables, *templates):
        for template in templates:
            yield template, variables

    # White space control.
    yield from each(V,
        "a\n{% if t %}\nb\n{% endif %}\nc", "  {% if t %}x{% endif %}  \ny", "a {%- if t -%} b {%- endif -%} c",
        "a\n  {%+ if t %}\n  x\n  {%+ endif %}", "a  {{- n -}}  b", "{% if t +%}\nx{% endif +%}\ny",
        "x\n   {# note #}\n  y", "x {#- a -#} y", "{# a #}\n{# b #}\nz", "  {{ n }}\n", "end\n", "end\n\n",
        "\n\n{{ n }}\n\n", "{% set a = 1 %}\n\n{{ a }}", "   {% set a = 1 %}   {{ a }}", "a\r\nb\r{{ n }}\r\n",
        "{% raw %}{{ x }}{% if %}{% endraw %}!", "a\n  {% raw %}\n  {{x}}\n  {% endraw %}\nb",
        "{%- raw -%}  a  {%- endraw -%}  b", "{{ '}}' }}{{ '%}' }}", "{{ {'a': {'b': 1}}['a']['b'] }}",
        "{% for i in l %}\n  {{ i }}\n{% endfor %}\n.", "{% for i in l -%}\n  {{ i }}\n{%- endfor %}\n.",
        "\u00a0\u2003{%- if t %}x{% endif -%}\u3000 y", "a\n\t {% if t %}\t{% endif %}\nb", "{", "{ {", "a{b}c%}d}}e#}",
        "{%if t%}1{%endif%}", "{{n}}{{n}}", "{{\n  n\n}}", "{% if t\n%}\nx\n{% endif\n%}\n", "{# {{ n }} {% if %} #}x")
    # Literals and operators.
    yield from each(V,
        "{{ 1_000 + 0x1F + 0b11 + 0o17 }}", "{{ 1.5e3 }} {{ 2e-7 }} {{ 1e16 }} {{ 123456789012345.0 }} {{ 0.1 + 0.2 }} {{ 1e15 }}",
        "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}",
        "{{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ 2.0 ** 0.5 }}", "{{ -2 ** 2 }} {{ - n }} {{ +n }} {{ -f }}",
        "{{ 'a' 'b' \"c\" }}", "{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ missing }}", "{{ 'ab' * 3 }} {{ 2 * [1] }} {{ (1, 2) + (3,) }} {{ [1] + [2] }}",
        r"{{ 'tab\tnl\\n quote\' \x41 \u00e9 \U0001F600 \101 \q' }}", "{{ \"it's\" }}", "{{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 1 == 1.0 == true }}",
        "{{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1,) <= (1, 0) }} {{ 'Z' < 'a' }}", "{{ 1 in l }} {{ 9 not in l }} {{ 'ell' in s }} {{ 'b' in d }} {{ 1 in missing }}",
        "{{ not t }} {{ not not n }} {{ t and n }} {{ e or 'x' }} {{ none or 0 or [] }} {{ 0 and missing.x }}",
        "{{ 'y' if t else 'n' }} {{ 'y' if e }}. {{ 1 if 0 else 2 if 0 else 3 }}", "{{ [1, 'a', none, true, 1.5, (1,), (), {'k': [2]}] }}",
        "{{ {} }} {{ [] }} {{ () }} {{ (1) }} {{ (1,) }} {{ 1, 2 }}", "{{ quote }} {{ [quote] }}", "{{ [u, html] }}", "{{ {'a': 1, 'b': 2, 'a': 3} }}",
        "{{ {1: 'int', '1': 'str', 1.0: 'float', true: 'bool', none: 'none', (1, 2): 'tuple'} }}", "{{ true }} {{ True }} {{ none }} {{ None }} {{ false }}",
        "{{ t + t }} {{ true == 1 }} {{ '1' == 1 }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': 1.0} }} {{ missing == other }}",
        "{{ 10 is divisibleby 5 }} {{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 1 ~ (2 + 3) }} {{ 'a' ~ 'b' == 'ab' }}", "{{ 100000 * 100000 }} {{ 5 - 10 }} {{ 1.0 }} {{ -0.0 }} {{ 1e300 * 1e10 }}")
    # Subscripts, slices, attributes.
    yield from each(V,
        "{{ l[0] }} {{ l[-1] }} {{ l[9] }}. {{ l.0 }} {{ nested[0][1] }} {{ nested.0.1 }}", "{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ l[-2:] }} {{ l[2:0:-1] }}",
        "{{ s[0] }} {{ s[-1] }} {{ s[7:] }} {{ s[::-1] }} {{ s[99] }}. {{ u[3:6] }} {{ u[::-1] }}", "{{ d.b }} {{ d['b'] }} {{ d.a.c[1].x }} {{ d.nope }}. {{ d['nope'] }}.",
        "{{ d.get('b') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ d['get'] }} {{ d.items() | list }}", "{{ d.keys() | list }} {{ d.values() | list }} {{ d | list }}",
        "{{ (1, 2, 3)[1:] }} {{ 'abc'.0 }} {{ l[none:2] }} {{ l['0'] }}. {{ d[l[1]] }}.", "{{ missing }}. {{ missing is defined }} {{ d.x is defined }} {{ d.b is defined }}",
        "{{ people[0].city.name }} {{ people[1].city is defined }} {{ people | selectattr('city') | map(attribute='city.name') | list }}", "{{ l[true] }} {{ l[1:2][0] }} {{ ''[0:1] }}.")
    # Statements.
    yield from each(V,
        "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
        "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
        "{% for x in [] %}x{% else %}empty{% endfor %}{% for x in missing %}x{% else %}none{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}",
        "{% for c in 'añ😀' %}[{{ c }}]{% endfor %}", "{% for x in range(10) if x % 2 %}{{ x }}{{ loop.index }} {% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a + b + c }}{% endfor %}",
        "{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}!",
        "{% for x in l %}{{ loop.cycle('odd', 'even') }} {% endfor %}", "{% for x in [1, 1, 2, 2, 1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}",
        "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}", "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }}{{ ns.c is defined }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}", "{% set x %}  a {{ n }}\n{% endset %}[{{ x }}]",
        "{% set x | upper | trim %} abc {% endset %}[{{ x }}]", "{% if e %}1{% elif none %}2{% elif n %}3{% else %}4{% endif %}", "{% if t %}{% set y = 5 %}{% endif %}{{ y }}",
        "{% for i in [1] %}{% set y = 5 %}{% endfor %}{{ y is defined }}", "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(c=9, a=8) }} {{ m() }}",
        "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(x) %}[{{ caller() }}{{ x }}]{% endmacro %}{% call m(1) %}body{% endcall %}",
        "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a + b }}{% endcall %}", "{% macro fact(k) %}{{ 1 if k < 2 else k * (fact(k - 1) | int) }}{% endmacro %}{{ fact(10) }}",
        "{% macro m() %}{{ outer }}{% endmacro %}{% set outer = 3 %}{{ m() }}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "{% filter upper | replace('L', '1') %}hello {{ n }}{% endfilter %}",
        "{% generation %}said{% endgeneration %}!", "{% for x in nested recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
        "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}", "{% macro a() %}{% for x in l %}{{ x }}{% endfor %}{% endmacro %}{{ a() | length }}{{ a() ~ 'x' }}",
        "{% set items = [] %}{% for x in l %}{% set items = items + [x] %}{% endfor %}{{ items }}", "{% set ns = namespace(v=[]) %}{% for x in l %}{% set ns.v = ns.v + [x * 2] %}{% endfor %}{{ ns.v | join(',') }}",
        "{% for m in people | sort(attribute='name') %}{{ m.name }}{% endfor %}", "{% for x in l | reverse %}{{ x }}{% endfor %}", "{% for i in range(3) %}{% set s = s ~ i %}{% endfor %}{{ s }}",
        "{{ range(5) | list }} {{ range(2, 8, 3) | list }} {{ range(3, 0, -1) | list }} {{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }}", "{% macro m(x) %}{% if x %}{% set y = x %}{% endif %}{{ y }}{% endmacro %}{{ m(4) }}{{ m(0) }}.")
    # Filters.
    yield from each(V,
        "{{ ws | trim }}|{{ ws | length }}|{{ 'xxaxx' | trim('x') }}|{{ u | length }}", "{{ u | upper }}|{{ u | lower }}|{{ u | capitalize }}|{{ u | title }}", "{{ 'ΑΣ Σ' | lower }} {{ 'ŉ ß ﬃ ΐ' | upper }} {{ 'ǆ' | capitalize }}",
        "{{ 'hello wORLD-foo (bar) o\\'neil' | title }}", "{{ s | replace('l', 'L') }} {{ s | replace('l', 'L', 1) }} {{ 'aaa' | replace('', '-') }} {{ 5 | replace(5, 6) }}",
        "{{ l | first }} {{ l | last }} {{ [] | first }}. {{ s | first }} {{ s | last }}", "{{ l | join }} {{ l | join(', ') }} {{ people | join('-', attribute='name') }} {{ 'abc' | join('.') }} {{ [1, none, 'a'] | join('|') }}",
        "{{ missing | default('x') }} {{ e | default('x') }} {{ e | default('x', true) }} {{ none | default('y', boolean=true) }} {{ missing | d }}.", "{{ l | sort }} {{ l | sort(reverse=true) }} {{ mixed | sort }} {{ mixed | sort(case_sensitive=true) }}",
        "{{ people | sort(attribute='age,name') | map(attribute='name') | join(' ') }} {{ people | sort(attribute='age', reverse=true) | map(attribute='name') | join(' ') }}", "{{ mixed | unique | list }} {{ mixed | unique(true) | list }} {{ people | unique(attribute='age') | map(attribute='name') | list }}",
        "{{ d | dictsort }} {{ d | dictsort(true) }} {{ {'x': 2, 'y': 1} | dictsort(by='value') }} {{ {'x': 2, 'y': 1} | dictsort(reverse=true) }}", "{{ l | sum }} {{ people | sum(attribute='age') }} {{ l | sum(start=10) }} {{ ([0.1] * 3) | sum }}",
        "{{ l | min }} {{ l | max }} {{ mixed | min }} {{ people | max(attribute='age') }}", "{{ '42' | int }} {{ '42.9' | int }} {{ 'x' | int }} {{ 'x' | int(-1) }} {{ '0x1f' | int(base=16) }} {{ 3.9 | int }} {{ -3.9 | int }} {{ ' 7 ' | int }} {{ '1_0' | int }} {{ true | int }} {{ none | int }}",
        "{{ '1.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ 'inf' | float }} {{ '1e3' | float }} {{ 'nan' | float }} {{ none | float(2.0) }}", "{{ -3 | abs }} {{ -2.5 | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 42 | round }} {{ 1234.5 | round(-2) }} {{ 2.1 | round(method='ceil') }} {{ 2.19 | round(1, 'floor') }}",
        "{{ 5 | string }} {{ [1] | string }} {{ s | safe }} {{ html | e }} {{ s | list }} {{ d | list }} {{ (1, 2) | list }} {{ missing | list }}", "{{ d | items | list }} {{ missing | items | list }} {{ l | reverse | list }} {{ s | reverse }}",
        "{{ l | map('string') | list }} {{ mixed | map('upper') | join }} {{ ['a b', 'c'] | map('replace', ' ', '_') | list }} {{ people | map(attribute='zip', default='?') | list }}", "{{ [1, 0, 2, '', none] | select | list }} {{ [1, 0] | reject | list }} {{ range(6) | select('odd') | list }} {{ range(6) | reject('divisibleby', 3) | list }}",
        "{{ people | selectattr('city') | map(attribute='name') | list }} {{ people | rejectattr('city') | map(attribute='name') | list }} {{ people | selectattr('age', 'gt', 30) | list | length }} {{ people | selectattr('name', 'equalto', 'bob') | list }} {{ people | selectattr('city', 'defined') | list | length }}",
        "{{ people | groupby('age') }} {% for a, g in people | groupby('age') %}{{ a }}:{{ g | map(attribute='name') | join('+') }};{% endfor %}", "{{ range(7) | batch(3) | list }} {{ range(7) | batch(3, 'x') | list }} {{ range(7) | slice(3) | list }} {{ range(7) | slice(3, 'x') | list }}",
        "{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(2, blank=true) }}|{{ 'a\\nb' | indent('> ') }}|{{ '' | indent }}", "{{ 'ab' | center(7) }}|{{ 'ab' | center(8) }}|{{ 'abc' | center(6) }}|", "{{ 'a long text here' | truncate(8) }} {{ 'a long text here' | truncate(8, true) }} {{ 'a long text' | truncate(8) }} {{ 'a long text here' | truncate(8, true, '!', 0) }}",
        "{{ s | wordcount }} {{ 'a b&c' | urlencode }} {{ '%s is %d' | format('x', 3) }} {{ '%(a)s' | format(a=1) }} {{ 1500 | filesizeformat }} {{ 1500 | filesizeformat(true) }} {{ 1 | filesizeformat }}", "{{ l | count }} {{ d | length }} {{ missing | length }} {{ people | attr('x') }}. {{ s | attr('upper') is defined }}",
        "{{ l | first | string | length }} {{ -1 | abs }} {{ l | length > 2 }} {{ n | string ~ 'x' }} {{ s | upper | lower | length + 1 }}", "{{ l | tojson }} {{ d | tojson }} {{ quote | tojson }} {{ html | tojson }} {{ quote | tojson(ensure_ascii=true) }}",
        "{{ d | tojson(indent=2) }}", "{{ [[], {}, [1]] | tojson(indent=4) }} {{ d | tojson(sort_keys=true) }} {{ d | tojson(separators=(',', ':')) }} {{ [1.0, 1e20, true, none, 'é'] | tojson }}", "{{ {1: 2, none: 3, true: 4, 1.5: 6} | tojson }} {{ (1, 2) | tojson }}",
        "{{ none is none }} {{ n is number }} {{ t is number }} {{ f is float }} {{ n is integer }} {{ t is integer }} {{ s is string }} {{ d is mapping }} {{ l is sequence }} {{ d is sequence }} {{ s is sequence }} {{ n is sequence }} {{ l is iterable }} {{ n is iterable }} {{ t is boolean }} {{ t is true }} {{ e is false }}",
        "{{ 3 is odd }} {{ 3 is even }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 1 is in [1] }} {{ 4 is not in [1] }} {{ n is sameas n }} {{ s is callable }} {{ range is callable }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }}",
        "{{ missing is undefined }} {{ n is not defined }} {{ missing is none }} {{ n is defined and n > 3 }} {{ 'x' if missing is defined else 'y' }} {{ l is sequence and l is not string }}")
    yield from each(V,
        "{{ none | select | list }} {{ 0 | map('upper') | list }} {{ false | rejectattr('x') | list }} {{ missing | selectattr('x') | list }}",
        "{{ 'Straße ΣΑΣ'.casefold() }} {{ '%s' % missing }} {{ 'x' % l }}{{ 'x' % missing }}", "{{ [{'k': 'b'}, {'k': 'A'}, {'k': 'a'}] | groupby('k') | list }} {{ mixed | groupby(0) | length }}")
    # Methods.
    yield from each(V,
        "{{ s.upper() }} {{ s.lower() }} {{ u.title() }} {{ 'aB c'.swapcase() }} {{ 'éA'.capitalize() }} {{ \"they're bill's\".title() }}", "[{{ ws.strip() }}] [{{ ws.lstrip() }}] [{{ ws.rstrip() }}] {{ 'xyax'.strip('xy') }} {{ '\\n\\na'.lstrip('\\n') }}",
        "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.split(maxsplit=1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ 'a b  c'.rsplit(none, 1) }} {{ ''.split(',') }} {{ ''.split() }} {{ '</think>x'.split('</think>')[-1] }}",
        "{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ ''.splitlines() }}", "{{ s.startswith('Hell') }} {{ s.endswith(('x', 'ld')) }} {{ s.startswith('W', 7) }} {{ s.startswith('') }} {{ s.endswith('lo', 0, 5) }}",
        "{{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('z') }} {{ s.find('o', 5) }} {{ s.index('W') }} {{ s.count('l') }} {{ u.find('Σ') }} {{ 'aaa'.count('') }}", "{{ s.replace('l', '') }} {{ s.replace('l', 'LL', 2) }} {{ 'abc'.replace('', '.') }}",
        "{{ '-'.join(['a', 'b']) }} {{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }}", "{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ 'ab'.center(5, '*') }} {{ 'abc'.center(6, '*') }}",
        "{{ '12'.isdigit() }} {{ '1a'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'AB'.isupper() }} {{ 'Ab C'.istitle() }} {{ ''.isalpha() }} {{ '½'.isnumeric() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ 'é'.isascii() }}",
        "{{ '{} {}'.format(1, 'a') }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x:>5}|{y:<5}|{z:^5}|'.format(x=1, y='a', z='b') }} {{ '{:.2f} {:05d} {:,} {:x} {:%}'.format(3.14159, 42, 1234567, 255, 0.5) }} {{ '{0[a]} {1.b}'.format({'a': 1}, {'b': 2}) }} {{ '{{}} {!r}'.format('q') }}",
        "{{ '%s %r %d %5.2f %x %%' % ('a', 'b', 3, 2.5, 255) }} {{ '%05d|%-5s|%+d|%5s' % (42, 'a', 3, 'b') }} {{ 'v: %s' % n }} {{ '%(a)s' % {'a': 1} }} {{ '%s' % [1, 2] }} {{ '%s' % (l,) }} {{ '%e %g' % (12345.678, 0.0001) }} {{ '%c' % 'x' }}", "{{ l.index(1) }} {{ l.count(3) }} {{ (1, 2, 1).count(1) }} {{ d.copy() == d }}",
        "{{ s.__class__ is defined }} {{ l.append is defined }} {{ d.pop is defined }} {{ s.nope is defined }}")
    # What filters and methods give that can only be gone through, and only once.
    yield from each(V,
        "{{ 'y' if l | select('gt', 9) else 'n' }} {{ (l | map('string')) and 1 }} {{ {}.keys() and 1 }}{{ d.keys() and 1 }}", "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}", "{% set g = l | map('string') %}{{ g | first }}{{ g | list }}",
        "{{ d.items() }} {{ d.keys() }} {{ d.values() | list }} {{ d.items() | last }} {{ d.values() | first }}", "{{ d.items()[0] }}|{{ d.keys() is sequence }} {{ d.keys() is iterable }} {{ d.keys() | length }}", "{{ l | reverse | list }} {{ (l | reverse) and 2 }} {{ d | reverse | list }}",
        "{{ l | batch(2) is sequence }} {{ l | unique | list }} {{ l | select | join('-') }} {{ 3 in (l | select) }} {{ d | items | list }}", "{% for x in l | select('odd') %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}",
        "{{ l | map('string') | length }}", "{{ l | map('string') | last }}", "{{ d.keys() | tojson }}", "{{ l | map('string') | tojson }}", "{{ (l | map('string'))[0] }}|{{ d.items().x }}|", "{{ (l | map('string')) + [1] }}",
        "{{ people | groupby('age') | list }} {{ people | groupby('age') | map(attribute='grouper') | list }} {% for g in people | groupby('age') %}{{ g.grouper }}{{ g.list | length }}{% endfor %}")
    # Escaped strings.
    yield from each(V,
        "{{ ('<a>' | safe) + '<b>' }} {{ '<b>' + ('<a>' | safe) }} {{ ('<' | e) * 2 }} {{ ('<a>' | safe) ~ '<' }}", "{{ '<' | e | e }} {{ '<' | e | forceescape }} {{ '<' | safe is escaped }} {{ '<' is escaped }} {{ '<' | safe | string is escaped }}",
        "{{ ('<%s>' | safe) % '<' }} {{ ('<%s %r %d>' | safe) % ('<', '<', 3) }} {{ '%s' % ('<' | safe) }} {{ ('<%s>' | safe) | format('<') }}", "{{ ('<{}>' | safe).format('<') }} {{ ('<{0:>3}>' | safe).format('<') }} {{ ('{}' | safe).format('<' | safe) }}",
        "{{ ('a<b' | safe).split('<') }} {{ ('a<b' | safe).replace('a', '<') }} {{ ('a<b' | safe).upper() + '<' }}", "{{ (', ' | safe).join(['<', '>', 1]) }} {{ ['<', '<' | safe] | join('<') }} {{ ', '.join(['<' | safe]) }}",
        "{{ ('<a>' | safe)[0] + '<' }} {{ ('<a>' | safe)[1:] + '<' }} {{ ('<a>' | safe) | upper + '<' }} {{ ('<a> ' | safe) | trim + '<' }} {{ ('<a>' | safe) | title + '<' }}", "{{ [('<a>' | safe)] }} {{ {'<a>' | safe: 1} }} {{ ('<a>' | safe) | tojson }} {{ ('<a>' | safe) == '<a>' }}",
        "{{ ('<a>' | safe) | replace('a', '<') + '<' }} {{ ('<a>\nb' | safe) | indent + '<' }} {{ ('<a>' | safe) | center(9) + '<' }} {{ ('<a>' | safe) | reverse + '<' }} {{ ('<a b c d' | safe) | truncate(6, false, '<', 0) }}", "{{ ('x' | safe).partition('x') }}", "{{ ('x' | safe) + 1 }}",
        "{% set x %}<{{ '<' | safe }}{% endset %}{{ x + '<' }} {% macro m() %}<{% endmacro %}{{ m() + '<' }} {{ m() | safe + '<' }}", "{{ 1 | safe + '<' }} {{ none | e }}")
    # More of the language.
    yield from each(V,
        "{{ cycler('a', 'b').next() }}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}", "{% set j = joiner(' - ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{{ cycler() }}",
        "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.previtem | default('-') }}{{ loop.nextitem | default('-') }}{{ loop.changed(x > 1) }}{% endfor %}", "{% for a in l recursive %}{{ a }}{{ loop.depth }}{{ loop.depth0 }}{% if loop.first and loop.depth < 3 %}({{ loop([7, 8]) }}){% endif %}{% endfor %}",
        "{% macro m(a, b=a) %}{{ a }}{{ b }}{{ caller is defined }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }}{{ m(1, 2, 3, k=4) }}", "{% macro m() %}{{ caller(5, y=6) }}{% endmacro %}{% call(x, y=1) m() %}[{{ x }}{{ y }}]{% endcall %}",
        "{% set ns = namespace(a=1) %}{% set ns.b | upper %}blk{% endset %}{{ ns.a }}{{ ns.b }}{{ ns.c }}|{{ ns['b'] }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, x) = (3, 4) %}{{ c }}{{ x }}{% for i, (y, z) in [(1, (2, 3))] %}{{ i }}{{ y }}{{ z }}{% endfor %}",
        "{% if l %}{% set inner = 1 %}{% endif %}{{ inner }}{% for i in l %}{% set inner = 5 %}{% endfor %}{{ inner }}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}",
        "{% generation %}{{ n }}{% set zz = 1 %}{% endgeneration %}{{ zz is defined }}", "{{ strftime_now('%Y-%m-%d %B %j') }}", "{{ {'a': [1, {}], 'b': []} | tojson(indent='\t') }}", "{{ [1, 2] | tojson(indent=2) }} {{ {'b': 1, 'a': []} | tojson(sort_keys=true, separators=(',', ':')) }} {{ 'é😀' | tojson(ensure_ascii=true) }}",
        "{{ raise_exception('x' ~ n ~ ' <&> é') }}", "{{ raise_exception(none) }}", "{{ raise_exception() }}")
    yield from each(V,
        "{{ d[] }}|{{ d[1,] }}|{{ d[(1, 2)] }}|{{ l[0,] }}|", "{% if false %}{{ 1 | a.b }}{{ 1 is a.b }}{% endif %}ok", "{{ 1 | a.b }}", "{{ 1 is defined(1) }}", "{{ 1 is eq }}", "{{ 1 is eq(1, 2) }}", "{{ 1 is odd(x=1) }}", "{{ 3 is divisibleby 3 }} {{ 3 is lt(4) }} {{ 2 is in [1, 2] }}")
    # Filters and tests that there are not: found at the start, unless they may never be reached.
    yield from each(V,
        "{% if false %}{{ 1 | nope }}{% endif %}ok", "{{ 1 if true else 1 | nope }}", "{% if true %}{% else %}{{ 1 is nope }}{% endif %}ok", "{% for x in [] %}{{ x | nope }}{% endfor %}ok", "{% if false %}{% for x in l %}{{ x | nope }}{% endfor %}{% endif %}ok",
        "{% macro m() %}{{ 1 is nope }}{% endmacro %}ok", "{% if true %}{{ 1 | nope }}{% endif %}ok", "{{ 'nope' is filter }}{{ 'upper' is filter }}{{ 'nope' is test }}{{ 'odd' is test }}", "{% set x = 1 | nope if false else 2 %}{{ x }}", "{% if false and 1 | nope %}{% endif %}ok",
        "{{ l | map('nope') | list }}", "{{ l | select('nope') | list }}")
    # Whole conversations.
    chat = [
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ '[SYS]' + m['content'] | trim + '[/SYS]' }}{% elif m.role == 'user' %}{{ '[U]' ~ (m.content if m.content is string else m.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ')) ~ '[/U]' }}{% else %}{{ m['content'].split('</think>')[-1].lstrip('\n') + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}[A]{% endif %}",
        "{%- if messages[0].role == 'system' %}\n    {%- set system = messages[0].content.strip() %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system = '' %}\n{%- endif %}\n{{- '<<' ~ system ~ '>>\n' }}\n{%- for message in messages %}\n    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}\n        {{- raise_exception('alternate!') }}\n    {%- endif %}\n    {{- message.role ~ ': ' }}\n    {%- if message.content is string %}\n        {{- message.content | trim }}\n    {%- else %}\n        {%- for part in message.content %}\n            {%- if part.type == 'text' %}{{ part.text }}{% else %}{{ '<' ~ part['type'] ~ '>' }}{% endif %}\n        {%- endfor %}\n    {%- endif %}\n    {{- '\n' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- 'assistant: ' }}\n{%- endif %}\n",
        "{% set ns = namespace(last=-1) %}{% for m in messages[::-1] %}{% set index = (messages | length - 1) - loop.index0 %}{% if ns.last < 0 and m.role == 'user' and m.content is string %}{% set ns.last = index %}{% endif %}{% endfor %}{{ ns.last }}",
        "{% macro text(content) %}{% if content is none %}{% elif content is string %}{{ content }}{% else %}{% for c in content %}{{ c.get('text', '[' ~ c.type ~ ']') }}{% endfor %}{% endif %}{% endmacro %}{% for m in messages %}<{{ m.role }}>{{ text(m.content) }}</{{ m.role }}>\n{% endfor %}",
        "{% if tools %}Tools:\n{% for t in tools %}{{ t | tojson }}\n{{ t.function | tojson(indent=4) }}\n{% endfor %}{% endif %}{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}{% if c.function is defined %}{% set c = c.function %}{% endif %}{{ '{\"name\": \"' ~ c.name ~ '\", \"arguments\": ' }}{{ c.arguments if c.arguments is string else c.arguments | tojson }}}\n{% endfor %}{% elif m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<tools>{% endif %}{{ m.content }};{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}</tools>{% endif %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
        "{%- macro schema(props, required) -%}\n{%- for key, value in props | dictsort -%}\n{%- if not loop.first %},{% endif -%}\n{{ key }}:{{ value['type'] | upper if value['type'] is string else value['type'] | map('upper') | list }}{{ '!' if key in required }}\n{%- if value['enum'] %}{{ value['enum'] | tojson }}{% endif -%}\n{%- endfor -%}\n{%- endmacro -%}\n{%- for t in tools or [] %}{{ schema(t.function.parameters.properties, t.function.parameters.required) }}{% endfor %}",
    ]
    for template in chat:
        yield template, CHAT
        yield template, TOOLS
    # What must fail.
    yield from each(V,
        "{{ missing.x }}", "{{ missing + 1 }}", "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ d.nope.x }}", "{{ none.x.y }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{{ l() }}", "{{ missing() }}", "{{ 1 < 'a' }}", "{{ missing < 1 }}",
        "{{ l | nope }}", "{{ l is nope }}", "{% for a, b in [1] %}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{{ l.append(1) }}", "{{ d.update({}) }}", "{{ s.__class__ }}{{ s.__class__.x }}", "{{ range(1000000) }}", "{{ {[]: 1} }}", "{{ [1] | join(1, 2, 3) }}",
        "{{ raise_exception('no') }}", "{% if %}{% endif %}", "{% for x in %}{% endfor %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ 'a }}", "{% endif %}", "{% if t %}", "{% nope %}", "{{ a b }}", "{% break %}", "{% set 1 = 2 %}", "{% set x.y = 1 %}", "{{ x. }}", "{{ [1, }}", "{# open", "{% raw %}x",
        "{{ n[1:] }}", "{{ d[1:] }}", "{{ missing[:1] }}", "{{ people | groupby('zip') }}", "{{ {} in d }}", "{{ 'x' | filesizeformat }}", "{{ 5 | truncate(3) }}", "{{ l[:'a'] }}", "{{ l[::0] }}",
        "{{ 'a' in 5 }}", "{{ 5 in 'a' }}", "{{ -'a' }}", "{{ 'x' * 'y' }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", "{{ '%d' % 'a' }}", "{{ '%s %s' % 'a' }}", "{{ '{}'.format() }}", "{{ [missing] | tojson }}", "{{ 'abc'.index('z') }}", "{{ [1, 'a'] | sort }}", "{{ 5 | length }}", "{{ t ? 1 : 2 }}", "{{ 'a' is 'b' is 'c' }}")


def main():
    env = jinja_reference.environment()
    lines = []
    for template, variables in cases():
        entry = {"template": template, "vars": "V" if variables is V else "CHAT" if variables is CHAT else "TOOLS"}
        try:
            entry["text"] = env.from_string(template).render(**variables)
        except jinja_reference.RaisedByTemplate as error:
            entry["error"] = error.message
        except Exception:  # noqa: BLE001: whatever Jinja or Python raises is a failure to us
            entry["error"] = True
        lines.append(json.dumps(entry, ensure_ascii=True))
    out = pathlib.Path(__file__).with_name("jinja_fixture.json")
    variables = json.dumps({"V": V, "CHAT": CHAT, "TOOLS": TOOLS})
    out.write_text('{"variables": ' + variables + ',\n"cases": [\n' + ",\n".join(lines) + "\n]}\n")
    print(f"{len(lines)} templates, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
