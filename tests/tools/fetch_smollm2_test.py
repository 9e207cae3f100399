#!/usr/bin/env python3
"""tools/fetch_smollm2.sh and tools/convert_gguf.py: the model that they make is the right one.

tests/golden/smollm2 has the shape and SHA-256 of every tensor, and greedy continuations of
Transformers in float32. The tests of the model need it in build/models, where tools/test.sh puts
it; without it they are skipped, and say so.
"""

import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONVERT = ROOT / "tools/convert_gguf.py"
sys.path.insert(0, str(ROOT / "tests/integration"))
import programs  # noqa: E402

FETCH = ROOT / "tools/fetch_smollm2.sh"
MODEL = ROOT / "build/models/SmolLM2-135M-Instruct"
GOLDEN = ROOT / "tests/golden/smollm2"
# Where the best two tokens are nearer than this (in log probability), bf16 may swap them.
NEAR_TIE = 0.15


def fetch(*arguments, **options):
    return subprocess.run([FETCH, *arguments], capture_output=True, text=True, **options)


class FetchTest(unittest.TestCase):
    def test_a_folder_that_holds_something_else_is_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "config.json")
            path.write_text("mine")
            result = fetch(folder)
            self.assertEqual(1, result.returncode)
            self.assertIn(f"{folder} holds something else", result.stderr)
            self.assertEqual("mine", path.read_text())

    def test_help_and_wrong_arguments(self):
        self.assertEqual(0, fetch("--help").returncode)
        self.assertIn("fetch_smollm2.sh [DIR]", fetch("--help").stdout)
        self.assertEqual(2, fetch("a", "b").returncode)
        self.assertEqual(2, fetch("--dir=a").returncode)


class ConvertTest(unittest.TestCase):
    """Files that are almost Llama models."""

    def convert(self, tensors=(), **fields):
        """What convert_gguf says of a file without layers, but for what is added here."""
        fields = {"general.architecture": "llama", "llama.block_count": 0,
                  "llama.context_length": 64, "llama.embedding_length": 16,
                  "llama.feed_forward_length": 16, "llama.attention.head_count": 1,
                  "llama.rope.freq_base": 10000.0,
                  "llama.attention.layer_norm_rms_epsilon": 1e-5,
                  "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
                  "tokenizer.ggml.tokens": ["a", "b", "ab"],
                  "tokenizer.ggml.token_type": [1, 1, 1],
                  "tokenizer.ggml.merges": ["a b"], **fields}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "m.gguf")
            writer = gguf.GGUFWriter(path, fields.pop("general.architecture"))
            for key, value in fields.items():
                if isinstance(value, list):
                    writer.add_array(key, value)
                elif isinstance(value, (str, float)):
                    (writer.add_string if isinstance(value, str) else writer.add_float32)(
                        key, value)
                elif value is not None:
                    writer.add_uint32(key, value)
            for name, shape in {"token_embd.weight": (3, 16), "output_norm.weight": (16,),
                                **dict(tensors)}.items():
                writer.add_tensor(name, np.ones(shape, np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            result = subprocess.run([sys.executable, CONVERT, path, pathlib.Path(folder, "out")],
                                    capture_output=True, text=True)
            written = {file.name for file in pathlib.Path(folder, "out").glob("*")}
        return result.returncode, result.stderr.split(": ", 2)[-1].strip(), written

    def test_a_model_is_written(self):
        self.assertEqual((0, "", {"config.json", "generation_config.json", "model.safetensors",
                                  "tokenizer.json", "tokenizer_config.json"}), self.convert())

    def test_what_is_not_known_is_refused_by_name(self):
        for message, arguments in {
                "general.architecture: must be 'llama', got 'qwen2'":
                    {"general.architecture": "qwen2"},
                "llama.context_length: missing": {"llama.context_length": None},
                "llama.rope.scaling.factor: not supported": {"llama.rope.scaling.factor": 2.0},
                "tokenizer.ggml.model: must be 'gpt2', got 'llama'":
                    {"tokenizer.ggml.model": "llama"},
                "tokenizer.ggml.pre: must be 'gpt-2' or 'smollm', got 'qwen2'":
                    {"tokenizer.ggml.pre": "qwen2"},
                "tensor rope_freqs.weight: not known in a Llama model":
                    {"tensors": [("rope_freqs.weight", (8,))]},
                "tensor blk.0.attn_q.weight: not part of this model":
                    {"tensors": [("blk.0.attn_q.weight", (16, 16))]},
                "tensor output_norm.weight: its shape must be [16], is [8]":
                    {"tensors": [("output_norm.weight", (8,))]},
                "tensor model.layers.0.input_layernorm.weight: missing":
                    {"llama.block_count": 1}}.items():
            self.assertEqual((1, message), self.convert(**arguments)[:2])


@unittest.skipUnless((MODEL / "source.txt").exists(), f"no {MODEL}: run tools/fetch_smollm2.sh")
class ModelTest(unittest.TestCase):
    def test_a_second_call_finds_it(self):
        result = fetch()
        self.assertEqual((0, f"fetch_smollm2: {MODEL} is there.\n"),
                         (result.returncode, result.stdout), result.stderr)

    def test_every_tensor_is_the_right_one(self):
        wanted = json.loads((GOLDEN / "tensors.json").read_text())
        with open(MODEL / "model.safetensors", "rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
            del header["__metadata__"]
            self.assertEqual(wanted.keys(), header.keys())
            for name, tensor in header.items():
                self.assertEqual("BF16", tensor["dtype"])
                self.assertEqual(wanted[name]["shape"], tensor["shape"], name)
                begin, end = tensor["data_offsets"]
                file.seek(8 + size + begin)
                digest = hashlib.sha256(file.read(end - begin)).hexdigest()
                self.assertEqual(wanted[name]["sha256"], digest, name)

    def test_the_server_continues_chats_as_transformers_does(self):
        golden = json.loads((GOLDEN / "golden.json").read_text())["continuations"]
        server = programs.Server(f"--model={MODEL}")
        self.addCleanup(server.stop)
        compared = 0
        for chat in golden:
            name = chat["messages"][-1]["content"]
            status, prompt = server.post("/tokenize", {"messages": chat["messages"]})
            self.assertEqual(200, status, prompt)
            self.assertEqual(chat["prompt_ids"], prompt["tokens"], name)
            wanted, gaps = chat["greedy_ids"], chat["gap_to_second"]
            status, reply = server.post("/v1/completions", {
                "prompt": prompt["tokens"], "max_tokens": len(wanted), "temperature": 0,
                "return_token_ids": True, "attention": {"mode": "full"}})
            self.assertEqual(200, status, reply)
            found = reply["choices"][0]["token_ids"]
            same = next((i for i, (a, b) in enumerate(zip(wanted, found)) if a != b),
                        min(len(wanted), len(found)))
            compared += same
            if same < len(wanted):
                self.assertLess(gaps[same], NEAR_TIE,
                                f"{name}: token {same} is {found[same:same + 1]}, "
                                f"should be {wanted[same]}")
        # Near ties may end a comparison early, but not most of them.
        self.assertGreater(compared, sum(len(chat["greedy_ids"]) for chat in golden) // 2)


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    if result.wasSuccessful() and result.skipped:
        sys.exit(77)  # ctest shows it as skipped
    sys.exit(not result.wasSuccessful())
