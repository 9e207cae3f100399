"""Model folders that cannot be served: one clear line each, exit code 1, at once."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

import programs

FOLDERS = programs.ROOT / "tests/engine/architectures"
LIMIT_S = 1.0  # of the fastest of three runs: the machine may be busy


def start(folder):
    """Exit code, standard error and seconds of a server that is given this folder."""
    began = time.monotonic()
    done = subprocess.run([programs.BIN_DIR / "tidal-server", f"--model={folder}", "--device=cpu",
                           "--http_port=0", "--grpc_port=0"],
                          capture_output=True, text=True, timeout=60, env=programs.environment())
    return done.returncode, done.stderr, time.monotonic() - began


class BadModelTest(unittest.TestCase):
    def setUp(self):
        self._temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self._temporary.cleanup)

    def copy(self, name):
        self.folder = pathlib.Path(self._temporary.name) / "model"
        shutil.copytree(FOLDERS / name, self.folder)

    def change_config(self, **fields):
        path = self.folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def assert_refused(self, *parts):
        """The one line names each of `parts`."""
        seconds = []
        for _ in range(3):
            code, error, took = start(self.folder)
            seconds.append(took)
            self.assertEqual(1, code, error)
            lines = error.splitlines()
            self.assertEqual(1, len(lines), error)
            for part in ("tidal-server: ", str(self.folder), *parts):
                self.assertIn(part, lines[0])
            if took < LIMIT_S or not programs.MEASURES:
                break
        if programs.MEASURES:
            self.assertLess(min(seconds), LIMIT_S)

    def test_no_such_folder(self):
        self.folder = pathlib.Path(self._temporary.name) / "none"
        self.assert_refused("model: must be a model folder")

    def test_what_is_no_model_folder(self):
        root = pathlib.Path(self._temporary.name)
        for name, content, words in (
                ("a.gguf", b"GGUF\3\0\0\0", "a GGUF file; GGUF is not supported; give a folder"),
                ("model.safetensors", b"{}", "one file of weights; give the folder that has it"),
                ("pytorch_model.bin", b"PK", "PyTorch's weights; convert them")):
            self.folder = root / name
            self.folder.write_bytes(content)
            self.assert_refused("model: must be a model folder", words)

        self.folder = root / "adapter"
        self.folder.mkdir()
        (self.folder / "adapter_config.json").write_text("{}")
        (self.folder / "adapter_model.safetensors").write_text("{}")
        self.assert_refused("an adapter (PEFT); adapters are not supported: merge it")

        self.folder = "some-org/some-name"
        self.assert_refused("download it (hf download some-org/some-name --local-dir FOLDER)")

    def test_weights_of_pytorch(self):
        self.copy("qwen2")
        for path in self.folder.glob("*.safetensors*"):
            path.unlink()
        (self.folder / "pytorch_model.bin").write_text("PK")
        self.assert_refused("which has PyTorch's weights (pytorch_model.bin); convert them")

    def test_unsupported_architecture(self):
        self.copy("qwen2")
        self.change_config(architectures=["GemmaForCausalLM"])
        self.assert_refused("architectures: must be one of LlamaForCausalLM", "GemmaForCausalLM")

    def test_unsupported_quantization(self):
        self.copy("qwen3")
        self.change_config(quantization_config={"quant_method": "gptq", "bits": 4})
        self.assert_refused("quantization_config: must be absent", "gptq")

    def test_unsupported_scaling_of_positions(self):
        self.copy("llama_linear")
        self.change_config(rope_scaling={"type": "longrope", "factor": 4})
        self.assert_refused("rope_scaling: type: must be", '"longrope"')

    def test_missing_shard(self):
        self.copy("mistral_window")
        (self.folder / "model-00002-of-00004.safetensors").unlink()
        self.assert_refused("model-00002-of-00004.safetensors: No such file")

    def test_truncated_weights(self):
        self.copy("llama_yarn")
        path = self.folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-10])
        self.assert_refused("model.safetensors")

    def test_wrong_shape(self):
        self.copy("llama_dynamic")
        self.change_config(intermediate_size=64)
        self.assert_refused("tensor model.layers.0.mlp.gate_proj.weight: shape must be [64, 64]",
                            "got [48, 64]")

    def test_missing_tensor(self):
        self.copy("llama2_mha")
        self.change_config(attention_bias=True)
        self.assert_refused("tensor model.layers.0.self_attn.q_proj.bias: is missing")

    def test_last_tensor_missing(self):
        self.copy("qwen2")
        self.change_config(tie_word_embeddings=False)
        self.assert_refused("tensor lm_head.weight: is missing")


if __name__ == "__main__":
    unittest.main()
