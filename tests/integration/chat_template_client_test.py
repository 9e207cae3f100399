"""Chats with a template that shows what reaches it, by the official openai client."""

import json
import pathlib
import tempfile
import unittest

import grpc
import openai

import programs
from inference_proto import inference_pb2, inference_pb2_grpc

# Writes everything a request can give it; special tokens are left out, so that the text of a
# prompt can be had back from its tokens.
TEMPLATE = """\
{%- if tools %}TOOLS {{ tools | tojson }}
{% endif %}
{%- for d in documents or [] %}DOCUMENT {{ d.title }}: {{ d.text }}
{% endfor %}
{%- for m in messages %}
{%- if m.role == 'tool' and not m.tool_call_id %}{{ raise_exception('which call?') }}{% endif %}
{{- m.role | upper }}{{ ' ' ~ m.name if m.name }}: {{ m.content }}
{%- for call in m.tool_calls or [] %} CALL {{ call.id }} {{ call.function.name }}
{%- for key, value in call.function.arguments | items %} {{ key }}={{ value }}{% endfor %}
{%- endfor %}{{ ' FOR ' ~ m.tool_call_id if m.tool_call_id }}
{% endfor %}
{%- if mood is defined %}MOOD {{ mood }}
{% endif %}
{%- if add_generation_prompt %}ASSISTANT:{% endif %}
"""
USER = {"role": "user", "content": "Hello!"}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Says it",
                                         "parameters": {"type": "object", "properties": {
                                             "place": {"type": "string"}}}}}
CALL = {"id": "c1", "type": "function",
        "function": {"name": "weather", "arguments": '{"place": "Bergen", "days": 2}'}}


def setUpModule():
    global server, client, folder
    folder = tempfile.TemporaryDirectory()
    path = pathlib.Path(folder.name) / "template.jinja"
    path.write_text(TEMPLATE)
    server = programs.Server(f"--chat_template={path}")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0,
                           timeout=120)


def tearDownModule():
    client.close()
    folder.cleanup()
    assert server.stop() == 0, server.log()


def chat(messages, **arguments):
    return client.chat.completions.create(model=programs.MODEL, messages=messages, max_tokens=4,
                                          temperature=0, **arguments)


class PromptTest(unittest.TestCase):
    def assert_prompt(self, wanted, messages, extra_body=None, **arguments):
        """The prompt is `wanted`, as the chat endpoint makes it and as /tokenize shows it."""
        body = {"messages": messages, **arguments, **(extra_body or {})}
        status, reply = server.post("/tokenize", body)
        self.assertEqual(200, status, reply)
        _, text = server.post("/detokenize", {"tokens": reply["tokens"]})
        self.assertEqual(wanted, text["prompt"])
        usage = chat(messages, extra_body=extra_body, **arguments).usage
        self.assertEqual(reply["count"], usage.prompt_tokens)

    def test_tools_calls_and_results(self):
        messages = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c1", "content": "rain"}]
        self.assert_prompt(
            f"TOOLS {json.dumps([TOOL])}\nUSER: Hello!\n"
            "ASSISTANT:  CALL c1 weather place=Bergen days=2\nTOOL: rain FOR c1\nASSISTANT:",
            messages, tools=[TOOL], tool_choice="auto")

    def test_the_same_over_grpc(self):
        chat = inference_pb2.Chat(tools=[json.dumps(TOOL)],
                                  documents=['{"title": "Weather", "text": "rain"}'],
                                  chat_template_kwargs='{"mood": "calm"}')
        chat.messages.add(role="user", content_parts=["one", "two"])
        chat.messages.add(role="assistant", tool_calls=[json.dumps(CALL)])
        chat.messages.add(role="tool", tool_call_id="c1", content="rain")
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = inference_pb2_grpc.InferenceStub(channel)
            tokens = stub.Tokenize(inference_pb2.TokenizeRequest(chat=chat)).token_ids
            text = stub.Detokenize(inference_pb2.DetokenizeRequest(token_ids=tokens)).text
            chat.messages[1].tool_calls[0] = "{}"
            with self.assertRaises(grpc.RpcError) as caught:
                stub.Tokenize(inference_pb2.TokenizeRequest(chat=chat))
        self.assertEqual(f"TOOLS {json.dumps([TOOL])}\nDOCUMENT Weather: rain\nUSER: one\ntwo\n"
                         "ASSISTANT:  CALL c1 weather place=Bergen days=2\nTOOL: rain FOR c1\n"
                         "MOOD calm\nASSISTANT:", text)
        self.assertEqual(grpc.StatusCode.INVALID_ARGUMENT, caught.exception.code())
        self.assertEqual("chat.messages[1].tool_calls[0].function: must be an object, got nothing",
                         caught.exception.details())

    def test_parts_and_names(self):
        parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
        self.assert_prompt("USER Ann: one\ntwo\nASSISTANT:",
                           [{"role": "user", "name": "Ann", "content": parts}])

    def test_documents_and_variables(self):
        self.assert_prompt(
            "DOCUMENT Weather: rain\nUSER: Hello!\nMOOD calm\nASSISTANT:", [USER],
            extra_body={"documents": [{"title": "Weather", "text": "rain"}],
                        "chat_template_kwargs": {"mood": "calm"}})

    def test_a_message_to_go_on_with(self):
        self.assert_prompt("USER: Hello!\nASSISTANT: Once upon",
                           [USER, {"role": "assistant", "content": "Once upon"}],
                           extra_body={"continue_final_message": True,
                                       "add_generation_prompt": False})
        self.assert_prompt("USER: Hello!\n", [USER],
                           extra_body={"add_generation_prompt": False})

    def test_what_the_client_got_can_be_sent_back(self):
        reply = chat([USER]).choices[0].message
        self.assert_prompt(f"USER: Hello!\nASSISTANT: {reply.content}\nUSER: Hello!\nASSISTANT:",
                           [USER, reply.model_dump(), USER])

    def test_a_call_can_be_demanded_though_the_format_of_calls_is_not_known(self):
        day = {"type": "object", "properties": {"day": {"enum": ["today", "tomorrow"]}},
               "required": ["day"], "additionalProperties": False}
        tool = {"type": "function", "function": {"name": "weather", "parameters": day}}
        reply = client.chat.completions.create(
            model=programs.MODEL, messages=[USER], tools=[tool], tool_choice="required",
            parallel_tool_calls=False, max_tokens=100, temperature=0)
        [choice] = reply.choices
        [call] = choice.message.tool_calls
        self.assertEqual(("tool_calls", None), (choice.finish_reason, choice.message.content))
        self.assertEqual("weather", call.function.name)
        self.assertIn(json.loads(call.function.arguments)["day"], ("today", "tomorrow"))

    def test_streams_have_the_same_prompt(self):
        whole = chat([USER], tools=[TOOL])
        chunks = list(chat([USER], tools=[TOOL], stream=True,
                           stream_options={"include_usage": True}))
        self.assertEqual(whole.usage.prompt_tokens, chunks[-1].usage.prompt_tokens)


class ErrorsTest(unittest.TestCase):
    def assert_bad_request(self, param, messages, extra_body=None, **arguments):
        with self.assertRaises(openai.BadRequestError) as caught:
            chat(messages, extra_body=extra_body, **arguments)
        self.assertEqual(param, caught.exception.param)
        self.assertEqual("invalid_request_error", caught.exception.type)
        return caught.exception.message

    def test_parts(self):
        image = {"type": "image_url", "image_url": {"url": "data:,"}}
        message = self.assert_bad_request("messages[0].content[0].type",
                                          [{"role": "user", "content": [image]}])
        self.assertIn('must be "text", got "image_url"', message)

    def test_tools(self):
        self.assert_bad_request("tools[0].type", [USER], tools=[{"type": "retrieval"}])
        self.assert_bad_request("tools[1].function", [USER], tools=[TOOL, {"type": "function"}])
        broken = {**CALL, "function": {"name": "weather", "arguments": '{"place": '}}
        self.assert_bad_request("messages[1].tool_calls[0].function.arguments",
                                [USER, {"role": "assistant", "tool_calls": [broken]}])

    def test_variables(self):
        self.assert_bad_request("chat_template_kwargs", [USER],
                                extra_body={"chat_template_kwargs": "mood"})
        self.assert_bad_request("chat_template_kwargs.messages", [USER],
                                extra_body={"chat_template_kwargs": {"messages": []}})
        self.assert_bad_request("documents[0]", [USER], extra_body={"documents": ["rain"]})
        self.assert_bad_request("chat_template", [USER], extra_body={"chat_template": "{{ 1 }}"})

    def test_continuing(self):
        self.assert_bad_request("add_generation_prompt", [USER],
                                extra_body={"continue_final_message": True,
                                            "add_generation_prompt": True})

    def test_the_template_refuses_in_its_own_words(self):
        message = self.assert_bad_request("messages", [USER, {"role": "tool", "content": "4",
                                                              "tool_call_id": ""}])
        self.assertIn("which call?", message)


class StartTest(unittest.TestCase):
    def test_templates_that_cannot_be_used(self):
        for given, wanted in (("{{ 1 | nope }}", "line 1, column 8: No filter named 'nope'."),
                              ("nowhere.jinja", "chat_template: must be a file or the text")):
            with self.assertRaises(RuntimeError) as caught:
                programs.Server(f"--chat_template={given}")
            self.assertIn(wanted, str(caught.exception))

    def test_a_template_as_text(self):
        started = programs.Server("--chat_template={{ messages[0].content }}!")
        _, reply = started.post("/tokenize", {"messages": [USER]})
        _, text = started.post("/detokenize", {"tokens": reply["tokens"]})
        self.assertEqual("Hello!!", text["prompt"])
        self.assertEqual(0, started.stop())


if __name__ == "__main__":
    unittest.main()
