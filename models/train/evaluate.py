#!/usr/bin/env python3
"""Accuracy of a model folder with full attention and with TIDAL plans, without a server.

    evaluate.py --model DIR --lengths 1024 4096 --plans 2+8+10:prob:shared:4/25 --budgets 128 256

A plan is LAYER+LAYER..:POOLING:SET[:SINKS/RECENT PERCENT], see decoder.py. The prompts are those of
tools/eval_retrieval.py --form=completion, so its numbers for a running server can be compared with
these.
"""

import argparse
import json
import pathlib
import sys
import time

import torch

from bpe import Tokenizer
from decoder import Decoder, parse_plan
from documents import BOS, END, EOS
from model import load_hf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import retrieval_tasks  # noqa: E402


def prompt_ids(tok, prompt):
    text = prompt.text
    if prompt.is_chat:
        text = f"<|user|>{text}<|end|><|assistant|>"
    return [BOS] + tok.encode(text, specials=True)


def stop_tables(tok, vocab, device):
    """Which tokens end an answer, by whether it is a chat's; else it is a line."""
    chat = torch.zeros(vocab, dtype=torch.bool, device=device)
    chat[EOS] = chat[END] = True
    line = chat.clone()
    for i, raw in tok.raw.items():
        line[i] |= b"\n" in raw
    return {True: chat, False: line}


def measure(dec, tok, stops, task, length, modes, options):
    """Share of right answers of one cell in each mode."""
    right = dict.fromkeys(modes, 0)
    for first in range(0, options.n, options.batch):
        prompts = [
            retrieval_tasks.make_prompt(
                task, False, length, i, options.seed, lambda text: 1 + len(tok.encode(text))
            )
            for i in range(first, min(first + options.batch, options.n))
        ]
        new = max(map(retrieval_tasks.max_answer_tokens, prompts))
        state = dec.batch([prompt_ids(tok, p) for p in prompts], new + 1)
        for mode, plan in modes.items():
            rows = dec.generate(state, new, plan, stops[prompts[0].is_chat])
            for prompt, row in zip(prompts, rows):
                text = tok.decode([i for i in row if i >= 0 and i not in (EOS, END)])
                right[mode] += retrieval_tasks.is_right(prompt, text)
    return {mode: round(count / options.n, 4) for mode, count in right.items()}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--model", required=True)
    ap.add_argument("--out", default="results.json")
    ap.add_argument("--n", type=int, default=100, help="prompts of a cell")
    ap.add_argument("--batch", type=int, default=4)
    ap.add_argument("--lengths", type=int, nargs="*", default=[1024, 4096])
    ap.add_argument("--tasks", nargs="*", default=list(retrieval_tasks.TASKS))
    ap.add_argument("--plans", nargs="*", default=["2+8+10:prob:shared:4/25"])
    ap.add_argument("--budgets", type=int, nargs="*", default=[64, 128, 256])
    ap.add_argument("--seed", type=int, default=1)
    options = ap.parse_args()

    cuda = torch.cuda.is_available()
    tok = Tokenizer(str(pathlib.Path(options.model) / "tokenizer.json"))
    dec = Decoder(
        load_hf(options.model), "cuda" if cuda else "cpu", torch.bfloat16 if cuda else torch.float32
    )
    stops = stop_tables(tok, dec.c.vocab, dec.dev)
    modes = {"full": None}
    for plan in options.plans:
        modes.update({f"{plan} k{k}": parse_plan(plan, k) for k in options.budgets})
    cells, start = {}, time.time()
    for length in options.lengths:
        for task in options.tasks:
            cells[f"{task} {length}"] = measure(dec, tok, stops, task, length, modes, options)
            print(f"{time.time() - start:6.0f} s {task} {length} {cells[f'{task} {length}']}")
            with open(options.out, "w", encoding="utf-8") as file:
                json.dump({"n": options.n, "seed": options.seed, "cells": cells}, file, indent=1)


if __name__ == "__main__":
    main()
