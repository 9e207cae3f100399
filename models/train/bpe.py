"""Byte-level BPE in plain Python: training, encoding, decoding, and the tokenizer.json files.

The encoder reads any tokenizer.json of this shape (Split by regex + ByteLevel, BPE model), so that
data preparation needs no compiled tokenizer. Words are cached, which makes it fast enough for the
whole corpus.

    bpe.py train --vocab 4096 --out DIR FILE...      writes the tokenizer files
"""

import argparse
import json
import os
from collections import Counter, defaultdict

import regex

# The pre-tokenizer of Qwen2: one digit per token, words with their leading space or punctuation
# mark.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = [
    "<|bos|>",
    "<|eos|>",
    "<|pad|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|reserved|>",
]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' +"
    " message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>'"
    " }}{% endif %}"
)


def byte_chars():
    """The printable stand-ins that byte-level BPE uses for the 256 byte values (as in GPT-2)."""
    bs = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    cs, n = bs[:], 0
    for b in range(256):
        if b not in bs:
            bs.append(b)
            cs.append(256 + n)
            n += 1
    return dict(zip(bs, map(chr, cs)))


B2C = byte_chars()
C2B = {c: b for b, c in B2C.items()}


def train(counts, vocab_size):
    """counts: Counter of pre-tokens. Returns (vocab list, merges list)."""
    words = [([B2C[b] for b in w.encode()], n) for w, n in counts.items()]
    vocab = SPECIALS + [B2C[b] for b in sorted(B2C)]
    pairs, where = Counter(), defaultdict(set)
    for i, (w, n) in enumerate(words):
        for p in zip(w, w[1:]):
            pairs[p] += n
            where[p].add(i)
    merges = []
    while len(vocab) < vocab_size:
        best = max(pairs.items(), key=lambda kv: (kv[1], kv[0]))[0]
        merges.append(best)
        vocab.append(best[0] + best[1])
        for i in list(where[best]):
            w, n = words[i]
            for p in zip(w, w[1:]):
                pairs[p] -= n
                where[p].discard(i)
            out, j = [], 0
            while j < len(w):
                if j + 1 < len(w) and w[j] == best[0] and w[j + 1] == best[1]:
                    out.append(w[j] + w[j + 1])
                    j += 2
                else:
                    out.append(w[j])
                    j += 1
            words[i] = (out, n)
            for p in zip(out, out[1:]):
                pairs[p] += n
                where[p].add(i)
        for p in [p for p in (best,) if pairs[p] <= 0]:
            del pairs[p]
        if len(merges) % 500 == 0:
            pairs = Counter({p: n for p, n in pairs.items() if n > 0})
    return vocab, merges


class Tokenizer:
    def __init__(self, path):
        d = json.load(open(path, encoding="utf-8"))
        self.vocab = d["model"]["vocab"]
        self.names = {i: t for t, i in self.vocab.items()}
        self.rank = {
            tuple(m if isinstance(m, list) else m.split(" ")): i
            for i, m in enumerate(d["model"]["merges"])
        }
        self.special = {t["content"]: t["id"] for t in d["added_tokens"]}
        self.pattern = regex.compile(d["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
        self.split = regex.compile("(" + "|".join(regex.escape(s) for s in self.special) + ")")
        self.cache = {}
        self.raw = {
            i: bytes(C2B[c] for c in t) for i, t in self.names.items() if t not in self.special
        }

    def word(self, w):
        ids = self.cache.get(w)
        if ids is None:
            parts = [B2C[b] for b in w.encode()]
            while len(parts) > 1:
                r, i = min(
                    (self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(parts, parts[1:]))
                )
                if r == 1 << 30:
                    break
                a, b = parts[i], parts[i + 1]
                out, j = [], 0
                while j < len(parts):
                    if j + 1 < len(parts) and parts[j] == a and parts[j + 1] == b:
                        out.append(a + b)
                        j += 2
                    else:
                        out.append(parts[j])
                        j += 1
                parts = out
            ids = [self.vocab[p] for p in parts]
            if len(self.cache) < 400000:
                self.cache[w] = ids
        return ids

    def encode(self, text, specials=False):
        """Token ids; with specials, the names of the special tokens in the text become their
        ids.
        """
        out = []
        for k, part in enumerate(self.split.split(text) if specials else [text]):
            if specials and k % 2:
                out.append(self.special[part])
            else:
                for w in self.pattern.findall(part):
                    out.extend(self.word(w))
        return out

    def decode(self, ids):
        out = b""
        for i in ids:
            out += self.raw[i] if i in self.raw else self.names[i].encode()
        return out.decode("utf-8", errors="replace")


def write_files(out, vocab, merges, max_len=32768):
    os.makedirs(out, exist_ok=True)
    dump = lambda name, d: json.dump(
        d, open(os.path.join(out, name), "w", encoding="utf-8"), ensure_ascii=False, indent=1
    )
    ids = {t: i for i, t in enumerate(vocab)}
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    dump(
        "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": ids[s],
                    "content": s,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for s in SPECIALS
            ],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {
                        "type": "Split",
                        "pattern": {"Regex": PATTERN},
                        "behavior": "Isolated",
                        "invert": False,
                    },
                    byte_level,
                ],
            },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<|bos|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "pair": [
                    {"SpecialToken": {"id": "<|bos|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "<|bos|>", "type_id": 1}},
                    {"Sequence": {"id": "B", "type_id": 1}},
                ],
                "special_tokens": {
                    "<|bos|>": {"id": "<|bos|>", "ids": [ids["<|bos|>"]], "tokens": ["<|bos|>"]}
                },
            },
            "decoder": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": ids,
                "merges": [" ".join(m) for m in merges],
            },
        },
    )
    named = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|pad|>"}
    dump("special_tokens_map.json", {**named, "additional_special_tokens": SPECIALS[3:]})
    dump(
        "tokenizer_config.json",
        {
            **named,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_len,
            "clean_up_tokenization_spaces": False,
            "add_bos_token": True,
            "add_eos_token": False,
            "added_tokens_decoder": {
                str(ids[s]): {
                    "content": s,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for s in SPECIALS
            },
            "additional_special_tokens": SPECIALS[3:],
            "chat_template": CHAT_TEMPLATE,
        },
    )


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("cmd", choices=["train"])
    ap.add_argument(
        "files", nargs="+", help="text files; FILE:MB reads the first MB megabytes only"
    )
    ap.add_argument("--vocab", type=int, default=4096)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    counts, pat = Counter(), regex.compile(PATTERN)
    for f in a.files:
        f, _, mb = f.partition(":")
        text = open(f, encoding="utf-8").read()
        if mb:  # spread the sample over the whole file
            n, size = 64, int(float(mb) * 1e6) // 64
            text = "\n".join(
                text[i * (len(text) // n) : i * (len(text) // n) + size] for i in range(n)
            )
        counts.update(pat.findall(text.replace("\x1e", "\n\n")))
    counts = Counter({w: n for w, n in counts.items() if n > 1})
    vocab, merges = train(counts, a.vocab)
    write_files(a.out, vocab, merges)
    print(
        "%d pre-tokens, %d merges, longest: %s"
        % (len(counts), len(merges), sorted(vocab[8:], key=len)[-5:])
    )


if __name__ == "__main__":
    main()
