"""What lm-evaluation-harness asks of a server, and what it makes of the replies: multiple choice
and the likelihood of whole texts, against transformers (tests/golden/scores.json).

The client here sends what lm_eval 0.4.13's `local-completions` with the remote tokenizer sends, and
reads replies as it does. With the harness itself, which brings pyarrow, pandas and scikit-learn and
so is not among the packages of the other tests, run_lm_eval.py answers the same questions:

    python3 -m venv VENV && VENV/bin/pip install 'lm_eval[api]==0.4.13'
    TIDAL_LM_EVAL_PYTHON=VENV/bin/python python3 tests/integration/lm_eval_test.py
"""

import asyncio
import json
import os
import pathlib
import subprocess
import unittest

import http_stream
import programs

GOLDEN = json.loads((programs.ROOT / "tests/golden/scores.json").read_text())
# Ours has a bf16 cache and, on AVX-512, bf16 activations; transformers computes in float32. Bounds
# are about twice what was seen: by token, over a text's some 40 tokens.
CHOICE_TOLERANCE = 0.2
TOKEN_TOLERANCE = 0.02
# On a CPU a batch changes no bit; elsewhere products of other sizes are rounded otherwise.
BATCH_TOLERANCE = 0 if programs.DEVICE == "cpu" else CHOICE_TOLERANCE


def setUpModule():
    global server
    server = programs.Server("--enable_tokenizer_info_endpoint=true")


def tearDownModule():
    assert server.stop() == 0, server.log()


def encode(text):
    status, reply = server.post("/tokenize", {"prompt": text, "add_special_tokens": False})
    assert status == 200, reply
    return reply["tokens"]


def encode_pair(context, continuation):
    """Spaces at the end of a context belong to what follows."""
    spaces = len(context) - len(context.rstrip())
    if spaces > 0:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    whole, context_ids = encode(context + continuation), encode(context)
    return context_ids, whole[len(context_ids):]


def score(pairs, **more):
    """(log probability, is greedy) of each (context ids, continuation ids), in one request."""
    status, reply = server.post("/v1/completions", {
        "model": programs.MODEL, "prompt": [context + rest for context, rest in pairs],
        "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True, **more})
    assert status == 200, reply
    results = []
    choices = sorted(reply["choices"], key=lambda choice: choice["index"])
    for choice, (context, rest) in zip(choices, pairs, strict=True):
        logprobs = choice["logprobs"]
        size = len(context) + len(rest)
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert len(logprobs[name]) == size + 1, "the prompt's and the one that is generated"
        assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
        own = logprobs["token_logprobs"][len(context):-1]
        top = logprobs["top_logprobs"][len(context):-1]
        results.append((sum(own), all(o == max(t.values()) for o, t in zip(own, top))))
    return results


def question_pairs():
    return [encode_pair(question["context"], choice) for question in GOLDEN["questions"]
            for choice in question["choices"]]


def text_pairs():
    prefix = encode(GOLDEN["prefix_token"])
    return [(prefix, encode(text["text"])) for text in GOLDEN["texts"]]


class ScoresTest(unittest.TestCase):
    def check_choices(self, results):
        results = iter(results)
        difference = right = greedy = 0
        for question in GOLDEN["questions"]:
            scores = [next(results) for _ in question["choices"]]
            for (got, is_greedy), (want, want_greedy) in zip(scores, question["scores"]):
                difference = max(difference, abs(got - want))
                self.assertEqual(want_greedy, is_greedy, question["context"])
                greedy += is_greedy
            best = max(range(len(scores)), key=lambda i: scores[i][0])
            right += best == question["gold"]
        print(f"choices: largest difference {difference:.4f}")
        self.assertLess(difference, CHOICE_TOLERANCE)
        self.assertEqual(len(GOLDEN["questions"]), right)
        self.assertGreater(greedy, 0, "some answer is what the model would say")

    def check_texts(self, results):
        for text, got in zip(GOLDEN["texts"], results, strict=True):
            difference = abs(got - text["score"]) / text["tokens"]
            print(f"text: {difference:.5f} a token")
            self.assertLess(difference, TOKEN_TOLERANCE, text["text"])

    def test_the_tokenizer_is_told(self):
        status, body = server.get("/tokenizer_info")
        self.assertEqual(200, status)
        info = json.loads(body)
        self.assertEqual("<|eos|>", info["eos_token"])
        self.assertEqual("<|bos|>", info["bos_token"])
        self.assertIn("messages", info["chat_template"])

    def test_multiple_choice(self):
        self.check_choices(score(question_pairs()))

    def test_likelihood_of_texts(self):
        pairs = text_pairs()
        for (_, ids), text in zip(pairs, GOLDEN["texts"]):
            self.assertEqual(text["tokens"], len(ids))
        self.check_texts([result[0] for result in score(pairs)])

    def test_alone_or_together_scores_are_the_same(self):
        pairs = question_pairs()[:8]
        together = score(pairs)
        # What the prefix cache holds by now changes nothing either.
        for results in (score(pairs), [score([pair])[0] for pair in pairs]):
            for want, got in zip(together, results, strict=True):
                self.assertAlmostEqual(want[0], got[0], delta=BATCH_TOLERANCE)
                self.assertEqual(want[1], got[1])

    def test_the_harness_itself(self):
        python = os.environ.get("TIDAL_LM_EVAL_PYTHON")
        if not python:
            self.skipTest("TIDAL_LM_EVAL_PYTHON names no python with lm_eval")
        for batch_size, concurrent in ((1, 1), (8, 4)):
            result = subprocess.run(
                [python, pathlib.Path(__file__).with_name("run_lm_eval.py"), server.url,
                 programs.MODEL, str(batch_size), str(concurrent)],
                capture_output=True, text=True, check=False)
            self.assertEqual(0, result.returncode, result.stderr)
            out = json.loads(result.stdout.splitlines()[-1])
            self.assertEqual(1.0, out["accuracy"])
            self.check_choices([tuple(pair) for pair in out["choices"]])
            self.check_texts(out["texts"])


class PromptLogprobsTest(unittest.TestCase):
    """The other way to the same numbers, and what surrounds it."""

    def complete(self, **fields):
        status, reply = server.post("/v1/completions", {
            "model": programs.MODEL, "prompt": "Once upon a time", "max_tokens": 2,
            "temperature": 0, **fields})
        self.assertEqual(200, status, reply)
        return reply

    def test_vllms_form_has_the_same_numbers(self):
        reply = self.complete(echo=True, logprobs=2, prompt_logprobs=2, return_token_ids=True)
        [choice] = reply["choices"]
        ids = choice["prompt_token_ids"]
        self.assertEqual(len(ids), len(choice["prompt_logprobs"]))
        self.assertIsNone(choice["prompt_logprobs"][0])
        for token, entry, own, top in zip(ids[1:], choice["prompt_logprobs"][1:],
                                          choice["logprobs"]["token_logprobs"][1:],
                                          choice["logprobs"]["top_logprobs"][1:]):
            self.assertEqual(own, entry[str(token)]["logprob"])
            self.assertIn(len(entry), (2, 3))
            self.assertEqual(max(top.values()), max(e["logprob"] for e in entry.values()))
            ranks = sorted(e["rank"] for e in entry.values())
            self.assertEqual([1, 2], ranks[:2])
        self.assertEqual(0, reply["usage"]["prompt_tokens_details"]["cached_tokens"])

    def test_the_prompt_alone(self):
        reply = self.complete(max_tokens=0, echo=True, logprobs=1)
        [choice] = reply["choices"]
        self.assertEqual("Once upon a time", choice["text"])
        self.assertEqual("length", choice["finish_reason"])
        self.assertEqual(0, reply["usage"]["completion_tokens"])
        self.assertEqual(reply["usage"]["prompt_tokens"], len(choice["logprobs"]["tokens"]))
        more = self.complete(max_tokens=1, echo=True, logprobs=1)["choices"][0]["logprobs"]
        for name, values in choice["logprobs"].items():
            self.assertEqual(values, more[name][:-1], name)

    def test_a_prompt_of_many_chunks_beside_others(self):
        text = GOLDEN["texts"][0]["text"]
        lone = self.complete(prompt=text, max_tokens=0, echo=True, logprobs=3)["choices"][0]
        many = self.complete(prompt=[text * 60, text, "x"], max_tokens=0, echo=True, logprobs=3)
        self.assertEqual(3, len(many["choices"]))
        if programs.DEVICE == "cpu":
            self.assertEqual(lone["logprobs"], many["choices"][1]["logprobs"])
        size = len(lone["logprobs"]["tokens"])
        long = many["choices"][0]["logprobs"]
        self.assertGreater(len(long["tokens"]), 2048, "more than a step has")
        self.assertNotIn(None, long["token_logprobs"][1:])
        for got, want in zip(long["token_logprobs"][1:size - 1],
                             lone["logprobs"]["token_logprobs"][1:]):
            self.assertAlmostEqual(want, got, delta=BATCH_TOLERANCE)

    def test_several_outputs_have_one_prompt(self):
        reply = self.complete(n=3, prompt_logprobs=1, temperature=1, seed=5)
        first, *others = [choice["prompt_logprobs"] for choice in reply["choices"]]
        self.assertEqual([first, first], others)

    def test_a_stream_begins_with_the_prompts(self):
        fields = {"echo": True, "logprobs": 1}
        whole = self.complete(**fields)["choices"][0]["logprobs"]
        streamed = {name: [] for name in whole}

        async def read():
            body = {"model": programs.MODEL, "prompt": "Once upon a time", "max_tokens": 2,
                    "temperature": 0, **fields}
            async with http_stream.HttpStream(server.http_port, body) as stream:
                self.assertEqual(200, await stream.read_head())
                async for event in stream.events():
                    for name, values in (event["choices"][0]["logprobs"] or {}).items():
                        streamed[name] += values
            self.assertTrue(stream.done)
            self.assertTrue(stream.text.startswith("Once upon a time"))

        asyncio.run(read())
        self.assertEqual(whole, streamed)

    def test_a_chat(self):
        body = {"model": programs.MODEL, "messages": [{"role": "user", "content": "Hello!"}],
                "max_tokens": 1, "prompt_logprobs": 1}
        status, reply = server.post("/v1/chat/completions", body)
        self.assertEqual(200, status, reply)
        self.assertEqual(reply["usage"]["prompt_tokens"], len(reply["prompt_logprobs"]))
        status, reply = server.post("/v1/chat/completions", {**body, "stream": True})
        self.assertEqual((400, "prompt_logprobs"), (status, reply["error"]["param"]))
        status, reply = server.post("/v1/chat/completions", {**body, "prompt_logprobs": -1})
        self.assertEqual(400, status)
        self.assertIn("must be in [0, 20]", reply["error"]["message"])


if __name__ == "__main__":
    unittest.main()
