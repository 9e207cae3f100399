"""tidal-bench and its sub-commands list their flags, and take dashes for underscores.

    bench_help_test.py BENCH
"""

import subprocess
import sys
import unittest

BENCH = None
# A flag of each mode, and one that it has not.
FLAGS = {(): ("contexts", "kernel_contexts"), ("kernels",): ("kernel_contexts", "contexts"),
         ("load",): ("request_rate", "contexts")}


def run(*arguments):
    return subprocess.run([BENCH, *arguments], capture_output=True, text=True, timeout=60)


class BenchHelpTest(unittest.TestCase):
    def test_help_lists_the_flags_of_the_mode(self):
        for mode, (own, other) in FLAGS.items():
            done = run(*mode, "--help")
            self.assertIn(done.returncode, (0, 1))  # Abseil's help ends with 1
            self.assertIn(f"--{own}", done.stdout)
            self.assertIn("--json", done.stdout)
            self.assertNotIn(f"--{other} ", done.stdout)
            self.assertNotIn("No flags matched", done.stdout)
            self.assertEqual("", done.stderr)

    def test_dashes_for_underscores(self):
        for arguments, message in ((("--token-budget=-1",), "--token_budget: must be at least 0"),
                                   (("kernels", "--kernel-contexts", "0"),
                                    "--kernel_contexts: must be positive numbers"),
                                   (("load", "--num-requests=0"), "num_requests: must be at least")):
            done = run(*arguments)
            self.assertEqual(1, done.returncode)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    BENCH = sys.argv.pop()
    unittest.main()
