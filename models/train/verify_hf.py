#!/usr/bin/env python3
"""Compare with transformers, and renew the reference outputs of tests/golden.

    verify_hf.py --model DIR --golden DIR [--write]

- our tokenizer and AutoTokenizer give the same ids; the chat template renders as expected;
- AutoModelForCausalLM in float32 gives the logits of our own forward;
- every prompt of golden.json gives the top-20 logits and the greedy tokens that stand there
  (transformers, full attention) and the TIDAL outputs (decoder.py): tokens, logits and selected
  positions. --write replaces them.

Ends with 1 when anything differs by more than another order of summation can explain.
"""

import argparse
import inspect
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from bpe import Tokenizer
from decoder import Decoder, parse_plan
from documents import BOS
from model import load_hf

PLANS = [
    ("2+8+10:prob:shared:4/25", 256),
    ("2+8+10:prob:shared:4/25", 64),
    ("2+9:prob:shared", 64),
    ("2+9:max:kv", 64),
]
GREEDY_TOKENS = 64
TIE = 1e-2  # where the two best logits are closer than this, either may win
LOGITS = 2e-3  # largest difference of a logit between two orders of summation
SELECTED = 0.99  # share of selected positions that agree: scores at the edge of a set may tie


def top20(logits):
    best = logits.topk(20)
    return best.indices.tolist(), [round(value, 5) for value in best.values.tolist()]


@torch.no_grad()
def full_outputs(hf, prompt, ids):
    """What transformers computes: top-20 logits, greedy tokens and their margins."""
    current, tokens, margins = torch.tensor([ids], device=hf.device), [], []
    # The cache is filled in place. Its argument was renamed in transformers 5.
    name = "cache" if "cache" in inspect.signature(hf.forward).parameters else "past_key_values"
    cache = {name: DynamicCache(config=hf.config), "use_cache": True}
    for step in range(GREEDY_TOKENS):
        logits = hf(current, **cache).logits[0, -1].float()
        if step == 0:
            top_ids, top_logits = top20(logits)
        two = logits.topk(2).values
        margins.append(round(float(two[0] - two[1]), 4))
        tokens.append(int(logits.argmax()))
        current = torch.tensor([[tokens[-1]]], device=hf.device)
    return {
        "prompt": prompt,
        "ids": ids,
        "top20_ids": top_ids,
        "top20_logits": top_logits,
        "greedy_ids": tokens,
        "greedy_margin": margins,
    }


def selected_positions(trace):
    """The sets of each selection layer, [KV head][positions, ascending]."""
    result = {}
    for layer, (index, valid) in trace.items():
        pairs = zip(index[0].tolist(), valid[0].tolist())
        result[str(layer)] = [sorted(i for i, ok in zip(*head) if ok) for head in pairs]
    return result


def tidal_outputs(dec, tok, record):
    """TIDAL decoding of one prompt under each plan."""
    state = dec.batch([record["ids"]], GREEDY_TOKENS + 2)
    first = dec.generate(state, 1, None)[0][0]
    position = len(record["ids"])
    outputs = []
    for plan, k in PLANS:
        settings = parse_plan(plan, k)
        tokens = dec.generate(state, GREEDY_TOKENS, settings)[0]
        trace = {}
        logits = dec.step(
            state,
            torch.tensor([first], device=dec.dev),
            torch.tensor([position], device=dec.dev),
            settings,
            trace,
        )[0]
        top_ids, top_logits = top20(logits)
        first_step = {
            "token": first,
            "position": position,
            "top20_ids": top_ids,
            "top20_logits": top_logits,
            "selected": selected_positions(trace),
        }
        outputs.append(
            dict(settings, greedy_ids=tokens, first_step=first_step, greedy_text=tok.decode(tokens))
        )
    return outputs


def largest_difference(values, others):
    return max(abs(a - b) for a, b in zip(values, others, strict=True))


def shared_positions(sets, others):
    """The share of selected positions that stand in both, over all layers and KV heads."""
    pairs = [(a, b) for layer, heads in sets.items() for a, b in zip(heads, others[layer])]
    return sum(len(set(a) & set(b)) for a, b in pairs) / sum(len(a) for a, _ in pairs)


def differences(new, record):
    """What of a record came out otherwise, in words; empty when all is equal up to ties."""
    found = []
    pairs = zip(new["greedy_ids"], record["greedy_ids"], record["greedy_margin"])
    for index, (a, b, margin) in enumerate(pairs):
        if a != b:  # what follows another token cannot be compared
            found += [] if margin < TIE else [f"full: another token at {index}"]
            break
    if (gap := largest_difference(new["top20_logits"], record["top20_logits"])) > LOGITS:
        found.append(f"full: a logit {gap:.1e} apart")
    for plan, a, b in zip(PLANS, new["tidal"], record["tidal"], strict=True):
        first, other = a["first_step"], b["first_step"]
        if a["greedy_ids"] != b["greedy_ids"]:
            found.append(f"{plan}: other tokens")
        if (share := shared_positions(first["selected"], other["selected"])) < SELECTED:
            found.append(f"{plan}: only {share:.3f} of the selected positions agree")
        elif (gap := largest_difference(first["top20_logits"], other["top20_logits"])) > LOGITS:
            found.append(f"{plan}: a logit {gap:.1e} apart")
    return found


def check_tokenizer(tok, hf_tok, texts):
    for text in texts:
        assert [BOS] + tok.encode(text, specials=True) == hf_tok(text)["input_ids"], text
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi\n\nthere"},
    ]
    got = hf_tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    want = "<|bos|><|system|>Be brief.<|end|><|user|>Hi\n\nthere<|end|><|assistant|>"
    assert got == want, got


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--model", required=True)
    ap.add_argument("--golden", required=True, help="folder of golden.json")
    ap.add_argument("--write", action="store_true", help="replace golden.json")
    options = ap.parse_args()
    path = pathlib.Path(options.golden) / "golden.json"
    golden = json.loads(path.read_text(encoding="utf-8"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tok = Tokenizer(str(pathlib.Path(options.model) / "tokenizer.json"))
    check_tokenizer(
        tok, AutoTokenizer.from_pretrained(options.model), [r["prompt"] for r in golden]
    )
    hf = AutoModelForCausalLM.from_pretrained(
        options.model, dtype=torch.float32, attn_implementation="sdpa"
    )
    hf = hf.to(device).eval()
    ours = load_hf(options.model, device)
    ids = torch.tensor([golden[-1]["ids"][:1024]], device=device)
    with torch.no_grad():
        difference = float((hf(ids).logits.float() - ours.logits(ids)).abs().max())
    print(f"largest difference of logits over {ids.shape[1]} tokens: {difference:.2e}")

    dec = Decoder(ours, device, torch.float32)
    renewed, all_equal = [], difference <= LOGITS
    for record in golden:
        new = {"name": record["name"]}
        new.update(full_outputs(hf, record["prompt"], record["ids"]))
        new["greedy_text"] = tok.decode(new["greedy_ids"])
        new["tidal"] = tidal_outputs(dec, tok, new)
        found = differences(new, record)
        all_equal = all_equal and not found
        print(f"{record['name']}: {'; '.join(found) or 'equal'}", flush=True)
        renewed.append(new)
    if options.write:
        path.write_text(json.dumps(renewed), encoding="utf-8")
    return 0 if all_equal else 1


if __name__ == "__main__":
    sys.exit(main())
