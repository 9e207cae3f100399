#!/usr/bin/env python3
"""Tokenize the text groups of prepare_corpus.py.

    tokenize_corpus.py --corpus DIR --tokenizer tokenizer.json --out DIR [--procs 16]

Writes GROUP.npy (uint16 tokens), GROUP.off.npy (document offsets) and words.json (common words,
used as keys and values of the synthetic tasks).
"""

import argparse
import json
import os
import re
from collections import Counter
from multiprocessing import Pool

import numpy as np

from bpe import Tokenizer

SEP = "\x1e"
TOK = None


def init(path):
    global TOK
    TOK = Tokenizer(path)


def work(docs):
    return [np.array(TOK.encode(d), dtype=np.uint16) for d in docs]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--corpus", required=True)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--procs", type=int, default=os.cpu_count())
    ap.add_argument(
        "--limit-mb", type=float, default=0, help="read this much of each group only (smoke test)"
    )
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    common = Counter()
    with Pool(a.procs, init, (a.tokenizer,)) as pool:
        for g in ("tiny", "tech", "kids", "heldout", "books"):
            path = os.path.join(a.corpus, g + ".txt")
            if not os.path.exists(path):
                continue
            text = open(path, encoding="utf-8").read()
            if a.limit_mb:
                text = text[: int(a.limit_mb * 1e6)]
            docs = text.split(SEP)
            if g == "kids":
                common.update(re.findall(r"\b[a-z]{4,9}\b", text))
            batches, cur, size = [], [], 0
            for d in docs:
                cur.append(d)
                size += len(d)
                if size > 400000:
                    batches.append(cur)
                    cur, size = [], 0
            if cur:
                batches.append(cur)
            parts = [x for b in pool.imap(work, batches) for x in b]
            np.save(os.path.join(a.out, g + ".npy"), np.concatenate(parts))
            np.save(
                os.path.join(a.out, g + ".off.npy"),
                np.cumsum([0] + [len(p) for p in parts]).astype(np.int64),
            )
            n = sum(map(len, parts))
            print(
                "%-8s %4d documents %10d tokens %.3f bytes/token"
                % (g, len(parts), n, len(text.encode()) / n),
                flush=True,
            )
    words = [w for w, _ in common.most_common(4300)][300:]
    json.dump(words, open(os.path.join(a.out, "words.json"), "w"))


if __name__ == "__main__":
    main()
