"""The same ids and texts as the `tokenizers` library, for every kind of tokenizer.

    python tokenizer_parity_test.py PROBE FOLDER [arguments of unittest]

PROBE is the program tokenizer_probe; FOLDER keeps downloads between runs. A package that cannot be
had is reported as skipped. Each tokenizer gets a share of the texts, all of them together every
text; with TIDAL_ALL_TEXTS=1 each gets all.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from tokenizers import Tokenizer

import tokenizer_kinds
import tokenizer_sources
import tokenizer_texts

TEXTS = 20_000
SEQUENCES = 400  # of random ids
SHOWN = 5
ALL_TEXTS = os.environ.get("TIDAL_ALL_TEXTS") == "1"

PROBE, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])


def probe(config, texts, ids):
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, name) for name in ("tokenizer", "input", "output")]
        paths[0].write_text(json.dumps(config), encoding="utf-8")
        paths[1].write_text(json.dumps({"texts": texts, "ids": ids}), encoding="utf-8")
        subprocess.run([PROBE, *paths], check=True)
        return json.loads(paths[2].read_text(encoding="utf-8"))


class ParityTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.texts = tokenizer_texts.all_texts(TEXTS)
        cls.every_character = tokenizer_texts.every_character()
        cls.shares = 0

    def share(self, texts, shares):
        """Every so many, from another one each time."""
        ParityTest.shares += 1
        return texts if ALL_TEXTS else texts[self.shares % shares::shares]

    def check(self, name, config, texts):
        with self.subTest(name):
            peer = Tokenizer.from_str(json.dumps(config))
            peer.no_truncation()
            peer.no_padding()
            encoded = [[e.ids for e in peer.encode_batch_fast(texts, add_special_tokens=special)]
                       for special in (True, False)]
            ids = encoded[0] + tokenizer_texts.random_ids(
                max(config["model"]["vocab"].values()) + 20,
                [token["id"] for token in config["added_tokens"]], SEQUENCES)
            decoded = [peer.decode_batch(ids, skip_special_tokens=skip) for skip in (False, True)]
            reply = probe(config, texts, ids)
            self.assertNotIn("error", reply, reply.get("error"))
            self.assert_equal(zip(*encoded), reply["encoded"], texts)
            self.assert_equal(zip(*decoded), reply["decoded"], ids)

    def assert_equal(self, expected, found, inputs):
        wrong = [entry for entry in zip(inputs, expected, found, strict=True)
                 if list(entry[1]) != entry[2]]
        self.assertEqual([], wrong[:SHOWN], f"{len(wrong)} differences")

    def check_all(self, kinds):
        for name, config in kinds:
            self.check(name, config, self.share(self.texts, 20))

    def test_small_tokenizers(self):
        of_bytes, of_characters, boundaries = tokenizer_kinds.bases()
        self.check_all(tokenizer_kinds.byte_level_kinds(of_bytes))
        self.check_all(tokenizer_kinds.boundary_kinds(boundaries))
        self.check_all(tokenizer_kinds.character_kinds(of_characters))
        self.check_all(tokenizer_kinds.affix_kinds())

    def test_every_character(self):
        boundaries = tokenizer_kinds.bases()[2]
        for name, config in tokenizer_kinds.every_character_kinds(boundaries):
            self.check(name, config, self.share(self.every_character, 8))

    def check_real(self, package):
        found = False
        for name, config in tokenizer_sources.SOURCES[package](FOLDER):
            found = True
            self.check(name, config, self.share(self.texts, 10))
        if not found:
            self.skipTest(f"{package} could not be downloaded")

    def test_litellm(self):
        self.check_real("litellm")

    def test_mistral_common(self):
        self.check_real("mistral-common")

    def test_llama_cpp_python(self):
        self.check_real("llama-cpp-python")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
