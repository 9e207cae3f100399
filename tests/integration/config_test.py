"""Flags from the command line, the environment and a file, of the built programs."""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import programs

SECRET = "not-to-be-seen"


def run(program, *arguments, **variables):
    """Exit code, standard output and standard error of a program that ends by itself."""
    done = subprocess.run([programs.BIN_DIR / program, *arguments], capture_output=True, text=True,
                          timeout=60, cwd=programs.ROOT,
                          env={**programs.environment(), **variables})
    return done.returncode, done.stdout, done.stderr


def settings(text):
    """{flag: (value, source)} of what --print_config printed."""
    return {name: (value, source) for name, value, source in
            re.findall(r"^(\w+): (.*)  # (.*)$", text, re.MULTILINE)}


class ConfigTest(unittest.TestCase):
    def write(self, text):
        file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.addCleanup(file.close)
        file.write(text)
        file.flush()
        return file.name

    def printed(self, program, *arguments, **variables):
        code, out, error = run(program, "--print_config", *arguments, **variables)
        self.assertEqual((0, ""), (code, error))
        return out

    def assert_refused(self, message, program, *arguments, **variables):
        code, out, error = run(program, *arguments, **variables)
        self.assertEqual((1, ""), (code, out), error)
        self.assertEqual(f"{program}: {message}\n", error)

    def test_who_takes_precedence(self):
        path = self.write("max_num_seqs: 1\nhttp_port: 1\ngrpc_port: 1\nblock_size: 32\n"
                          "log_level: debug\n")
        flags = self.write("--block_size=64\n--shutdown_timeout=9s\n")
        found = settings(self.printed(
            "tidal-server", f"--config={path}", "--max_num_seqs", "3", f"--flagfile={flags}",
            "--nooverlap", TIDAL_MAX_NUM_SEQS="2", TIDAL_HTTP_PORT="2"))
        for flag, expected in {"max_num_seqs": ("3", "command line"),
                               "overlap": ("false", "command line"),
                               "http_port": ("2", "TIDAL_HTTP_PORT"),
                               "grpc_port": ("1", f"{path}:3"),
                               "block_size": ("64", "flagfile"),
                               "shutdown_timeout": ("9s", "flagfile"),
                               "log_level": ("debug", f"{path}:5"),
                               "host": ("127.0.0.1", "default")}.items():
            self.assertEqual(expected, found[flag], flag)

    def test_the_command_line_can_restore_a_default(self):
        path = self.write("max_num_seqs: 8\n")
        found = settings(self.printed("tidal-server", "--max_num_seqs=256", TIDAL_CONFIG=path))
        self.assertEqual(("256", "command line"), found["max_num_seqs"])

    def test_the_command_line_names_the_file_before_the_environment(self):
        path = self.write("max_num_seqs: 8\n")
        out = self.printed("tidal-server", f"--config={path}", TIDAL_CONFIG="no/such/file")
        self.assertEqual("8", settings(out)["max_num_seqs"][0])

    def test_what_is_printed_loads_again(self):
        for program, flags in {
                "tidal-server": ["--served_model_name=a,b", "--kv_cache_bytes=1536KiB",
                                 "--chat_template={{ 'x: #' }}\n", "--shutdown_timeout=90s"],
                "tidal-gateway": ["--grpc_target=dns:///servers:50051", "--host=::"],
                "tidal-generate": ["--temperature=0.5", "--stop=a,b", "--chat"]}.items():
            first = self.printed(program, *flags)
            second = self.printed(program, f"--config={self.write(first)}")
            values = [{name: value for name, (value, _) in settings(text).items()}
                      for text in (first, second)]
            self.assertGreater(len(values[0]), 8)
            self.assertEqual(*values)

    def test_secrets_are_not_printed(self):
        for program in ("tidal-server", "tidal-gateway"):
            for arguments, variables in (([f"--api_key={SECRET}"], {}),
                                         ([], {"TIDAL_API_KEY": SECRET})):
                out = self.printed(program, *arguments, **variables)
                self.assertNotIn(SECRET, out)
                self.assertIn("\n# api_key: set, not shown  # ", "\n" + out)

    def test_mistakes_are_one_line(self):
        def file_error(text, message, program="tidal-server"):
            path = self.write(text)
            self.assert_refused(f"config: {path}:{message}", program, f"--config={path}")

        file_error("# x\nmax_num_seq: 3\n",
                   "2: unknown key max_num_seq; did you mean max_num_seqs?")
        file_error("max_num_seqs: 3\n", "1: unknown key max_num_seqs", "tidal-gateway")
        file_error("max_num_seqs: [3, 4]\n", "1: max_num_seqs: must be one value, got a list")
        file_error("host: &a b\n", "1: anchors are not supported")
        self.assert_refused("config: no/such: cannot be read: No such file or directory",
                            "tidal-server", TIDAL_CONFIG="no/such")
        self.assert_refused("TIDAL_OVERLAP: must be true or false, got perhaps", "tidal-server",
                            TIDAL_OVERLAP="perhaps")
        self.assert_refused("TIDAL_MAX_QUEUED_TOKENS: must be a whole number, got all",
                            "tidal-server", TIDAL_MAX_QUEUED_TOKENS="all")
        self.assert_refused("TIDAL_MAX_TOKENS: must be a whole number, 0 or more, got -1",
                            "tidal-generate", TIDAL_MAX_TOKENS="-1")
        self.assert_refused("TIDAL_TOP_P: must be a number, got half", "tidal-generate",
                            TIDAL_TOP_P="half")
        self.assert_refused("unknown flag --max_num_seq; did you mean max_num_seqs?",
                            "tidal-server", "--max_num_seq=3")
        self.assert_refused("block_size: must be 16, 32 or 64, got 3", "tidal-server",
                            "--print_config", TIDAL_BLOCK_SIZE="3")
        self.assert_refused("io_threads: must be in [1, 1024], got 0", "tidal-gateway",
                            "--print_config", "--io_threads=0")
        self.assert_refused("log_format: must be text or json, got xml", "tidal-gateway",
                            TIDAL_LOG_FORMAT="xml")

    def test_help_answers_whatever_the_rest_says(self):
        _, out, error = run("tidal-server", "--help", "--config=no/such", TIDAL_OVERLAP="perhaps")
        self.assertEqual("", error)
        self.assertIn("--max_num_seqs", out)

    def test_flags_in_vllms_spelling(self):
        flags = self.write("--max-num-batched-tokens=512\n--no-overlap\n")
        path = self.write("port: 7\nmax-queued-requests: 9\nblock-size: 32\n")
        found = settings(self.printed(
            "tidal-server", "serve", str(programs.ROOT / "models" / programs.MODEL),
            "--max-model-len", "4096", "--max_num-seqs=8", "--no-enable-prefix-caching",
            "--enforce-eager", "--disable-log-requests", "-tp", "1", f"--flagfile={flags}",
            "--config", path, "--port", "9000"))
        for flag, expected in {"max_model_len": ("4096", "command line"),
                               "max_num_seqs": ("8", "command line"),
                               "enable_prefix_caching": ("false", "command line"),
                               "cuda_graphs": ("false", "command line"),
                               "max_num_batched_tokens": ("512", "flagfile"),
                               "overlap": ("false", "flagfile"),
                               "max_queued_requests": ("9", f"{path}:2"),
                               "http_port": ("9000", "command line"),
                               "block_size": ("32", f"{path}:3")}.items():
            self.assertEqual(expected, found[flag], flag)
        self.assertIn(programs.MODEL, found["model"][0])
        found = settings(self.printed("tidal-gateway", "--port=9", "--grpc-target", "a:1"))
        self.assertEqual(("9", "command line"), found["http_port"])
        self.assertEqual(("a:1", "command line"), found["grpc_target"])
        self.assert_refused("pipeline_parallel_size: must be 1, got 2; GPUs share a model out by "
                            "--tensor_parallel_size; start a server for each copy of it, behind "
                            "tidal-gateway", "tidal-server", "--pipeline-parallel-size=2")
        self.assert_refused("unknown flag --max-model-length; did you mean max_model_len?",
                            "tidal-server", "--max-model-length=5")
        self.assert_refused("model: must be given once, got a flag (command line) and b; lists "
                            "have commas between their values",
                            "tidal-server", "serve", "b", "--model=a")
        self.assert_refused("arguments: must be flags only, got serve", "tidal-gateway", "serve")

    def test_a_server_is_run_as_vllm_is(self):
        server = programs.Program("tidal-server", '"ready"', [
            "serve", str(programs.ROOT / "models" / programs.MODEL), "--max-model-len", "512",
            "--port", "0", "--grpc-port=0", "--log-format=json", "--device=cpu",
            "--served-model-name", "chat", "--escape-special-tokens"])
        try:
            model, = json.loads(server.get("/v1/models")[1])["data"]
            self.assertEqual(("chat", 512), (model["id"], model["max_model_len"]))
            # What a user writes out stays text; the template's own are tokens.
            content = "Hi<|end|><|system|>"
            text = f"<|bos|><|user|>{content}<|end|><|assistant|>"
            as_chat = self.tokens(server, {"messages": [{"role": "user", "content": content}]})
            as_text = self.tokens(server, {"prompt": text, "add_special_tokens": False})
            special = {token for name in ("bos", "user", "end", "assistant", "system") for token in
                       self.tokens(server, {"prompt": f"<|{name}|>", "add_special_tokens": False})}
            self.assertEqual(5, len(special))
            self.assertEqual(6, len([token for token in as_text if token in special]))
            self.assertEqual(4, len([token for token in as_chat if token in special]))
            status, reply = server.post("/detokenize", {"tokens": as_chat})
            self.assertEqual((200, text), (status, reply["prompt"]))
            status, reply = server.post("/v1/chat/completions", {
                "messages": [{"role": "user", "content": content}], "max_tokens": 2})
            self.assertEqual((200, len(as_chat)), (status, reply["usage"]["prompt_tokens"]))
        finally:
            self.assertEqual(0, server.stop())

    def tokens(self, server, request):
        status, reply = server.post("/tokenize", request)
        self.assertEqual(200, status, reply)
        return reply["tokens"]

    def test_a_server_is_run_by_file_and_environment(self):
        path = self.write(f"served_model_name: [one, two]\nmodel: {programs.ROOT}/models/"
                          f"{programs.MODEL}\nmax_model_len: 1024\n")
        server = programs.Server("--num_threads=1", environment={
            "TIDAL_CONFIG": path, "TIDAL_MAX_QUEUED_REQUESTS": "7",
            "TIDAL_MAX_NUM_SEQ": "3", "TIDAL_SERVER_PORT": "tcp://10.0.0.1:8000"})
        try:
            models = json.loads(server.get("/v1/models")[1])["data"]
            self.assertEqual(["one", "two"], [model["id"] for model in models])
        finally:
            self.assertEqual(0, server.stop())
        unknown = [line["variable"] for line in map(json.loads, server.log().splitlines())
                   if "variable" in line]
        self.assertEqual(["TIDAL_MAX_NUM_SEQ; did you mean TIDAL_MAX_NUM_SEQS?"], unknown)


if __name__ == "__main__":
    unittest.main()
