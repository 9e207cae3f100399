"""docs/flags.md and docs/metrics.md are what the built programs say; a difference is found.

    reference_test.py BIN_DIR
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = None


def check(docs_dir):
    return subprocess.run([sys.executable, ROOT / "tools/make_reference.py", "--check",
                           f"--bin_dir={BIN_DIR}", f"--docs_dir={docs_dir}"],
                          capture_output=True, text=True)


class ReferenceTest(unittest.TestCase):
    def test_docs_are_what_the_programs_say(self):
        result = check(ROOT / "docs")
        self.assertEqual((0, ""), (result.returncode, result.stdout), result.stdout + result.stderr)

    def test_a_difference_is_shown(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, old, new in (("flags.md", "| `--max_num_seqs` | whole number | `256`",
                                    "| `--max_num_seqs` | whole number | `257`"),
                                   ("metrics.md", "| `tidal:ready` |", "| `tidal:reedy` |")):
                text = (ROOT / "docs" / name).read_text()
                self.assertIn(old, text)
                pathlib.Path(folder, name).write_text(text.replace(old, new))
            result = check(folder)
        self.assertEqual(1, result.returncode)
        for part in ("-| `--max_num_seqs` | whole number | `257`", "-| `tidal:reedy` |",
                     "+| `tidal:ready` |"):
            self.assertIn("\n" + part, result.stdout)


if __name__ == "__main__":
    BIN_DIR = sys.argv.pop()
    unittest.main()
