"""Tokenizers of real models, out of packages that carry them; none is kept in this repository.

litellm has two as tokenizer.json; mistral-common has Tekken as a list of ranks; the source package
of llama-cpp-python has vocabularies of many models as GGUF files, which lack the steps around the
model: they are written here as the models' own files have them.
"""

import base64
import json
import pathlib
import struct
import subprocess
import sys
import tarfile
import zipfile

from tokenizer_kinds import (GPT4, SPM_DECODER, SPM_NORMALIZER, byte_level, decoder, metaspace,
                             pre, replace, split, template)

LLAMA3 = GPT4
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
          r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DIGITS = {"type": "Digits", "individual_digits": True}
NFC = {"type": "NFC"}
BYTES = byte_level(use_regex=False)


def fetch(folder, package, *options):
    """The file of a package, downloaded once into `folder`; None when it cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = package.split("==")[0].replace("-", "_")
    if not (found := sorted(folder.glob(prefix + "-*"))):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                        "--disable-pip-version-check", "--dest", folder, *options, package],
                       check=False)
        found = sorted(folder.glob(prefix + "-*"))
    return found[0] if found else None


def litellm(folder):
    if package := fetch(folder, "litellm"):
        with zipfile.ZipFile(package) as archive:
            for name in archive.namelist():
                if name.endswith("_tokenizer.json"):
                    yield pathlib.Path(name).stem, json.loads(archive.read(name))


def config(vocab, merges, added=(), **parts):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "ignore_merges": False, "vocab": vocab, "merges": merges, **parts.pop("model", {})}
    tokens = [{"id": vocab[token], "content": token, "single_word": False, "lstrip": False,
               "rstrip": False, "normalized": False, "special": special}
              for token, special in added]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
            "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": model, **parts}


def splits(token, ranks):
    """The merges that could make a token, the likeliest first."""
    pairs = [(token[:i], token[i:]) for i in range(1, len(token))]
    pairs = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
    return sorted(pairs, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))


def tekken(folder):
    package = fetch(folder, "mistral-common")
    if package is None:
        return
    with zipfile.ZipFile(package) as archive:
        name = max(n for n in archive.namelist() if pathlib.Path(n).name.startswith("tekken_"))
        data = json.loads(archive.read(name))
    settings = data["config"]
    special = settings["default_num_special_tokens"]
    count = settings["default_vocab_size"] - special
    ranks = {base64.b64decode(token["token_bytes"]): token["rank"]
             for token in data["vocab"][:count]}
    written = {token: "".join(map(ALPHABET.__getitem__, token)) for token in ranks}
    merges = [(written[a], written[b]) for token in sorted(ranks, key=ranks.get)
              for a, b in splits(token, ranks)]
    added = [(token["token_str"], True) for token in data.get("special_tokens") or []]
    vocab = {token: i for i, (token, _) in enumerate(added)}
    vocab |= {written[token]: rank + special for token, rank in ranks.items()}
    yield "tekken", config(
        vocab, merges, added, decoder=byte_level(), model={"ignore_merges": True},
        pre_tokenizer=pre(split(Regex=settings["pattern"]), BYTES))


def byte_alphabet():
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = iter(range(0x100, 0x200))
    return {byte: chr(byte if byte in printable else next(others)) for byte in range(256)}


ALPHABET = byte_alphabet()

# Of each GGUF file with byte-level tokens: normalizer, pre-tokenizer, settings of the model.
BYTE_LEVEL = {
    "gpt-2": (None, byte_level(), {}),
    "llama-bpe": (None, pre(split(Regex=LLAMA3), BYTES), {"ignore_merges": True}),
    "qwen2": (NFC, pre(split(Regex=QWEN2), BYTES), {}),
    "qwen35": (NFC, pre(split(Regex=QWEN35), BYTES), {}),
    "starcoder": (None, pre(DIGITS, byte_level()), {}),
    "command-r": (NFC, pre(DIGITS, byte_level()), {}),
    "falcon": (None, pre({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(),
                         {"type": "Digits", "individual_digits": False},
                         split(Regex="[0-9][0-9][0-9]")), {}),
    "deepseek-coder": (None, pre(
        split(Regex="[\r\n]"), split(Regex=r"\s?\p{L}+"), split(Regex=r"\s?\p{P}+"),
        split(Regex="[一-龥\u0800-一가-\ud7ff]+"), DIGITS, BYTES), {}),
    "gpt-neox": (NFC, byte_level(), {}),
}
UNKNOWN = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
# Of each with SentencePiece's tokens: the steps around the model.
SENTENCE_PIECE = {
    "llama-spm": {"normalizer": SPM_NORMALIZER, "decoder": SPM_DECODER},
    "llama-spm without legacy": {"pre_tokenizer": metaspace("first", False),
                                 "decoder": SPM_DECODER},
    "phi-3": {"normalizer": SPM_NORMALIZER, "decoder": SPM_DECODER},
    "baichuan": {"normalizer": replace("▁", String=" "),
                 "decoder": decoder(replace(" ", String="▁"), "ByteFallback", "Fuse")},
    "gemma-4": {"normalizer": replace("▁", String=" "),
                "pre_tokenizer": split("MergedWithPrevious", String=" "),
                "decoder": decoder(replace(" ", String="▁"), "ByteFallback", "Fuse")},
}
CONTROL, USER_DEFINED = 3, 4  # token types of a GGUF file


class GgufFields:
    """The key-value pairs of a GGUF file. The package gguf takes ten seconds for 128K tokens."""

    NUMBERS = dict(enumerate("<B <b <H <h <I <i <f <?".split())) | {10: "<Q", 11: "<q", 12: "<d"}
    STRING, ARRAY = 8, 9

    def __init__(self, data):
        self._data, self._at = data, 0
        magic, _, _, count = self._number("<4sIQQ", whole=True)
        assert magic == b"GGUF", magic
        self.values = {self._string(): self._value(self._number("<I")) for _ in range(count)}

    def _number(self, form, whole=False):
        numbers = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return numbers if whole else numbers[0]

    def _string(self):
        end = self._number("<Q") + self._at
        text, self._at = self._data[self._at:end].decode("utf-8"), end
        return text

    def _value(self, kind):
        if kind == self.STRING:
            return self._string()
        if kind != self.ARRAY:
            return self._number(self.NUMBERS[kind])
        kind, count = self._number("<IQ", whole=True)
        if kind in self.NUMBERS:
            order, letter = self.NUMBERS[kind]
            return list(self._number(f"{order}{count}{letter}", whole=True))
        return [self._value(kind) for _ in range(count)]


def read_gguf(path):
    fields = GgufFields(path.read_bytes()).values
    return {name.removeprefix("tokenizer.ggml."): value for name, value in fields.items()
            if name.startswith("tokenizer.ggml.")}


def merges_by_score(tokens, scores):
    ids = {token: i for i, token in enumerate(tokens)}
    found = [(score, pair) for token, score in zip(tokens, scores) for pair in splits(token, ids)]
    return [pair for _, pair in sorted(found, key=lambda entry: -entry[0])]


def from_gguf(path, name):
    data = read_gguf(path)
    tokens = data["tokens"]
    vocab = {token: i for i, token in enumerate(tokens)}
    added = [(token, kind == CONTROL) for token, kind in zip(tokens, data["token_type"])
             if kind in (CONTROL, USER_DEFINED) and token]
    first = tokens[data["bos_token_id"]]
    post_processor = template([first], [], vocab)
    if name in BYTE_LEVEL:
        normalizer, pre_tokenizer, model = BYTE_LEVEL[name]
        return config(vocab, data["merges"], added, normalizer=normalizer, decoder=byte_level(),
                      pre_tokenizer=pre_tokenizer, post_processor=post_processor, model=model)
    merges = [merge.split(" ") for merge in data["merges"]] if "merges" in data \
        else merges_by_score(tokens, data["scores"])
    return config(vocab, merges, added, model=UNKNOWN, post_processor=post_processor,
                  **SENTENCE_PIECE[name])


def llama_cpp(folder):
    package = fetch(folder, "llama-cpp-python", "--no-binary", ":all:", "--no-build-isolation")
    if package is None:
        return
    vocabularies = folder / "gguf"
    if not vocabularies.exists():
        with tarfile.open(package) as archive:
            for member in archive:
                name = pathlib.Path(member.name).name
                if name.startswith("ggml-vocab-") and name.endswith(".gguf"):
                    vocabularies.mkdir(exist_ok=True)
                    (vocabularies / name).write_bytes(archive.extractfile(member).read())
    for name in BYTE_LEVEL | SENTENCE_PIECE:
        path = vocabularies / f"ggml-vocab-{name.split(' ')[0]}.gguf"
        if path.exists():
            yield name, from_gguf(path, name)


SOURCES = {"litellm": litellm, "mistral-common": tekken, "llama-cpp-python": llama_cpp}
