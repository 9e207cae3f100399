"""Starts that cannot be, beside flags and models: one clear line, exit code 1, never an abort."""

import os
import pathlib
import resource
import subprocess
import tempfile
import unittest

import programs

MODEL = programs.ROOT / "models" / programs.MODEL
STARTS = {"tidal-server": [f"--model={MODEL}", "--device=cpu", "--http_port=0", "--grpc_port=0"],
          "tidal-gateway": ["--http_port=0"]}


def start(program, *arguments, open_files=None):
    """Exit code and standard error."""
    def limit():
        if open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    done = subprocess.run([programs.BIN_DIR / program, *STARTS[program], *arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=60, cwd=programs.ROOT,
                          preexec_fn=limit, env=programs.environment())
    return done.returncode, done.stderr


class StartErrorTest(unittest.TestCase):
    def test_few_open_files(self):
        # With fewer than 6 the loader finds no libraries, and says so with exit code 127.
        for program in STARTS:
            for files in [*range(6, 41), 64, 200]:
                code, error = start(program, open_files=files)
                self.assertEqual(1, code, f"{program}, {files}: {error}")
                self.assertRegex(error, rf"^{program}: open files: must be at least 256 beside "
                                        rf"those that are open, got \d+ with ulimit -n {files}\n$")
            for files in range(3, 6):
                self.assertIn(start(program, open_files=files)[0], (1, 127))

    def test_a_key_file_that_is_none(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "keys")
            os.mkfifo(path)
            for program in STARTS:
                code, error = start(program, f"--api_key_file={path}")
                self.assertEqual(1, code)
                self.assertIn(f"{program}: api_key_file: {path}: must be a regular file", error)


if __name__ == "__main__":
    unittest.main()
