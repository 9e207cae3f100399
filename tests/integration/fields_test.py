"""The fields of OpenAI's and vLLM's APIs over the wire: what they do, and what bad ones are told."""

import json
import unittest

import grpc
import openai

import programs
from inference_proto import inference_pb2, inference_pb2_grpc

CHAT = [{"role": "user", "content": "Tell me a story."}]
CITY = {"type": "object", "properties": {"city": {"enum": ["Bern", "Rome"]}}, "required": ["city"],
        "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}


def setUpModule():
    global server, client
    server = programs.Server("--max_model_len=2048", "--tool_call_parser=hermes",
                             "--reasoning_parser=qwen3")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=120)


def tearDownModule():
    client.close()
    assert server.stop() == 0, server.log()


def complete(prompt="Once upon a time", **fields):
    return client.completions.create(
        model=programs.MODEL, prompt=prompt,
        **{"temperature": 0, "max_tokens": 24, "extra_body": fields})


def chat(extra=None, messages=CHAT, **fields):
    return client.chat.completions.create(
        model=programs.MODEL, messages=messages, extra_body=extra or {},
        **{"temperature": 0, "max_tokens": 64, **fields})


def tokens_of(text):
    status, reply = server.post("/tokenize", {"prompt": text, "add_special_tokens": False})
    assert status == 200, reply
    return reply["tokens"]


class TokenListsTest(unittest.TestCase):
    def test_only_allowed_tokens_come(self):
        allowed = tokens_of(" the little fox")
        for choice in complete(allowed_token_ids=allowed, return_token_ids=True, n=2).choices:
            self.assertEqual(24, len(choice.token_ids))
            self.assertLessEqual(set(choice.token_ids), set(allowed))

    def test_bad_words_do_not_come(self):
        plain = complete().choices[0].text
        word = max(plain.replace(",", " ").replace(".", " ").split(), key=len)
        changed = complete(bad_words=[word]).choices[0].text
        self.assertIn(word, plain)
        self.assertNotIn(" " + word, changed)
        at = plain.index(word)
        self.assertEqual(plain[:at].rstrip(), changed[:at].rstrip(), "nothing else has changed")

    def test_with_min_tokens_and_end_tokens(self):
        allowed = tokens_of(" fox") + [6]  # <|end|>
        reply = complete(allowed_token_ids=allowed, min_tokens=5, return_token_ids=True,
                         logit_bias={"6": 100})
        self.assertEqual(allowed[:1] * 5, reply.choices[0].token_ids[:5])
        self.assertEqual("stop", reply.choices[0].finish_reason)

    def test_a_structure_goes_first(self):
        free = complete(guided_regex="[ab]").choices[0].text
        other = complete(guided_regex="[ab]", bad_words=[free]).choices[0].text
        self.assertEqual({"a", "b"}, {free, other})
        forced = complete(guided_regex="[ab]", allowed_token_ids=tokens_of("\n")).choices[0]
        self.assertEqual(free, forced.text)
        self.assertEqual("stop", forced.finish_reason)

    def test_over_grpc(self):
        allowed = tokens_of(" the little fox")
        request = inference_pb2.GenerateRequest(text="Once upon a time")
        request.sampling.allowed_token_ids.extend(allowed)
        request.sampling.bad_words.append("little fox")
        request.stopping.max_tokens = 24
        request.output.return_token_ids = True
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = inference_pb2_grpc.InferenceStub(channel)
            text, ids = "", []
            for event in stub.Generate(request):
                text += event.delta.text
                ids += event.delta.token_ids
            self.assertEqual(24, len(ids))
            self.assertLessEqual(set(ids), set(allowed))
            self.assertNotIn("little fox", text)
            request.sampling.bad_words.append("")
            with self.assertRaises(grpc.RpcError) as refused:
                list(stub.Generate(request))
        self.assertEqual(grpc.StatusCode.INVALID_ARGUMENT, refused.exception.code())
        self.assertEqual("sampling.bad_words[1]: must have 1 to 256 bytes, got 0",
                         refused.exception.details())


class LogprobTokenIdsTest(unittest.TestCase):
    """Log probabilities of chosen tokens at each position, whatever is likely there."""

    def setUp(self):
        self.ids = tokens_of(", and was little yes")
        self.names = {f"token_id:{i}" for i in self.ids}

    def test_completions(self):
        fields = {"return_tokens_as_token_ids": True, "return_token_ids": True}
        plain = complete(**fields, logprobs=20).choices[0]
        given = complete(**fields, logprobs=0, logprob_token_ids=self.ids).choices[0]
        self.assertEqual(plain.text, given.text)
        self.assertEqual(plain.logprobs.token_logprobs, given.logprobs.token_logprobs)
        compared = 0
        for token, own, likeliest, top in zip(
                given.logprobs.tokens, given.logprobs.token_logprobs, plain.logprobs.top_logprobs,
                given.logprobs.top_logprobs, strict=True):
            self.assertEqual(self.names | {token}, set(top))
            self.assertEqual(own, top[token])
            for name in self.names & set(likeliest):
                self.assertEqual(likeliest[name], top[name], "to the bit")
                compared += 1
        self.assertGreater(compared, 0)

    def test_with_those_of_the_prompt(self):
        logprobs = complete(logprobs=2, echo=True, return_tokens_as_token_ids=True, max_tokens=3,
                            logprob_token_ids=self.ids).choices[0].logprobs
        *prompt, first, second, third = logprobs.top_logprobs
        self.assertIsNone(prompt[0])
        for top in prompt[1:]:
            self.assertIn(len(top), (2, 3), "of the prompt the likeliest")
        for top in (first, second, third):
            self.assertLessEqual(self.names, set(top))

    def test_chats(self):
        fields = {"return_tokens_as_token_ids": True, "logprob_token_ids": self.ids}
        whole = chat(fields, logprobs=True, top_logprobs=1, max_tokens=8).choices[0]
        for entry in whole.logprobs.content:
            self.assertEqual(self.names | {entry.token},
                             {other.token for other in entry.top_logprobs})
            self.assertTrue(entry.token in self.names or
                            entry.token == entry.top_logprobs[0].token)
            values = [other.logprob for other in entry.top_logprobs if other.token in self.names]
            self.assertEqual(sorted(values, reverse=True), values)
        streamed = []
        for chunk in chat(fields, logprobs=True, max_tokens=8, stream=True):
            for choice in chunk.choices:
                streamed += choice.logprobs.content if choice.logprobs else []
        self.assertEqual(whole.logprobs.content, streamed)

    def test_responses(self):
        reply = client.responses.create(
            model=programs.MODEL, input="Tell me a story.", max_output_tokens=8, temperature=0,
            include=["message.output_text.logprobs"],
            extra_body={"logprob_token_ids": self.ids})
        for entry in reply.output[0].content[0].logprobs:
            self.assertEqual(len(self.names), len(entry.top_logprobs))


class StructuresTest(unittest.TestCase):
    def test_several_outputs_each_have_their_own(self):
        reply = chat(n=3, temperature=1, seed=1, response_format={
            "type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}})
        self.assertEqual(3, len(reply.choices))
        for choice in reply.choices:
            self.assertIn(json.loads(choice.message.content)["city"], ["Bern", "Rome"])
            self.assertEqual("stop", choice.finish_reason)

    def test_several_outputs_that_have_to_call(self):
        reply = chat(n=2, temperature=1, seed=1, max_tokens=512, tools=[TOOL], tool_choice="required",
                     parallel_tool_calls=False)
        for choice in reply.choices:
            [call] = choice.message.tool_calls
            self.assertEqual("weather", call.function.name)
            self.assertIn(json.loads(call.function.arguments)["city"], ["Bern", "Rome"])
            self.assertEqual("tool_calls", choice.finish_reason)

    def test_functions(self):
        more = {"functions": [TOOL["function"]], "function_call": {"name": "weather"}}
        choice = chat(**more).choices[0]
        self.assertIsNone(choice.message.tool_calls)
        self.assertEqual("weather", choice.message.function_call.name)
        whole = choice.message.function_call.arguments
        self.assertIn(json.loads(whole)["city"], ["Bern", "Rome"])
        name, arguments = "", ""
        for chunk in chat(stream=True, **more):
            piece = chunk.choices[0].delta.function_call
            if piece is not None:
                name += piece.name or ""
                arguments += piece.arguments or ""
        self.assertEqual(["weather", whole], [name, arguments])
        history = CHAT + [{"role": "assistant", "content": None,
                           "function_call": {"name": "weather", "arguments": whole}},
                          {"role": "function", "name": "weather", "content": "sunny"}]
        self.assertTrue(chat(messages=history, functions=[TOOL["function"]]).choices)


class AcceptedFieldsTest(unittest.TestCase):
    def test_what_has_no_effect(self):
        plain = chat()
        more = chat(metadata={"a": "b"}, store=False, safety_identifier="s", prompt_cache_key="k",
                    service_tier="auto", user="u",
                    extra={"kv_transfer_params": None, "spaces_between_special_tokens": True,
                           "vllm_xargs": {"a": 1}, "session_id": "s", "stream_interval": 3,
                           "prompt_cache_options": {}, "prompt_cache_retention": "24h",
                           "moderation": None})
        self.assertEqual(plain.choices[0].message.content, more.choices[0].message.content)
        self.assertEqual("default", more.service_tier)
        self.assertIsNone(plain.service_tier)

    def test_messages_of_any_role(self):
        reply = chat(messages=[{"role": "ipython", "content": "4"}, {"role": "user"},
                               {"role": "assistant", "content": None, "refusal": "No.",
                                "audio": None},
                               {"role": "user", "content": "Why?"}])
        self.assertTrue(reply.choices[0].message.content)


def deep(levels):
    return '{"items": ' * levels + "{}" + "}" * levels


# The members besides the messages; the field that the error names; what its message has.
BAD_CHATS = [
    ({"allowed_token_ids": []}, "allowed_token_ids", "at least one"),
    ({"allowed_token_ids": [1, 4096]}, "allowed_token_ids[1]", "below 4096, got 4096"),
    ({"allowed_token_ids": [1] * 4097}, "allowed_token_ids", "at most 4096 ids, got 4097"),
    ({"bad_words": [""]}, "bad_words[0]", "1 to 256 bytes, got 0"),
    ({"bad_words": ["x"] * 129}, "bad_words", "at most 128 texts, got 129"),
    ({"logprobs": True, "logprob_token_ids": [1, 4096]}, "logprob_token_ids[1]",
     "below 4096, got 4096"),
    ({"logprobs": True, "logprob_token_ids": [1] * 129}, "logprob_token_ids",
     "at most 128 ids, got 129"),
    ({"logprobs": True, "logprob_token_ids": []}, "logprob_token_ids", "at least one"),
    ({"logprob_token_ids": [1]}, "logprob_token_ids", "absent where no logprobs"),
    ({"logprobs": True, "max_tokens": 0, "logprob_token_ids": [1]}, "logprob_token_ids",
     "no token is generated"),
    ({"kv_transfer_params": {"do_remote_decode": True}}, "kv_transfer_params", "not supported"),
    ({"audio": {"voice": "x", "format": "wav"}}, "audio", "not supported"),
    ({"prediction": {"type": "content", "content": "x"}}, "prediction", "not supported"),
    ({"web_search_options": {"a": 1}}, "web_search_options", "not supported"),
    ({"thinking_token_budget": -1}, "thinking_token_budget", "must be an integer in [0, "),
    ({"tools": [{**TOOL, "function": {"name": '"><'}}]}, "tools[0].function.name",
     "must be 1 to 128 bytes of letters, digits"),
    ({"tools": [{**TOOL, "function": {"name": "f\0"}}]}, "tools[0].function.name", "must be 1 to"),
    ({"tools": [TOOL] * 500}, "tools", "at most 256 tools, got 500"),
    ({"functions": [{"name": '"><'}]}, "functions[0].name", "must be 1 to 128 bytes"),
    ({"functions": [TOOL["function"]], "function_call": {"name": "other"}}, "function_call",
     "the name of one of the tools"),
    ({"tool_choice": "required"}, "tool_choice", "must not be required without tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
     "tool_choice.names[0]", "the name of one of the tools, got other"),
    ({"tools": [TOOL], "tool_choice": {"type": 5}}, "tool_choice", "must be"),
    ({"tools": [{"type": "function", "function": {
        "name": "f", "strict": True, "parameters": {"type": "object", "not": {}}}}]},
     "tools[0].function.parameters", "enforced"),
    ({"tools": [{"type": "function", "function": {
        "name": "f", "strict": True, "parameters": {"type": "nothing"}}}]}, "tools", ""),
    ({"tools": [{"type": "function", "function": {
        "name": "f", "parameters": json.loads(deep(70))}}]}, "tools[0]", "64"),
    ({"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "schema": json.loads(deep(70))}}},
     "response_format.json_schema.schema", "at most 64 levels deep"),
    ({"guided_json": deep(10_000)}, "guided_json", "at most 64 levels deep"),
    ({"guided_json": {"type": "object", "properties": {f"p{i}": {} for i in range(16_000)}}},
     "guided_json", "at most 10000 values"),
    ({"guided_json": {"type": "object", "properties": {f"p{i}": {} for i in range(501)}}},
     "guided_json", "at most 500 properties"),
    ({"guided_json": "{"}, "guided_json", "valid JSON"),
    ({"guided_json": {"type": "string", "maxLength": 100_001}}, "guided_json", "[0, 100000]"),
    ({"guided_json": {"$ref": "http://example.com"}}, "guided_json", "refer to its own parts"),
    ({"guided_json": {"type": "nothing"}}, "guided_json", ""),
    ({"guided_regex": "a{1,100000}"}, "guided_regex", "4096 characters with its repetitions"),
    ({"guided_regex": "((a{100}){100}){100}"}, "guided_regex", "4096 characters"),
    ({"guided_regex": "a\0b"}, "guided_regex", "no NUL"),
    ({"guided_regex": "("}, "guided_regex", ""),
    ({"guided_regex": ""}, "guided_regex", "1 to 16384 bytes"),
    ({"guided_grammar": "not a grammar"}, "guided_grammar", ""),
    ({"guided_choice": ["a", ""]}, "guided_choice[1]", "must not be empty"),
    ({"guided_choice": []}, "guided_choice", "at least one text"),
    ({"guided_choice": ["x"] * 4097}, "guided_choice", "1 to 4096 texts"),
    ({"structured_outputs": {"json": {}, "regex": "a"}}, "structured_outputs", "exactly one"),
    ({"structured_outputs": {"regex": "\0"}}, "structured_outputs.regex", "no NUL"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag",
     "must be an object with"),
    ({"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "strict": True, "schema": {"type": "array", "uniqueItems": True}}}},
     "response_format.json_schema.schema", "at /uniqueItems"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": []}}},
     "response_format.json_schema.schema", "must be a JSON schema"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "json_object"),
    ({"messages": [{"role": "no spaces", "content": "x"}]}, "messages[0].role", "at most 64"),
    ({"messages": [{"role": "x" * 65, "content": "x"}]}, "messages[0].role", "at most 64"),
    ({"messages": [{"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{a"}}]}]},
     "messages[0].tool_calls[0].function.arguments", "must be valid JSON"),
    ({"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": "{a"}}]},
     "messages[0].function_call.arguments", "must be valid JSON"),
]


class BadFieldsTest(unittest.TestCase):
    def check(self, path, body, param, message):
        status, reply = server.post(path, body)
        name = str(body)[:200]
        self.assertEqual(400, status, name)
        error = reply["error"]
        self.assertEqual("invalid_request_error", error["type"], name)
        self.assertEqual(param, error["param"], f"{name}: {error['message']}")
        self.assertIn(message, error["message"], name)
        if param:
            self.assertTrue(error["message"].startswith(param + ": "), error["message"])

    def test_chats(self):
        for members, param, message in BAD_CHATS:
            self.check("/v1/chat/completions", {"messages": CHAT, **members}, param, message)

    def test_completions(self):
        for members, param, message in BAD_CHATS:
            shared = ("allowed_token_ids", "bad_words", "kv_transfer_params", "guided_",
                      "structured_outputs", "response_format")
            if next(iter(members)).startswith(shared):
                self.check("/v1/completions", {"prompt": "x", **members}, param, message)

    def test_a_tools_schema_that_nobody_asks_for_may_be_any(self):
        many = {"type": "object", "properties": {f"p{i}": {} for i in range(16_000)}}
        tool = {"type": "function", "function": {"name": "f", "parameters": many}}
        status, reply = server.post("/v1/chat/completions",
                                    {"messages": CHAT, "tools": [tool], "max_tokens": 1})
        self.assertEqual(200, status, reply)

    def test_bodies(self):
        for path in ("/v1/chat/completions", "/v1/completions"):
            self.check(path, ('{"guided_json": ' + deep(10_000) + "}").encode(), None,
                       "nested at most 80 deep")
            self.check(path, b'{"prompt": "a\0b"}', None, "syntax error at byte")
            self.check(path, b'{"prompt": "ab"}\0', None, "syntax error at byte 17")

    def test_other_models(self):
        for path in ("/v1/chat/completions", "/v1/completions"):
            status, reply = server.post(
                path, {"model": "my-adapter", "messages": CHAT, "prompt": "x"})
            self.assertEqual(404, status)
            self.assertEqual("model_not_found", reply["error"]["code"])

    def test_paths_of_other_servers(self):
        for path in ("/v1/embeddings", "/pooling", "/classify", "/score", "/v1/score", "/rerank",
                     "/v1/rerank", "/v2/rerank"):
            self.check(path, {"model": programs.MODEL, "input": "x"}, None, "generates text")
        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            self.check(path, {"lora_name": "x"}, None, "no adapters")
        with self.assertRaises(openai.BadRequestError):
            client.embeddings.create(model=programs.MODEL, input="x")


if __name__ == "__main__":
    unittest.main()
