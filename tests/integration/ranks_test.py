"""A model on several ranks: they answer as one, end as one, and none outlives another."""

import asyncio
import json
import math
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time
import unittest

import programs
from http_stream import HttpStream

PROMPT = "Once upon a time"
BODY = {"prompt": PROMPT, "max_tokens": 40, "temperature": 0, "ignore_eos": True}
ENDLESS = {"prompt": PROMPT, "max_tokens": 4000, "ignore_eos": True}
KILLS = int(os.environ.get("TIDAL_TEST_KILLS", "6"))  # of each rank
RANKS = 2
# All of a group end within a second. Other tests run beside this one.
BOUND_S = 1.0 if programs.MEASURES else 30.0


def ranks_of(pid):
    """The process ids of ranks 1, 2, ..."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def lives(pid):
    """Whether a process has not ended; one that nobody has waited for has."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids, timeout):
    deadline = time.monotonic() + timeout
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [pid for pid in pids if lives(pid)]


def start(*arguments):
    """A server that nobody waits for until it is ready."""
    return subprocess.Popen(
        [programs.BIN_DIR / "tidal-server", f"--model={programs.ROOT / 'models' / programs.MODEL}",
         "--http_port=0", "--grpc_port=0", "--kv_cache_bytes=256MiB", f"--device={programs.DEVICE}",
         *arguments],
        stderr=subprocess.PIPE, text=True, cwd=programs.ROOT, env=programs.environment())


def own_bytes(pid):
    """Memory that is no file's."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) * 1024


def write_empty_model(folder, shape):
    """A model of zeros, in a file that takes no space."""
    own = programs.ROOT / "models" / programs.MODEL
    config = json.loads((own / "config.json").read_text())
    config.update(shape, head_dim=shape["hidden_size"] // shape["num_attention_heads"],
                  tie_word_embeddings=False, torch_dtype="bfloat16")
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((own / name).read_bytes())
    hidden, mlp = shape["hidden_size"], shape["intermediate_size"]
    kv = shape["num_key_value_heads"] * config["head_dim"]
    shapes = {"model.embed_tokens.weight": [shape["vocab_size"], hidden],
              "lm_head.weight": [shape["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for layer in range(shape["num_hidden_layers"]):
        for name, size in {"input_layernorm": [hidden], "post_attention_layernorm": [hidden],
                           "self_attn.q_proj": [hidden, hidden], "self_attn.k_proj": [kv, hidden],
                           "self_attn.v_proj": [kv, hidden], "self_attn.o_proj": [hidden, hidden],
                           "mlp.gate_proj": [mlp, hidden], "mlp.up_proj": [mlp, hidden],
                           "mlp.down_proj": [hidden, mlp]}.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = size
    header, end = {}, 0
    for name, size in shapes.items():
        begin, end = end, end + 2 * math.prod(size)
        header[name] = {"dtype": "BF16", "shape": size, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + end)


def server_of(ranks):
    return programs.Server(f"--tensor_parallel_size={ranks}", "--kv_cache_bytes=256MiB")


class RanksTest(unittest.TestCase):
    def test_score_prompts_as_one(self):
        """Several chunks, several tiles of logits, beside an output that goes on."""
        body = {"prompt": [PROMPT + " there was a fox who lived in a wood." * 250, PROMPT],
                "max_tokens": 4, "temperature": 0, "echo": True, "logprobs": 2}
        scores = []
        for ranks in (1, RANKS):
            server = server_of(ranks)
            status, reply = server.post("/v1/completions", body)
            self.assertEqual(200, status, reply)
            scores.append([choice["logprobs"]["token_logprobs"] for choice in reply["choices"]])
            self.assertEqual(0, server.stop(), server.log())
        for one, many in zip(*scores, strict=True):
            differences = [abs(a - b) for a, b in zip(one[1:-4], many[1:-4], strict=True)]
            self.assertLess(sum(differences) / len(differences), 0.02)
        self.assertGreater(len(scores[0][0]), 2048, "more than a step has")

    def test_answer_as_one(self):
        for ranks in (2, 4):
            server = server_of(ranks)
            pids = ranks_of(server.process.pid)
            self.assertEqual(ranks - 1, len(pids))
            texts = set()
            for _ in range(3):
                status, reply = server.post("/v1/completions", BODY)
                self.assertEqual(200, status, reply)
                self.assertEqual(40, reply["usage"]["completion_tokens"])
                texts.add(reply["choices"][0]["text"])
            self.assertEqual(1, len(texts), "equal requests, equal texts")
            self.assertTrue(texts.pop().startswith(", there was a little girl named"))
            # Beside each other, with penalties and draws, which all ranks must make alike.
            drawn = {**BODY, "seed": 7, "temperature": 1, "n": 4, "frequency_penalty": 0.5,
                     "logprobs": 3}
            drawn["logprob_token_ids"] = list(range(0, 4096, 32))  # of all ranks' parts
            first, again = (server.post("/v1/completions", drawn) for _ in range(2))
            self.assertEqual(200, first[0], first)
            self.assertEqual([choice["text"] for choice in first[1]["choices"]],
                             [choice["text"] for choice in again[1]["choices"]])
            for top in first[1]["choices"][0]["logprobs"]["top_logprobs"]:
                self.assertGreaterEqual(len(top), 100, "several tokens may have one text")
            _, metrics = server.get("/metrics")
            for rank in range(ranks):
                self.assertRegex(metrics, rf'tidal:device_memory_bytes{{[^}}]*rank="{rank}"')
            self.assertIn('"rank":0', server.log())
            self.assertEqual(0, server.stop(), "exit code")
            self.assertEqual([], wait_until_gone(pids, 0), "processes left behind")

    def test_drain_ends_all_in_order(self):
        server = server_of(RANKS)
        pids = ranks_of(server.process.pid)

        async def play():
            async with HttpStream(server.http_port, {**BODY, "max_tokens": 200}) as stream:
                self.assertEqual(200, await stream.read_head())
                await anext(stream.events())
                for pid in [server.process.pid, *pids]:  # as a terminal does, and some managers
                    os.kill(pid, signal.SIGTERM)
                async for event in stream.events():
                    self.assertNotIn("error", event)
                return stream.done

        self.assertTrue(asyncio.run(play()), "the stream is whole")
        self.assertEqual(0, server.wait())
        self.assertEqual([], wait_until_gone(pids, 0))
        self.assertNotIn('"error"', server.log())

    def stream_and_kill(self, rank, number, delay):
        """Sends a rank a signal while a stream runs. Gives the stream's error, how long the group
        lived on, its exit code and its log."""
        server = server_of(RANKS)
        all_ranks = [server.process.pid, *ranks_of(server.process.pid)]

        async def play():
            error = None
            async with HttpStream(server.http_port, ENDLESS) as stream:
                self.assertEqual(200, await stream.read_head())
                await anext(stream.events())
                await asyncio.sleep(delay)
                os.kill(all_ranks[rank], number)
                begin = time.monotonic()
                try:
                    async for event in stream.events():
                        error = event.get("error", error)
                except (OSError, EOFError, asyncio.IncompleteReadError):
                    pass  # rank 0 itself is gone
            return error, begin

        error, begin = asyncio.run(play())
        left = wait_until_gone(all_ranks, 10)
        took = time.monotonic() - begin
        self.assertEqual([], left, "ranks that live on")
        return error, took, server.wait(), server.log()

    def test_a_rank_killed_in_service(self):
        error, took, code, log = self.stream_and_kill(1, signal.SIGKILL, 0.1)
        self.assertIn("rank 1 of 2: ended by signal 9", str(error))
        self.assertIn("rank 1 of 2: ended by signal 9", log)
        self.assertEqual(1, code)
        self.assertLess(took, BOUND_S)

    def test_rank_0_killed_in_service(self):
        _, took, code, _ = self.stream_and_kill(0, signal.SIGKILL, 0.1)
        self.assertEqual(-signal.SIGKILL, code)
        self.assertLess(took, BOUND_S)

    def test_a_rank_that_hangs(self):
        error, took, code, log = self.stream_and_kill(1, signal.SIGSTOP, 0.05)
        self.assertIn("rank 1 of 2: hangs", str(error))
        self.assertIn("rank 1 of 2: hangs", log)
        self.assertEqual(1, code)
        self.assertLess(took, 2 * BOUND_S)

    def test_others_do_not_wait_for_a_rank_0_that_hangs(self):
        server = server_of(RANKS)
        pids = ranks_of(server.process.pid)
        server.signal(signal.SIGSTOP)
        self.assertEqual([], wait_until_gone(pids, 2 * BOUND_S))
        server.signal(signal.SIGCONT)
        self.assertEqual(1, server.wait())
        self.assertIn("rank 0 of 2: hangs", server.log())

    def test_any_rank_killed_at_any_moment(self):
        moments = random.Random(5)
        for rank in range(RANKS):
            for _ in range(KILLS):
                process = start(f"--tensor_parallel_size={RANKS}")
                all_ranks = [process.pid]
                while len(all_ranks) < RANKS and process.poll() is None:
                    all_ranks = [process.pid, *ranks_of(process.pid)]
                delay = moments.uniform(0, 0.4)  # loading, warming up, idle
                time.sleep(delay)
                os.kill(all_ranks[rank], signal.SIGKILL)
                begin = time.monotonic()
                left = wait_until_gone(all_ranks, 10)
                took = time.monotonic() - begin
                log = process.stderr.read()
                code = process.wait()
                process.stderr.close()
                what = f"rank {rank} after {delay:.3f} s:\n{log}"
                self.assertEqual([], left, what)
                self.assertLess(took, BOUND_S, what)
                self.assertNotEqual(0, code, what)
                if rank > 0:
                    self.assertIn(f"rank {rank} of {RANKS}: ended by signal 9", log, what)

    @unittest.skipUnless(programs.MEASURES, "a sanitizer has memory of its own")
    def test_no_rank_holds_more_than_its_share(self):
        shape = {"vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 4096,
                 "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 8}
        with tempfile.TemporaryDirectory() as folder:
            write_empty_model(pathlib.Path(folder), shape)
            held = {}
            for ranks in (1, 4):
                server = programs.Server(f"--tensor_parallel_size={ranks}", f"--model={folder}",
                                         "--kv_cache_bytes=32MiB", "--max_model_len=512",
                                         "--max_num_batched_tokens=512", "--num_threads=1")
                pids = [server.process.pid, *ranks_of(server.process.pid)]
                held[ranks] = [own_bytes(pid) for pid in pids]
                self.assertEqual(0, server.stop())
        # Embedding 66 MB and a quarter of 310 MB, and of one rank all.
        self.assertGreater(held[1][0], 370e6)
        for rank, size in enumerate(held[4]):
            self.assertLess(size, held[1][0] - 0.7 * 310e6, f"rank {rank}")

    def test_what_cannot_be_shared_out_is_refused(self):
        process = start("--tensor_parallel_size=3")
        log = process.communicate(timeout=60)[1]
        self.assertEqual(1, process.returncode)
        self.assertIn("tensor_parallel_size: must be one of 1, 2, 4 for a model of 4 attention "
                      "heads, 2 KV heads", log)


if __name__ == "__main__":
    unittest.main()
