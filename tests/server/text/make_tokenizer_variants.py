"""Writes tokenizer_variants.json: small tokenizers of every supported kind, and what the
`tokenizers` library makes of some texts with them.

    python tests/server/text/make_tokenizer_variants.py

Each entry is {"name", "config", "cases"}; a case is [text, ids, text decoded from the ids].
"""

import json
import pathlib

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

MERGES = ["h e", "l l", "he ll", "hell o", "Ġ hello", "Ġ Ġ", "a b", "b c", "ab c"]
VOCAB = {character: i for i, character in enumerate(sorted(ByteLevel.alphabet()))}
for merge in MERGES:
    VOCAB[merge.replace(" ", "")] = len(VOCAB)

ADDED = [
    {"content": "<L>", "lstrip": True},
    {"content": "<R>", "rstrip": True},
    {"content": "<LR>", "lstrip": True, "rstrip": True},
    {"content": "wörd", "single_word": True},
    {"content": "<ab>"},
    {"content": "<ab>c"},
    {"content": "<n>", "normalized": True, "special": False},
    {"content": "n><L", "normalized": True, "special": False},
    {"content": "  x", "special": False},
    {"content": "né", "special": False},
]
TEXTS = [
    "", "  ", "a <L> b <R>  c <LR> \u3000d", "<L><L>  <R> <R>", "<ab>c <ab>d <ab", "<n><L> <n>",
    "wörd swörd wörd1 wörd, _wörd wörd\u0301 (wörd)", "wörd\u200dx wördⓐ wörd²", "a   x  x <R>  x",
    "hello hello  hellohello abcabc", "é hello É né", "hello\n\nhello 12 hello's",
    "ab\u2028<L>\u00a0<R>\u0085 z",
]


def byte_level(prefix, use_regex):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True,
            "use_regex": use_regex}


def split(**pattern):
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def config(pre_tokenizer, added=(), post_processor=None, **model):
    tokens = []
    for i, token in enumerate(added):
        tokens.append({"id": len(VOCAB) + i, "single_word": False, "lstrip": False,
                       "rstrip": False, "normalized": False, "special": True, **token})
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
        "normalizer": None, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
        "decoder": byte_level(True, True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": VOCAB, "merges": MERGES, **model},
    }


def configs():
    gpt2 = byte_level(False, True)
    fewer = {token: i for token, i in VOCAB.items() if token not in ("z", "Ċ")}
    special = {"<s>": {"id": "<s>", "ids": [0], "tokens": ["!"]},
               "</s>": {"id": "</s>", "ids": [1, 2], "tokens": ['"', "#"]}}
    template = {"type": "TemplateProcessing", "special_tokens": special, "pair": [
        {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "</s>", "type_id": 0}}]}
    yield "added tokens", config(gpt2, ADDED)
    yield "prefix space", config(byte_level(True, True), ADDED)
    yield "no split", config(byte_level(False, False))
    yield "ignore_merges", config(gpt2, ignore_merges=True)
    yield "digits", config(sequence({"type": "Digits", "individual_digits": True}, gpt2))
    yield "splits", config(sequence(split(String="l"), split(Regex=r"\s?[^\s]{1,3}"),
                                    byte_level(True, False)))
    yield "unknown", config(gpt2, vocab={**fewer, "<unk>": len(VOCAB)}, unk_token="<unk>")
    yield "bytes without token", config(gpt2, vocab=fewer)
    yield "merges as pairs", config(gpt2, merges=[merge.split() for merge in MERGES])
    yield "template", config(gpt2, post_processor=template)
    yield "sequence of processors", config(gpt2, post_processor={"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        template]})


def main():
    entries = []
    for name, settings in configs():
        tokenizer = Tokenizer.from_str(json.dumps(settings))
        cases = []
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            cases.append([text, ids, tokenizer.decode(ids, skip_special_tokens=False)])
        entries.append({"name": name, "config": settings, "cases": cases})
    out = pathlib.Path(__file__).with_name("tokenizer_variants.json")
    out.write_text(json.dumps(entries, ensure_ascii=False, separators=(",", ":")) + "\n",
                   encoding="utf-8")
    print(f"{len(entries)} tokenizers, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
