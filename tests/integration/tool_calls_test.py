"""Tool calls and reasoning, as the official client rebuilds them from what a scripted model says."""

import json
import pathlib
import tempfile
import unittest

import openai

import programs
from scripted_model import TEMPLATE, write_scripted_model

TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"},
        "hourly": {"type": "boolean"}}, "required": ["city"]}}}]
MESSAGES = [{"role": "user", "content": "How is the weather?"}]

# As the families write a call; a template that has their markers is how they are found.
HERMES_TEMPLATE = TEMPLATE + (
    "{#- <tool_call>\n{\"name\": ..., \"arguments\": ...}\n</tool_call> <think></think> -#}")
HERMES = {
    "answer": "It is sunny in the city of Rome.",
    "think": "<think>\nThe user asks me.\n</think>\n\nHere it comes, all of it.",
    "call": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich \\"A\\"", '
            '"days": 3}}\n</tool_call>',
    "think_and_call": "<think>\nI need a tool for this.\n</think>\n\nOne moment please. "
                      '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern-Wabern"}}'
                      '\n</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    "broken": "<tool_call>\nThis is no JSON at all</tool_call> and goes on.",
}
CODER = {
    "call": "<tool_call>\n<function=get_weather>\n<parameter=city>\nSan José\n</parameter>\n"
            "<parameter=days>\n12\n</parameter>\n<parameter=hourly>\nTrue\n</parameter>\n"
            "</function>\n</tool_call>",
}
MISTRAL = {
    "call": ["[TOOL_CALLS]", "get_weather", "[ARGS]", '{"city": ', '"Lyon, or ', 'near it"}'],
    "spelled": ["The marker is ", "[TOOL_", "CALLS] and", " no more."],
}


def chunks_of(stream):
    """What the client adds up: content, reasoning, calls and finish reason."""
    content, reasoning, calls, finish = "", "", [], None
    for chunk in stream:
        for choice in chunk.choices:
            delta = choice.delta
            content += delta.content or ""
            reasoning += getattr(delta, "reasoning", None) or ""
            for piece in delta.tool_calls or []:
                if piece.id:
                    assert piece.index == len(calls), "calls follow each other"
                    assert piece.type == "function"
                    calls.append([piece.function.name, ""])
                calls[piece.index][1] += piece.function.arguments or ""
            finish = choice.finish_reason or finish
    return content, reasoning, calls, finish


class ToolCallsTest(unittest.TestCase):
    def start(self, scripts, *arguments, template=TEMPLATE, special=()):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        write_scripted_model(pathlib.Path(folder.name), scripts, template, special)
        server = programs.Server(f"--model={folder.name}", "--served_model_name=scripted",
                                 "--attention_profile=dense", *arguments)
        self.addCleanup(server.stop)
        self.client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        return server

    def ask(self, script, **more):
        return self.client.chat.completions.create(
            model="scripted", messages=MESSAGES, temperature=0,
            extra_body={"chat_template_kwargs": {"script": script}},
            **{"tools": TOOLS, **more})

    def check(self, script, content, reasoning, calls, finish, **more):
        """In one piece, streamed, and by the client's own accumulator: all the same."""
        reply = self.ask(script, **more).choices[0]
        message = reply.message
        self.assertEqual(content, message.content)
        self.assertEqual(reasoning or None, message.reasoning)
        self.assertEqual(reasoning, getattr(message, "reasoning_content", ""))
        found = [(call.function.name, json.loads(call.function.arguments))
                 for call in message.tool_calls or []]
        self.assertEqual(calls, found)
        self.assertEqual(len(calls), len({call.id for call in message.tool_calls or []}))
        self.assertEqual(finish, reply.finish_reason)

        streamed = chunks_of(self.ask(script, stream=True, **more))
        self.assertEqual([content or "", reasoning, finish],
                         [streamed[0], streamed[1], streamed[3]])
        self.assertEqual(calls, [(name, json.loads(text)) for name, text in streamed[2]])

        with self.client.chat.completions.stream(
                model="scripted", messages=MESSAGES, temperature=0,
                extra_body={"chat_template_kwargs": {"script": script}},
                **{"tools": TOOLS, **more}) as stream:
            final = stream.get_final_completion().choices[0]
        self.assertEqual(content or "", final.message.content or "")
        self.assertEqual(calls, [(call.function.name, json.loads(call.function.arguments))
                                 for call in final.message.tool_calls or []])
        self.assertEqual(finish, final.finish_reason)

    def test_hermes_found_by_the_template(self):
        server = self.start(HERMES, template=HERMES_TEMPLATE)
        self.assertIn('"tool_call_parser":"hermes"', server.log())
        self.check("answer", "It is sunny in the city of Rome.", "", [], "stop")
        self.check("think", "Here it comes, all of it.", "The user asks me.", [], "stop")
        weather = ("get_weather", {"city": 'Zürich "A"', "days": 3})
        self.check("call", None, "", [weather], "tool_calls")
        self.check("think_and_call", "One moment please.", "I need a tool for this.",
                   [("get_weather", {"city": "Bern-Wabern"}), ("now", {})], "tool_calls")
        self.check("broken", HERMES["broken"], "", [], "stop")

        usage = self.ask("think").usage
        self.assertGreater(usage.completion_tokens_details.reasoning_tokens, 0)
        self.assertLess(usage.completion_tokens_details.reasoning_tokens, usage.completion_tokens)
        quiet = self.client.chat.completions.create(
            model="scripted", messages=MESSAGES, temperature=0,
            extra_body={"chat_template_kwargs": {"script": "think"}, "include_reasoning": False})
        self.assertEqual("Here it comes, all of it.", quiet.choices[0].message.content)
        self.assertIsNone(getattr(quiet.choices[0].message, "reasoning", None))
        # Not asked for: text.
        for more in ({"tools": openai.omit}, {"tool_choice": "none"}):
            reply = self.ask("call", **more).choices[0]
            self.assertEqual(HERMES["call"], reply.message.content)
            self.assertIsNone(reply.message.tool_calls)
        cut = self.ask("call", max_tokens=8).choices[0]
        self.assertEqual("length", cut.finish_reason)
        self.assertEqual("get_weather", cut.message.tool_calls[0].function.name)

    def test_arguments_as_raw_text(self):
        self.start(CODER, "--tool_call_parser=qwen3_coder")
        self.check("call", None, "",
                   [("get_weather", {"city": "San José", "days": 12, "hourly": True})],
                   "tool_calls")

    def test_markers_that_are_special_tokens(self):
        self.start(MISTRAL, "--tool-call-parser=mistral", special=("[TOOL_CALLS]", "[ARGS]"))
        self.check("call", None, "", [("get_weather", {"city": "Lyon, or near it"})], "tool_calls")
        self.check("spelled", "The marker is [TOOL_CALLS] and no more.", "", [], "stop")

    def test_no_parser(self):
        self.start(HERMES, "--tool_call_parser=none", "--reasoning_parser=none",
                   template=HERMES_TEMPLATE)
        self.check("call", HERMES["call"], "", [], "stop")
        self.check("think", HERMES["think"], "", [], "stop")


if __name__ == "__main__":
    unittest.main()
