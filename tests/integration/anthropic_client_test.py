"""The official anthropic client against a running server: on a model that says what it is told, and
on the project's own."""

import inspect
import pathlib
import re
import tempfile
import unittest
from typing import Literal

import anthropic
import pydantic

import programs
from scripted_model import TEMPLATE, write_scripted_model

TOOLS = [
    {"name": "get_weather", "description": "The weather of a city.",
     "input_schema": {"type": "object", "properties": {
         "city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}},
    {"name": "now", "description": "The time.", "input_schema": {"type": "object"}}]
MESSAGES = [{"role": "user", "content": "How is the weather?"}]

HERMES_TEMPLATE = TEMPLATE + (
    "{#- <tool_call>\n{\"name\": ..., \"arguments\": ...}\n</tool_call> <think></think> -#}")
SCRIPTS = {
    "answer": "It is sunny in the city of Rome. END and more of it.",
    "think": "<think>\nThe user asks me.\n</think>\n\nHere it comes, all of it.",
    "call": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich \\"A\\"", '
            '"days": 3}}\n</tool_call>',
    "think_and_call": "<think>\nI need a tool for this.\n</think>\n\nOne moment please. "
                      '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern-Wabern"}}'
                      '\n</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
}


def client_of(server, **options):
    return anthropic.Anthropic(base_url=server.url, **{"api_key": "none", "max_retries": 0,
                                                       "timeout": 120, **options})


def parts_of(message):
    """The content without what the server makes up: ids and signatures."""
    parts = []
    for block in message.content:
        if block.type == "thinking":
            assert block.signature, "clients send it back"
            parts.append(("thinking", block.thinking))
        elif block.type == "text":
            parts.append(("text", block.text))
        else:
            assert block.id
            parts.append((block.type, block.name, block.input))
    return parts


class ScriptedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        write_scripted_model(pathlib.Path(cls.folder.name), SCRIPTS, HERMES_TEMPLATE)
        cls.server = programs.Server(f"--model={cls.folder.name}", "--served_model_name=scripted",
                                     "--attention_profile=dense")
        cls.client = client_of(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.server.stop() == 0, cls.server.log()
        cls.folder.cleanup()

    def arguments(self, script, **more):
        body = {"temperature": 0, "chat_template_kwargs": {"script": script},
                **more.pop("extra_body", {})}
        return {"model": "scripted", "max_tokens": 500, "messages": MESSAGES, "tools": TOOLS,
                "extra_body": body, **more}

    def check(self, script, parts, stop_reason, **more):
        """In one piece, streamed, and by the beta's own accumulator: all the same."""
        whole = self.client.messages.create(**self.arguments(script, **more))
        self.assertEqual(parts, parts_of(whole))
        self.assertEqual(stop_reason, whole.stop_reason)
        self.assertEqual(("message", "assistant", "scripted"),
                         (whole.type, whole.role, whole.model))
        self.assertTrue(whole.id.startswith("msg_"))
        for messages in (self.client.messages, self.client.beta.messages):
            with messages.stream(**self.arguments(script, **more)) as stream:
                kinds = [event.type for event in stream]
                final = stream.get_final_message()
            self.assertEqual(parts, parts_of(final))
            self.assertEqual(stop_reason, final.stop_reason)
            self.assertEqual(whole.stop_sequence, final.stop_sequence)
            self.assertEqual(whole.usage.output_tokens, final.usage.output_tokens)
            self.assertEqual("message_start", kinds[0])
            self.assertEqual("message_stop", kinds[-1])
            self.assertEqual(len(parts), kinds.count("content_block_stop"))
        return whole

    def test_text_thoughts_and_calls(self):
        self.check("answer", [("text", SCRIPTS["answer"])], "end_turn")
        self.check("think", [("thinking", "The user asks me."),
                             ("text", "Here it comes, all of it.")], "end_turn")
        weather = ("tool_use", "get_weather", {"city": 'Zürich "A"', "days": 3})
        self.check("call", [weather], "tool_use")
        whole = self.check("think_and_call", [
            ("thinking", "I need a tool for this."), ("text", "One moment please."),
            ("tool_use", "get_weather", {"city": "Bern-Wabern"}), ("tool_use", "now", {})],
            "tool_use")
        self.assertEqual(2, len({block.id for block in whole.content[2:]}))

    def test_raw_events_have_blocks_one_after_the_other(self):
        open_block, kinds = None, []
        for event in self.client.messages.create(**self.arguments("think_and_call"), stream=True):
            if event.type == "content_block_start":
                self.assertIsNone(open_block)
                self.assertEqual(len(kinds), event.index)
                open_block = event.content_block.type
                kinds.append(open_block)
            elif event.type == "content_block_delta":
                self.assertEqual(len(kinds) - 1, event.index)
                self.assertIn(event.delta.type, {
                    "text": ["text_delta"], "thinking": ["thinking_delta", "signature_delta"],
                    "tool_use": ["input_json_delta"]}[open_block])
            elif event.type == "content_block_stop":
                open_block = None
        self.assertEqual(["thinking", "text", "tool_use", "tool_use"], kinds)

    def test_why_it_stopped(self):
        stopped = self.check("answer", [("text", "It is sunny in the city of Rome. ")],
                             "stop_sequence", stop_sequences=["never", "END"])
        self.assertEqual("END", stopped.stop_sequence)
        cut = self.check("answer", [("text", SCRIPTS["answer"][:18])], "max_tokens", max_tokens=2)
        self.assertEqual(2, cut.usage.output_tokens)
        calls = self.client.messages.create(**self.arguments("call", max_tokens=8))
        self.assertEqual("max_tokens", calls.stop_reason)
        self.assertEqual("get_weather", calls.content[0].name)

    def test_thoughts_may_be_left_out(self):
        hidden = {"type": "adaptive", "display": "omitted"}
        self.check("think", [("thinking", ""), ("text", "Here it comes, all of it.")], "end_turn",
                   thinking=hidden)
        details = self.client.messages.create(**self.arguments("think")).usage
        self.assertGreater(details.output_tokens_details.thinking_tokens, 0)

    def test_a_conversation_goes_round(self):
        """A reply is sent back as it came, with the results of its calls."""
        first = self.client.messages.create(**self.arguments("think_and_call"))
        results = [{"type": "tool_result", "tool_use_id": block.id,
                    "content": [{"type": "text", "text": "sunny"}]}
                   for block in first.content if block.type == "tool_use"]
        second = self.client.messages.create(**self.arguments("answer", messages=[
            *MESSAGES, first.to_param(),
            {"role": "user", "content": [*results, {"type": "text", "text": "And?"}]}]))
        self.assertEqual([("text", SCRIPTS["answer"])], parts_of(second))

    def test_tools_that_only_their_vendor_has(self):
        search = {"type": "web_search_20250305", "name": "web_search"}
        raw = self.client.messages.with_raw_response.create(
            **self.arguments("call", tools=[search, *TOOLS]))
        self.assertEqual("tools[0] (web_search_20250305)", raw.headers["x-tidal-left-out"])
        self.assertEqual("tool_use", raw.parse().stop_reason)

    def test_tool_choice_none_leaves_calls_text(self):
        self.check("call", [("text", SCRIPTS["call"])], "end_turn", tool_choice={"type": "none"})

    def test_the_prompt_is_cached_although_its_first_line_changes(self):
        def ask(number):
            system = [{"type": "text", "text": f"x-anthropic-billing-header: cch={number};"},
                      {"type": "text", "text": "You are a helpful agent. " * 40}]
            return self.client.messages.create(**self.arguments("answer", system=system)).usage
        first, second = ask(1), ask(2)
        self.assertEqual(first.input_tokens + first.cache_read_input_tokens,
                         second.input_tokens + second.cache_read_input_tokens)
        self.assertGreater(second.cache_read_input_tokens, 0)

    def test_counting(self):
        plain = {"model": "scripted", "messages": MESSAGES,
                 "extra_body": {"chat_template_kwargs": {"script": "answer"}}}
        few = self.client.messages.count_tokens(**plain).input_tokens
        more = self.client.messages.count_tokens(**plain, system="Be brief. " * 9).input_tokens
        tools = self.client.messages.count_tokens(**plain, tools=TOOLS).input_tokens
        self.assertGreater(more, few + 9)
        self.assertGreater(tools, few)
        beta = self.client.beta.messages.count_tokens(**plain, tools=TOOLS)
        self.assertEqual(tools, beta.input_tokens)
        usage = self.client.messages.create(**self.arguments("answer")).usage
        self.assertEqual(tools, usage.input_tokens + usage.cache_read_input_tokens)

    def test_errors_are_the_clients_own(self):
        cases = [
            (anthropic.BadRequestError, "invalid_request_error", {"max_tokens": 0}),
            (anthropic.BadRequestError, "invalid_request_error", {"stop_sequences": [""]}),
            (anthropic.NotFoundError, "not_found_error", {"model": "another"}),
            (anthropic.BadRequestError, "invalid_request_error", {"messages": [
                {"role": "user", "content": [{"type": "image", "source": {
                    "type": "base64", "media_type": "image/png", "data": "AA=="}}]}]}),
        ]
        for kind, name, more in cases:
            for stream in (False, True):
                with self.subTest(more=more, stream=stream):
                    with self.assertRaises(kind) as caught:
                        self.client.messages.create(**self.arguments("answer", **more),
                                                    stream=stream)
                    body = caught.exception.body
                    self.assertEqual(name, body["error"]["type"])
                    self.assertEqual(caught.exception.request_id, body["request_id"])
                    self.assertIn(list(more)[0], body["error"]["message"])

    def test_a_prompt_that_is_too_long_says_so_in_the_words_agents_know(self):
        long = [{"role": "user", "content": "word " * 9000}]
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.client.messages.create(**self.arguments("answer", messages=long))
        self.assertRegex(caught.exception.body["error"]["message"],
                         r"^prompt is too long: (at least )?\d+ tokens > 4095 maximum$")
        # More than fits beside a prompt is what agents ask for; it is cut to what does.
        self.check("answer", [("text", SCRIPTS["answer"])], "end_turn", max_tokens=32000)


class OwnModelTest(unittest.TestCase):
    def test_keys_and_a_story(self):
        server = programs.Server("--api_key=secret")
        self.addCleanup(server.stop)
        arguments = {"model": programs.MODEL, "max_tokens": 24,
                     "messages": [{"role": "user", "content": "Tell me a story about a fox."}],
                     "extra_body": {"temperature": 0}}
        with self.assertRaises(anthropic.AuthenticationError) as caught:
            client_of(server).messages.create(**arguments)
        self.assertEqual("authentication_error", caught.exception.body["error"]["type"])
        by_header = client_of(server, api_key="secret")
        by_token = client_of(server, api_key=None, auth_token="secret")
        whole = by_header.messages.create(**arguments)
        self.assertEqual(24, whole.usage.output_tokens)
        self.assertEqual("max_tokens", whole.stop_reason)
        with by_token.messages.stream(**arguments) as stream:
            text = "".join(stream.text_stream)
        self.assertEqual(whole.content[0].text, text)
        self.assertGreater(by_token.messages.count_tokens(
            model=programs.MODEL, messages=arguments["messages"]).input_tokens, 5)
        # The answer goes on with what it is said to begin with.
        begun = [*arguments["messages"], {"role": "assistant", "content": "Once upon a"}]
        more = by_header.messages.create(**{**arguments, "messages": begun})
        self.assertTrue(more.content[0].text)
        # A gateway without keys of its own passes them on.
        gateway = programs.GatewayProgram(server.grpc_target)
        self.addCleanup(gateway.stop)
        self.assertEqual(whole.content[0].text, client_of(gateway, api_key="secret").messages.create(
            **arguments).content[0].text)
        with self.assertRaises(anthropic.AuthenticationError):
            client_of(gateway, api_key="wrong").messages.create(**arguments)


CITY_TOOLS = [
    {"name": "get_weather", "input_schema": {
        "type": "object", "properties": {"city": {"enum": ["Rome", "Bern"]},
                                         "days": {"enum": [1, 2]}},
        "required": ["city", "days"], "additionalProperties": False}},
    {"name": "now", "input_schema": {"type": "object", "properties": {},
                                     "additionalProperties": False}}]


class Forecast(pydantic.BaseModel):
    sky: Literal["clear", "cloudy"]
    windy: bool


class ForcedTest(unittest.TestCase):
    """What the model has to say, whatever it would say: by the project's own model."""

    @classmethod
    def setUpClass(cls):
        cls.server = programs.Server("--tool_call_parser=hermes")
        cls.client = client_of(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.server.stop() == 0, cls.server.log()

    def arguments(self, **more):
        return {"model": programs.MODEL, "max_tokens": 1200, "messages": MESSAGES,
                "extra_body": {"temperature": 0}, **more}

    def calls_of(self, **more):
        reply = self.client.messages.create(**self.arguments(tools=CITY_TOOLS, **more))
        with self.client.messages.stream(**self.arguments(tools=CITY_TOOLS, **more)) as stream:
            self.assertEqual(parts_of(reply), parts_of(stream.get_final_message()))
        self.assertEqual({"tool_use"}, {block.type for block in reply.content})
        self.assertEqual("tool_use", reply.stop_reason)
        return [(block.name, block.input) for block in reply.content]

    def test_calls_that_have_to_be_made(self):
        choice = {"disable_parallel_tool_use": True}
        (name, given), = self.calls_of(tool_choice={"type": "tool", "name": "get_weather",
                                                    **choice})
        self.assertEqual("get_weather", name)
        self.assertIn(given["city"], ["Rome", "Bern"])
        self.assertIn(given["days"], [1, 2])
        self.assertEqual([("now", {})],
                         self.calls_of(tool_choice={"type": "tool", "name": "now", **choice}))
        (name, _), = self.calls_of(tool_choice={"type": "any", **choice})
        self.assertIn(name, ["get_weather", "now"])

    def test_an_answer_of_a_schema(self):
        reply = self.client.messages.parse(**self.arguments(output_format=Forecast))
        self.assertIsInstance(reply.parsed_output, Forecast)
        self.assertEqual("end_turn", reply.stop_reason)
        bad = {"format": {"type": "json_schema", "schema": {"type": "object", "not": {}}}}
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.client.messages.create(**self.arguments(output_config=bad))
        self.assertIn("output_config.format.schema", caught.exception.body["error"]["message"])

    def test_a_budget_for_thoughts_of_a_model_that_has_none(self):
        reply = self.client.messages.create(**self.arguments(
            thinking={"type": "enabled", "budget_tokens": 1024}))
        self.assertEqual(["text"], [block.type for block in reply.content])


class DocumentedFieldsTest(unittest.TestCase):
    def test_every_field_of_the_client_is_in_the_table(self):
        """And in no row twice; messages_fields_test.cc tests what the rows say."""
        text = (programs.ROOT / "docs/messages.md").read_text()
        table = text.split("\n## Fields\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| (works|no effect|refused) \| (.*?) \|", table, re.MULTILINE)
        documented = [name for _, names in rows for name in re.findall(r"`(\w+)`", names)]
        self.assertEqual(len(documented), len(set(documented)))
        client = anthropic.Anthropic(api_key="none")
        own = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
        for create in (client.messages.create, client.beta.messages.create,
                       client.messages.count_tokens):
            names = set(inspect.signature(create).parameters) - own
            self.assertGreater(len(names), 9)
            self.assertEqual(set(), names - set(documented))
        fields_test = (programs.ROOT / "tests/server/anthropic/messages_fields_test.cc").read_text()
        words = {"works": "kWorks", "no effect": "kNoEffect", "refused": "kRefused"}
        tested = re.findall(r'^ {4}\{"(\w+)", .*?(kWorks|kNoEffect|kRefused)\},', fields_test,
                            re.MULTILINE | re.DOTALL)
        self.assertEqual(sorted(tested), sorted(
            (name, words[answer]) for answer, names in rows
            for name in re.findall(r"`(\w+)`", names)))


if __name__ == "__main__":
    unittest.main()
