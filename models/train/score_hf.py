#!/usr/bin/env python3
"""Score the questions of tests/golden/scores.json with transformers.

    score_hf.py --model DIR --golden FILE [--write]

For every choice of a question: the sum of the log probabilities of its tokens after the context,
and whether each is the likeliest. For every text: the sum over all of it, after the prefix token.
In float32 over the bf16 weights. --write replaces what stands in the file; else the largest
difference is printed, and anything beyond another order of summation ends with 1.

Tokens are found as lm-evaluation-harness finds them: context and choice encoded together, without
special tokens; spaces at the end of a context belong to the choice.
"""

import argparse
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 2e-3


@torch.no_grad()
def score(model, context_ids, ids):
    """The sum over `ids`, and whether all are greedy."""
    logits = model(torch.tensor([context_ids + ids])).logits[0].float()
    logprobs = logits.log_softmax(-1)[len(context_ids) - 1 : -1]
    total = logprobs[range(len(ids)), ids].sum().item()
    return round(total, 5), logprobs.argmax(-1).tolist() == ids


def split(tokenizer, context, choice):
    spaces = len(context) - len(context.rstrip())
    if spaces > 0:
        context, choice = context[:-spaces], context[-spaces:] + choice
    whole = tokenizer.encode(context + choice, add_special_tokens=False)
    size = len(tokenizer.encode(context, add_special_tokens=False))
    return whole[:size], whole[size:]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--model", required=True)
    ap.add_argument("--golden", required=True)
    ap.add_argument("--write", action="store_true")
    options = ap.parse_args()
    path = pathlib.Path(options.golden)
    golden = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()

    worst = 0
    for question in golden["questions"]:
        scores = [
            score(model, *split(tokenizer, question["context"], choice))
            for choice in question["choices"]
        ]
        old = question.get("scores", [])
        worst = max([worst, *(abs(a[0] - b[0]) for a, b in zip(old, scores))])
        question["scores"] = scores
    prefix = tokenizer.encode(golden["prefix_token"], add_special_tokens=False)
    for text in golden["texts"]:
        ids = tokenizer.encode(text["text"], add_special_tokens=False)
        total, _ = score(model, prefix, ids)
        worst = max(worst, abs(text.get("score", total) - total))
        text.update(score=total, tokens=len(ids))
    print(f"largest difference: {worst:.5f}")
    if options.write:
        text = json.dumps(golden, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")
    elif worst > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
