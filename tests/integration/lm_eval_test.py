"""lm-evaluation-harness itself, unchanged, over a server: what it reports of questions and of whole
texts is what it reports with transformers in float32 (tests/golden/lm_eval). Then what surrounds
the log probabilities of prompts.
"""

import asyncio
import json
import unittest

import http_stream
import lm_eval_harness
import programs

GOLDEN = json.loads(lm_eval_harness.SCORES.read_text())
QUESTIONS = [json.loads(line) for line in
             (lm_eval_harness.FOLDER / "questions.jsonl").read_text().splitlines()]
TEXTS = [json.loads(line)["text"] for line in
         (lm_eval_harness.FOLDER / "texts.jsonl").read_text().splitlines()]
METRIC_TOLERANCE = 1e-3
# By token, of a single choice, which has 5 to 30, or text, some 180. Ours has a bf16 cache and, on
# AVX-512, bf16 activations; transformers computes in float32. Bounds are twice what was seen.
CHOICE_TOLERANCE = 0.08
TEXT_TOLERANCE = 0.005
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


class HarnessTest(unittest.TestCase):
    """Two tasks by its command line, with its `local-completions` and the server's tokenizer."""

    @classmethod
    def setUpClass(cls):
        # It takes a prefix token with the id 0 for none.
        [bos] = encode("<|bos|>")
        cls.report = lm_eval_harness.run(
            "local-completions",
            f"base_url={server.url}/v1/completions,model={programs.MODEL},max_retries=1,"
            f"tokenizer_backend=remote,num_concurrent=4,custom_prefix_token_id={bos}",
            "--batch_size", "8")

    def test_metrics_are_those_of_transformers(self):
        self.assertEqual(GOLDEN["metrics"].keys(), self.report.metrics.keys())
        for name in ("acc", "acc_norm", "bits_per_byte", "byte_perplexity"):
            want, got = GOLDEN["metrics"][name], self.report.metrics[name]
            print(f"{name}: {got:.5f}, of transformers {want:.5f}")
            self.assertLess(abs(want - got), METRIC_TOLERANCE, name)

    def test_choices(self):
        worst = greedy = others = 0
        for question, want, got in zip(QUESTIONS, GOLDEN["questions"], self.report.questions,
                                       strict=True):
            for choice, (want_score, want_greedy), (score, is_greedy) in zip(
                    question["choices"], want, got, strict=True):
                worst = max(worst, abs(score - want_score) / len(encode(choice)))
                greedy += is_greedy
                others += is_greedy != want_greedy
        print(f"choices: largest difference {worst:.4f} a token; {greedy} are greedy, "
              f"{others} against transformers")
        self.assertLess(worst, CHOICE_TOLERANCE)
        self.assertGreater(greedy, 0, "some answer is what the model would say")
        self.assertLessEqual(others, 3, "but for two tokens that are about as likely")

    def test_texts(self):
        worst = 0
        for text, want, got in zip(TEXTS, GOLDEN["texts"], self.report.texts, strict=True):
            worst = max(worst, abs(got - want) / len(encode(text)))
        print(f"texts: largest difference {worst:.5f} a token")
        self.assertLess(worst, TEXT_TOLERANCE)


def score(prompts):
    """The log probabilities of each prompt's tokens, as the harness asks for them."""
    status, reply = server.post("/v1/completions", {
        "model": programs.MODEL, "prompt": prompts, "temperature": 0, "max_tokens": 1,
        "logprobs": 1, "seed": 1234, "echo": True})
    assert status == 200, reply
    choices = sorted(reply["choices"], key=lambda choice: choice["index"])
    return [choice["logprobs"]["token_logprobs"][:-1] for choice in choices]


class PromptLogprobsTest(unittest.TestCase):
    """What the harness does not look at."""

    def test_the_tokenizer_is_told(self):
        status, body = server.get("/tokenizer_info")
        self.assertEqual(200, status)
        info = json.loads(body)
        self.assertEqual("<|eos|>", info["eos_token"])
        self.assertEqual("<|bos|>", info["bos_token"])
        self.assertIn("messages", info["chat_template"])

    def test_alone_or_together_scores_are_the_same(self):
        prompts = [encode(text) for text in TEXTS[:8]]
        together = score(prompts)
        # What the prefix cache holds by now changes nothing either.
        for results in (score(prompts), [score([prompt])[0] for prompt in prompts]):
            for prompt, want, got in zip(prompts, together, results, strict=True):
                self.assertEqual(len(prompt), len(got))
                self.assertIsNone(got[0])
                for a, b in zip(want[1:], got[1:]):
                    self.assertAlmostEqual(a, b, delta=BATCH_TOLERANCE)

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
        text = TEXTS[0]
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
