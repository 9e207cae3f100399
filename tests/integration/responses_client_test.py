"""The Responses API as the official client uses it: requests, streams, a loop of calls."""

import json
import pathlib
import tempfile
import unittest
from typing import Literal

import openai
import pydantic

import programs
from scripted_model import AGENT_TEMPLATE, write_scripted_model

SCRIPTS = {
    "answer": "It is sunny in the city of Rome.",
    "think": "<think>\nThe user asks me.\n</think>\n\nHere it comes, all of it.",
    "call": "<think>\nI need a tool.\n</think>\n\nOne moment please. "
            '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern-Wabern"}}'
            '\n</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    "patch": '<tool_call>\n{"name": "apply_patch", "arguments": {"input": "*** Begin\\n+a \\"b\\""}}'
             "\n</tool_call>",
    "json": '{"city": "Paris", "sunny": true}',
}
TOOLS = [
    {"type": "function", "name": "get_weather", "description": "The weather of a city.",
     "strict": False, "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                                     "required": ["city"]}},
    {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}},
     "strict": False},
    {"type": "custom", "name": "apply_patch", "description": "Edits files."},
    {"type": "web_search"},
]


class ResponsesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        write_scripted_model(pathlib.Path(cls.folder.name), SCRIPTS, AGENT_TEMPLATE)
        cls.server = programs.Server(f"--model={cls.folder.name}", "--served_model_name=scripted",
                                     "--attention_profile=dense", "--max_model_len=2048")
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()

    def create(self, script=None, **more):
        body = {"chat_template_kwargs": {"script": script}} if script else {}
        return self.client.responses.create(
            extra_body=body,
            **{"model": "scripted", "temperature": 0, "input": "Hello", **more})

    def check(self, script, **more):
        """In one piece, by the client's accumulator, and event by event: all the same."""
        whole = self.create(script, **more)
        body = {"chat_template_kwargs": {"script": script}} if script else {}
        with self.client.responses.stream(model="scripted", temperature=0, extra_body=body,
                                          **{"input": "Hello", **more}) as stream:
            final = stream.get_final_response()
        events = list(self.create(script, stream=True, **more))
        self.assertEqual(list(range(len(events))), [event.sequence_number for event in events])
        self.assertEqual(["response.created", "response.in_progress"],
                         [event.type for event in events[:2]])
        last = events[-1].response
        done = [event.item for event in events if event.type == "response.output_item.done"]
        self.assertEqual([item.to_dict() for item in last.output],
                         [item.to_dict() for item in done])
        self.assertEqual(1, len({event.response.id for event in events
                                 if hasattr(event, "response")}))

        def without_ids(response):
            items = [item.to_dict() for item in response.output]
            for item in items:
                for name in ("id", "call_id", "parsed_arguments"):
                    item.pop(name, None)
                for part in item.get("content", []):
                    part.pop("parsed", None)
            return items

        for other in (final, last):
            self.assertEqual(without_ids(whole), without_ids(other))
            self.assertEqual(whole.status, other.status)
            self.assertEqual((whole.usage.input_tokens, whole.usage.output_tokens),
                             (other.usage.input_tokens, other.usage.output_tokens))
        return whole

    def test_a_string(self):
        response = self.check("think")
        self.assertEqual("Here it comes, all of it.", response.output_text)
        self.assertEqual(["reasoning", "message"], [item.type for item in response.output])
        self.assertEqual("The user asks me.", response.output[0].content[0].text)
        self.assertEqual("completed", response.status)
        self.assertEqual("scripted", response.model)
        self.assertFalse(response.store)
        self.assertGreater(response.usage.output_tokens_details.reasoning_tokens, 0)
        self.assertEqual(response.usage.total_tokens,
                         response.usage.input_tokens + response.usage.output_tokens)

    def test_what_was_asked_for_is_echoed(self):
        response = self.create("answer", instructions="Be kind.", tools=TOOLS, metadata={"a": "b"},
                               tool_choice="auto", top_p=0.5, max_output_tokens=100,
                               reasoning={"effort": "low"}, parallel_tool_calls=True, store=True)
        self.assertEqual("Be kind.", response.instructions)
        self.assertEqual({"a": "b"}, response.metadata)
        self.assertEqual(["function", "function", "custom", "web_search"],
                         [tool.type for tool in response.tools])
        self.assertEqual((0.5, 0, 100), (response.top_p, response.temperature,
                                         response.max_output_tokens))
        self.assertEqual("low", response.reasoning.effort)
        self.assertFalse(response.store)

    def test_a_loop_of_calls(self):
        items = [{"role": "developer", "content": "Use tools."},
                 {"role": "user", "content": [{"type": "input_text", "text": "The weather?"}]}]
        more = {"tools": TOOLS, "instructions": "Be quick."}
        first = self.check(None, input=items, **more)
        self.assertEqual(["reasoning", "message", "function_call", "function_call"],
                         [item.type for item in first.output])
        calls = first.output[2:]
        self.assertEqual([("get_weather", {"city": "Bern-Wabern"}), ("now", {})],
                         [(call.name, json.loads(call.arguments)) for call in calls])
        self.assertEqual(2, len({call.call_id for call in calls}))
        items += [item.to_dict() for item in first.output]
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
                  for call in calls]
        second = self.check(None, input=items, **more)
        self.assertEqual("It is sunny in the city of Rome.", second.output_text)

    def test_a_custom_tool(self):
        response = self.check("patch", tools=TOOLS)
        call, = response.output
        self.assertEqual(("custom_tool_call", "apply_patch", '*** Begin\n+a "b"'),
                         (call.type, call.name, call.input))
        events = list(self.create("patch", tools=TOOLS, stream=True))
        deltas = [event.delta for event in events
                  if event.type == "response.custom_tool_call_input.delta"]
        self.assertEqual(call.input, "".join(deltas))
        answer = self.create(input=[
            {"role": "user", "content": "Edit"}, call.to_dict(),
            {"type": "custom_tool_call_output", "call_id": call.call_id,
             "output": [{"type": "input_text", "text": "Done"}]}])
        self.assertEqual("It is sunny in the city of Rome.", answer.output_text)

    def test_tools_that_the_model_may_not_call(self):
        for more in ({"tool_choice": "none", "tools": TOOLS}, {"tools": [{"type": "web_search"}]}):
            response = self.check("patch", **more)
            self.assertEqual(SCRIPTS["patch"], response.output_text)

    def test_what_is_left_out_is_named(self):
        raw = self.client.responses.with_raw_response.create(
            model="scripted", tools=TOOLS, input=[
                {"role": "user", "content": "Hello"},
                {"type": "web_search_call", "id": "ws_1", "status": "completed",
                 "action": {"type": "search", "query": "x"}}],
            extra_body={"chat_template_kwargs": {"script": "answer"}})
        self.assertEqual("tools[3] (web_search), input[1] (web_search_call)",
                         raw.headers["X-Tidal-Left-Out"])
        self.assertEqual("It is sunny in the city of Rome.", raw.parse().output_text)

    def test_cut_short(self):
        response = self.create("think", max_output_tokens=4)
        self.assertEqual("incomplete", response.status)
        self.assertEqual("max_output_tokens", response.incomplete_details.reason)
        self.assertEqual("incomplete", response.output[-1].status)
        events = list(self.create("think", max_output_tokens=4, stream=True))
        self.assertEqual("response.incomplete", events[-1].type)
        self.assertEqual([item.to_dict() for item in response.output][0]["content"],
                         events[-1].response.output[0].to_dict()["content"])

    def test_logprobs(self):
        more = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
        part = self.check("think", **more).output[1].content[0]
        self.assertEqual(part.text, "".join(token.token for token in part.logprobs).strip())
        self.assertEqual({2}, {len(token.top_logprobs) for token in part.logprobs})
        self.assertEqual([], self.create("think").output[1].content[0].logprobs)

    def test_reasoning_that_is_not_wanted(self):
        response = self.client.responses.create(
            model="scripted", input="Hello", extra_body={
                "chat_template_kwargs": {"script": "think"}, "include_reasoning": False})
        self.assertEqual(["message"], [item.type for item in response.output])
        self.assertGreater(response.usage.output_tokens_details.reasoning_tokens, 0)

    def test_a_call_that_has_to_be_made(self):
        switch = {"type": "function", "name": "switch", "strict": True, "parameters": {
            "type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"],
            "additionalProperties": False}}
        # The model would say something else.
        response = self.client.responses.create(
            model="scripted", temperature=0, input="Hello", tools=[*TOOLS, switch],
            tool_choice={"type": "function", "name": "switch"},
            extra_body={"chat_template_kwargs": {"script": "answer"}, "thinking_token_budget": 0})
        call, = response.output
        self.assertEqual(("function_call", "switch"), (call.type, call.name))
        self.assertIn(json.loads(call.arguments)["on"], (True, False))

    def test_a_type_for_the_answer(self):
        class Weather(pydantic.BaseModel):
            city: str
            sunny: bool

        response = self.client.responses.parse(
            model="scripted", input="Hello", text_format=Weather,
            extra_body={"chat_template_kwargs": {"script": "json"}})
        self.assertEqual(Weather(city="Paris", sunny=True), response.output_parsed)

    def test_refusals(self):
        for more, param in (({"previous_response_id": "resp_1"}, "previous_response_id"),
                            ({"conversation": "conv_1"}, "conversation"),
                            ({"background": True}, "background"),
                            ({"truncation": "auto"}, "truncation"),
                            ({"input": [{"type": "item_reference", "id": "msg_1"}]},
                             "input[0].type"),
                            ({"temperature": 3}, "temperature"),
                            ({"max_output_tokens": 0}, "max_output_tokens")):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.create("answer", **more)
            self.assertEqual(param, caught.exception.param)
        for stream in (False, True):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.create("answer", input="word " * 4000, stream=stream)
            self.assertEqual(("input", "context_length_exceeded"),
                             (caught.exception.param, caught.exception.code))

    def test_nothing_is_stored(self):
        for ask in (lambda: self.client.responses.retrieve("resp_1"),
                    lambda: self.client.responses.delete("resp_1"),
                    lambda: self.client.responses.cancel("resp_1"),
                    lambda: self.client.responses.input_items.list("resp_1")):
            with self.assertRaises(openai.NotFoundError) as caught:
                ask()
            self.assertIn("stores no responses", caught.exception.message)

    def test_requests_are_counted(self):
        self.create("answer")
        _, metrics = self.server.get("/metrics")
        self.assertIn('handler="/v1/responses",code="200"', metrics)


class SmallModelTest(unittest.TestCase):
    """A model that says what it likes."""

    def test_as_a_chat_and_with_a_type(self):
        server = programs.Server()
        self.addCleanup(server.stop)
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        asked = {"model": programs.MODEL, "temperature": 0}
        chat = client.chat.completions.create(
            messages=[{"role": "user", "content": "Hello"}], max_tokens=24, **asked)
        response = client.responses.create(input="Hello", max_output_tokens=24, **asked)
        self.assertEqual(chat.choices[0].message.content, response.output_text)
        self.assertEqual(chat.usage.prompt_tokens, response.usage.input_tokens)
        self.assertEqual(chat.usage.completion_tokens, response.usage.output_tokens)
        with client.responses.stream(input="Hello", max_output_tokens=24, **asked) as stream:
            text = "".join(event.delta for event in stream
                           if event.type == "response.output_text.delta")
        self.assertEqual(response.output_text, text)

        class Answer(pydantic.BaseModel):  # which it would not give by itself
            sunny: bool
            days: Literal[1, 2]

        parsed = client.responses.parse(input="Hello", text_format=Answer, **asked).output_parsed
        self.assertIsInstance(parsed, Answer)
        with client.responses.stream(input="Hello", text_format=Answer, **asked) as stream:
            self.assertEqual(parsed, stream.get_final_response().output_parsed)
        with self.assertRaises(openai.BadRequestError) as caught:
            client.responses.create(input="Hello", text={"format": {
                "type": "json_schema", "name": "n", "strict": True,
                "schema": {"type": "nothing"}}}, **asked)
        self.assertTrue(caught.exception.param.startswith("text.format"), caught.exception)


if __name__ == "__main__":
    unittest.main()
