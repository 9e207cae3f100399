#!/usr/bin/env python3
"""Compare with transformers, and renew the reference outputs of tests/golden.

    verify_hf.py --model DIR --golden DIR [--write]

- our tokenizer and AutoTokenizer give the same ids; the chat template renders as expected;
- AutoModelForCausalLM in float32 gives the logits of our own forward;
- every prompt of golden.json gives the top-20 logits and the greedy tokens that stand there
  (transformers, full attention) and the TIDAL outputs (decoder.py). --write replaces them.
"""

import argparse
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

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


def top20(logits):
    best = logits.topk(20)
    return best.indices.tolist(), [round(value, 5) for value in best.values.tolist()]


@torch.no_grad()
def full_outputs(hf, prompt, ids):
    """What transformers computes: top-20 logits, greedy tokens and their margins."""
    current, cache, tokens, margins = torch.tensor([ids], device=hf.device), None, [], []
    for step in range(GREEDY_TOKENS):
        out = hf(current, past_key_values=cache, use_cache=True)
        cache, logits = out.past_key_values, out.logits[0, -1].float()
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


def first_difference(tokens, others, margins):
    """None when equal up to ties, else the index of the first token that differs."""
    for index, (a, b) in enumerate(zip(tokens, others)):
        if a != b:
            return None if margins[index] < TIE else index
    return None


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
    renewed = []
    for record in golden:
        new = {"name": record["name"]}
        new.update(full_outputs(hf, record["prompt"], record["ids"]))
        new["greedy_text"] = tok.decode(new["greedy_ids"])
        new["tidal"] = tidal_outputs(dec, tok, new)
        at = first_difference(new["greedy_ids"], record["greedy_ids"], record["greedy_margin"])
        equal = [a["greedy_ids"] == b["greedy_ids"] for a, b in zip(new["tidal"], record["tidal"])]
        print(
            f"{record['name']}: full {'equal' if at is None else f'differs at {at}'}; tidal {equal}"
        )
        renewed.append(new)
    if options.write:
        path.write_text(json.dumps(renewed), encoding="utf-8")


if __name__ == "__main__":
    main()
