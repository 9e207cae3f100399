"""The official openai client against a running server."""

import json
import unittest

import openai

import programs

PROMPT = "Once upon a time"
CHAT = [{"role": "user", "content": "Tell me a story about a brave little fox."}]
FULL = {"attention": {"mode": "full"}}


def setUpModule():
    global server, client
    server = programs.Server()
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0,
                           timeout=120)


def tearDownModule():
    client.close()
    assert server.stop() == 0, server.log()


def complete(prompt=PROMPT, **arguments):
    arguments = {"model": programs.MODEL, "temperature": 0, "max_tokens": 24, **arguments}
    return client.completions.create(prompt=prompt, **arguments)


def chat(messages=None, **arguments):
    arguments = {"model": programs.MODEL, "temperature": 0, "max_tokens": 24, **arguments}
    return client.chat.completions.create(messages=messages or CHAT, **arguments)


class CompletionsTest(unittest.TestCase):
    def test_greedy_output_is_the_reference(self):
        cases = json.loads((programs.ROOT / "tests/golden/golden.json").read_text())
        case = next(case for case in cases if case["name"] == "story_start")
        length = 24
        self.assertGreater(min(case["greedy_margin"][:length]), 0.02, "a near tie proves nothing")
        reply = complete(case["prompt"], extra_body={**FULL, "return_token_ids": True,
                                                     "ignore_eos": True})
        self.assertEqual(case["greedy_ids"][:length], reply.choices[0].token_ids)
        self.assertEqual(case["ids"], reply.choices[0].prompt_token_ids)
        self.assertEqual(len(case["ids"]), reply.usage.prompt_tokens)
        self.assertEqual(length, reply.usage.completion_tokens)
        self.assertEqual("length", reply.choices[0].finish_reason)
        self.assertTrue(reply.id.startswith("cmpl-"))
        self.assertEqual("text_completion", reply.object)
        self.assertEqual(programs.MODEL, reply.model)

    def test_a_stream_is_the_reply_in_pieces(self):
        whole = complete()
        chunks = list(complete(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(whole.choices[0].text,
                         "".join(c.choices[0].text for c in chunks if c.choices))
        self.assertGreater(len(chunks), 5, "must be streamed token by token")
        self.assertEqual([], chunks[-1].choices)
        self.assertEqual(whole.usage.completion_tokens, chunks[-1].usage.completion_tokens)
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))
        self.assertEqual("length", chunks[-2].choices[0].finish_reason)
        self.assertEqual(1, len({c.id for c in chunks}))

    def test_no_usage_unless_asked_for(self):
        for options in (openai.NOT_GIVEN, {"continuous_usage_stats": True}):
            chunks = list(complete(stream=True, stream_options=options))
            self.assertTrue(all(c.usage is None and c.choices for c in chunks))

    def test_usage_in_every_chunk(self):
        options = {"include_usage": True, "continuous_usage_stats": True}
        counts = [c.usage.completion_tokens for c in complete(stream=True, stream_options=options)]
        self.assertEqual(sorted(counts), counts)
        self.assertEqual([24, 24], counts[-2:], "the last token's and the closing one")

    def test_the_last_tokens_chunk_has_the_finish_reason(self):
        for _ in range(20):
            chunks = [c.choices[0] for c in complete(stream=True, max_tokens=5)]
            self.assertEqual(["length"], [c.finish_reason for c in chunks if c.finish_reason])
            self.assertEqual("length", chunks[-1].finish_reason)
            self.assertNotEqual("", chunks[-1].text)
        chunks = [c.choices[0] for c in chat(stream=True)]
        self.assertEqual("length", chunks[-1].finish_reason)
        self.assertNotEqual("", chunks[-1].delta.content)
        self.assertTrue(all(c.finish_reason is None for c in chunks[:-1]))

    def test_stop_strings(self):
        whole = complete(max_tokens=64).choices[0].text
        stop = whole[20:26]
        for streamed in (False, True):
            reply = complete(max_tokens=64, stop=["never to be found", stop], stream=streamed)
            choices = [c.choices[0] for c in reply] if streamed else reply.choices
            self.assertEqual(whole[:whole.index(stop)], "".join(c.text for c in choices))
            self.assertEqual("stop", choices[-1].finish_reason)
            self.assertEqual(stop, choices[-1].stop_reason)
        kept = complete(max_tokens=64, stop=stop,
                        extra_body={"include_stop_str_in_output": True})
        self.assertEqual(whole[:whole.index(stop) + len(stop)], kept.choices[0].text)

    def test_several_outputs_and_seeds(self):
        def sample(seed):
            reply = complete(temperature=1, n=2, seed=seed)
            self.assertEqual([0, 1], [c.index for c in reply.choices])
            return [c.text for c in reply.choices]

        one = sample(1)
        self.assertNotEqual(one[0], one[1])
        self.assertEqual(one, sample(1))
        self.assertNotEqual(one, sample(2))

    def test_several_prompts(self):
        prompts = [PROMPT, "The cat", "One day, Lily"]
        together = complete(prompts, n=2, seed=3)
        self.assertEqual(list(range(6)), [c.index for c in together.choices])
        for i, prompt in enumerate(prompts):
            self.assertEqual(complete(prompt).choices[0].text, together.choices[2 * i].text)

    def test_logprobs(self):
        reply = complete(logprobs=3, max_tokens=8)
        logprobs = reply.choices[0].logprobs
        self.assertEqual(8, len(logprobs.tokens))
        self.assertEqual(reply.choices[0].text, "".join(logprobs.tokens))
        for i, token in enumerate(logprobs.tokens):
            self.assertEqual(logprobs.token_logprobs[i], logprobs.top_logprobs[i][token])
            self.assertEqual(logprobs.token_logprobs[i], max(logprobs.top_logprobs[i].values()),
                             "greedy takes the best")
            self.assertEqual(sum(map(len, logprobs.tokens[:i])), logprobs.text_offset[i])
            self.assertLessEqual(logprobs.token_logprobs[i], 0)
        streamed = list(complete(logprobs=3, max_tokens=8, stream=True))
        self.assertEqual(logprobs.tokens, [token for c in streamed if c.choices[0].logprobs
                                           for token in c.choices[0].logprobs.tokens])

    def test_prompts_as_token_ids(self):
        ids = server.post("/tokenize", {"prompt": PROMPT})[1]["tokens"]
        self.assertEqual(complete().choices[0].text, complete(ids).choices[0].text)
        text = server.post("/detokenize", {"tokens": ids[1:]})[1]["prompt"]
        self.assertEqual(PROMPT, text)
        two = complete([ids, ids[:3]])
        self.assertEqual(complete().choices[0].text, two.choices[0].text)

    def test_echo_and_defaults(self):
        reply = client.completions.create(model=programs.MODEL, prompt=PROMPT, echo=True,
                                          temperature=0)
        self.assertTrue(reply.choices[0].text.startswith(PROMPT))
        self.assertLessEqual(reply.usage.completion_tokens, 16, "OpenAI's default")

    def test_logit_bias(self):
        token = server.post("/tokenize", {"prompt": " cat"})[1]["tokens"][-1]
        reply = complete(logit_bias={str(token): 100}, max_tokens=5,
                         extra_body={"return_token_ids": True})
        self.assertEqual([token] * 5, reply.choices[0].token_ids)

    def test_attention(self):
        prompt = "The quick brown fox jumps over the lazy dog. " * 60
        tidal = complete(prompt, extra_body={"attention": {"mode": "tidal", "budget": 64},
                                             "ignore_eos": True})
        self.assertEqual("tidal", tidal.usage.attention["mode"])
        self.assertEqual(64, tidal.usage.attention["budget"])
        self.assertGreater(tidal.usage.attention["sparse_steps"], 0)
        full = complete(prompt, extra_body=FULL)
        self.assertEqual("full", full.usage.attention["mode"])
        self.assertEqual(0, full.usage.attention["sparse_steps"])
        again = complete(prompt, extra_body=FULL)
        self.assertGreater(again.usage.prompt_tokens_details.cached_tokens, 0)


class ChatTest(unittest.TestCase):
    def test_a_reply_and_its_stream(self):
        whole = chat()
        self.assertEqual("assistant", whole.choices[0].message.role)
        self.assertTrue(whole.choices[0].message.content.strip())
        self.assertTrue(whole.id.startswith("chatcmpl-"))
        chunks = list(chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual("assistant", chunks[0].choices[0].delta.role)
        self.assertEqual(whole.choices[0].message.content,
                         "".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
        self.assertEqual(whole.usage.prompt_tokens, chunks[-1].usage.prompt_tokens)

    def test_the_model_ends_its_turn(self):
        reply = chat([{"role": "user", "content": "Hello!"}], max_tokens=200)
        self.assertEqual("stop", reply.choices[0].finish_reason)
        self.assertNotIn("<|end|>", reply.choices[0].message.content)

    def test_turns_and_text_parts(self):
        parts = [{"type": "text", "text": "Hello!"}]
        plain = chat([{"role": "user", "content": "Hello!"}])
        self.assertEqual(plain.choices[0].message.content,
                         chat([{"role": "user", "content": parts}]).choices[0].message.content)
        turns = [{"role": "system", "content": "You are kind."}, *CHAT,
                 {"role": "assistant", "content": "Once there was a fox."},
                 {"role": "user", "content": "Go on."}]
        self.assertGreater(chat(turns).usage.prompt_tokens, chat().usage.prompt_tokens)

    def test_logprobs(self):
        reply = chat(logprobs=True, top_logprobs=2, max_tokens=6)
        content = reply.choices[0].logprobs.content
        self.assertEqual(6, len(content))
        text = b"".join(bytes(token.bytes) for token in content).decode()
        self.assertEqual(reply.choices[0].message.content, text)
        self.assertTrue(all(len(token.top_logprobs) == 2 for token in content))

    def test_limits_and_outputs(self):
        reply = client.chat.completions.create(model=programs.MODEL, messages=CHAT, n=2, seed=5,
                                               max_completion_tokens=7, temperature=0.8)
        self.assertEqual(2, len(reply.choices))
        self.assertLessEqual(reply.usage.completion_tokens, 14)


class ErrorsTest(unittest.TestCase):
    def assert_bad_request(self, param, call, *arguments, **named):
        with self.assertRaises(openai.BadRequestError) as caught:
            call(*arguments, **named)
        self.assertEqual(param, caught.exception.param)
        self.assertEqual("invalid_request_error", caught.exception.type)
        self.assertIn(param.split("[")[0], str(caught.exception))

    def test_values_out_of_range(self):
        self.assert_bad_request("temperature", complete, temperature=3)
        self.assert_bad_request("temperature", complete, temperature=-1, stream=True)
        self.assert_bad_request("top_p", chat, top_p=0)
        self.assert_bad_request("presence_penalty", chat, presence_penalty=9)
        self.assert_bad_request("max_tokens", complete, max_tokens=10**9)
        self.assert_bad_request("max_completion_tokens", client.chat.completions.create,
                                model=programs.MODEL, messages=CHAT,
                                max_completion_tokens=10**9)
        self.assert_bad_request("logprobs", complete, logprobs=21)
        self.assert_bad_request("top_logprobs", chat, logprobs=True, top_logprobs=21)
        self.assert_bad_request("stop[0]", complete, stop=[""])
        self.assert_bad_request("top_k", complete, extra_body={"top_k": -5})
        self.assert_bad_request("n", complete, n=100000)

    def test_max_tokens_that_do_not_fit(self):
        prompt = complete(max_tokens=1).usage.prompt_tokens
        room = 32768 - prompt
        for stream in (False, True):
            with self.assertRaises(openai.BadRequestError) as caught:
                complete(max_tokens=room + 1, stream=stream)
            self.assertEqual("max_tokens", caught.exception.param)
            for number in (room, prompt, 32768, room + 1):
                self.assertIn(f" {number}", str(caught.exception))
        self.assert_bad_request("max_completion_tokens", client.chat.completions.create,
                                model=programs.MODEL, messages=CHAT, max_completion_tokens=32768)

    def test_wrong_types_and_unsupported_fields(self):
        self.assert_bad_request("temperature", complete, temperature="hot")
        self.assert_bad_request("suffix", complete, suffix="end")
        self.assert_bad_request("response_format.type", chat,
                                response_format={"type": "xml"})
        self.assert_bad_request("attention.mode", complete,
                                extra_body={"attention": {"mode": "fast"}})
        self.assert_bad_request("best_of", complete, best_of=4)

    def test_prompts(self):
        self.assert_bad_request("prompt", complete, "")
        self.assert_bad_request("prompt", complete, "word " * 40000)
        self.assert_bad_request("prompt[1]", complete, [5, 4096, 7])
        self.assert_bad_request("messages", chat, [{"role": "user", "content": "word " * 40000}])

    def test_unknown_models_and_paths(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            complete(model="gpt-4")
        self.assertEqual("model_not_found", caught.exception.code)
        with self.assertRaises(openai.BadRequestError):
            client.embeddings.create(model=programs.MODEL, input="x")
        self.assertEqual(404, server.post("/v1/nothing", {})[0])
        with self.assertRaises(openai.NotFoundError):
            client.models.retrieve("gpt-4")

    def test_bodies_that_are_no_json(self):
        for body in (b"", b"{", b"[]", b'{"prompt": "\xff"}', b'{"prompt": "a", "top_p": NaN}'):
            status, reply = server.post("/v1/completions", body)
            self.assertEqual(400, status, body)
            self.assertEqual("invalid_request_error", reply["error"]["type"])

    def test_huge_bodies(self):
        status, reply = server.post("/v1/completions", {"prompt": "x" * (10 << 20)})
        self.assertEqual((400, "prompt"), (status, reply["error"]["param"]))
        status, reply = server.post("/v1/completions", {"prompt": "x" * (17 << 20)})
        self.assertEqual(413, status)
        self.assertIn(str(16 << 20), reply["error"]["message"])


class OtherEndpointsTest(unittest.TestCase):
    def test_models(self):
        self.assertEqual([programs.MODEL], [model.id for model in client.models.list()])
        self.assertEqual(32768, client.models.retrieve(programs.MODEL).max_model_len)

    def test_probes(self):
        for path in ("/health", "/health/live", "/health/ready", "/ping", "/version"):
            self.assertEqual(200, server.get(path)[0], path)
        self.assertEqual(0, server.metric("vllm:num_requests_running"))


if __name__ == "__main__":
    unittest.main()
