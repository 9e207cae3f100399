"""Small tokenizers of every kind that tokenizer.json can describe and we support."""

import itertools
import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenizer_texts import CODE, SENTENCES

ADDED = [
    {"content": "<s>", "special": True},
    {"content": "</s>", "special": True, "rstrip": True},
    {"content": "<pad>", "special": True, "lstrip": True},
    {"content": "<|im_start|>", "special": True, "lstrip": True, "rstrip": True},
    {"content": "<EOT>", "special": True, "normalized": True},
    {"content": "the", "single_word": True},
    {"content": "Größe", "normalized": True},
    {"content": "[INST]", "normalized": True, "rstrip": True},
    {"content": "\n\n"},
]
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def byte_level(prefix=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True,
            "use_regex": use_regex}


def split(behavior="Isolated", invert=False, **pattern):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def metaspace(scheme="always", split_words=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
            "split": split_words}


def replace(content, **pattern):
    return {"type": "Replace", "pattern": pattern, "content": content}


def strip(start, stop, content=" "):
    return {"type": "Strip", "content": content, "start": start, "stop": stop}


def normalizers(*steps):
    return {"type": "Sequence", "normalizers": [
        {"type": step} if isinstance(step, str) else step for step in steps]}


def pre(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def decoder(*steps):
    return {"type": "Sequence", "decoders": [
        {"type": step} if isinstance(step, str) else step for step in steps]}


def template(before, after, ids):
    special = {token: {"id": token, "ids": [ids[token]], "tokens": [token]}
               for token in before + after}
    single = [*({"SpecialToken": {"id": token, "type_id": 0}} for token in before),
              {"Sequence": {"id": "A", "type_id": 0}},
              *({"SpecialToken": {"id": token, "type_id": 0}} for token in after)]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair,
            "special_tokens": special}


SPM_NORMALIZER = normalizers({"type": "Prepend", "prepend": "▁"}, replace("▁", String=" "))
SPM_DECODER = decoder(replace(" ", String="▁"), "ByteFallback", "Fuse", strip(1, 0))


def trained(model, pre_tokenizer, **options):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(show_progress=False, **options)
    tokenizer.train_from_iterator((SENTENCES + CODE) * 3, trainer)
    return json.loads(tokenizer.to_str())


def with_added(config, added=ADDED):
    vocab = config["model"]["vocab"]
    tokens, ids = [], dict(vocab)
    for token in added:
        ids.setdefault(token["content"], len(ids))
        tokens.append({"id": ids[token["content"]], "single_word": False, "lstrip": False,
                       "rstrip": False, "normalized": False, "special": False, **token})
    return {**config, "added_tokens": tokens}, ids


def bases():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    of_bytes = trained(models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False),
                       vocab_size=1500, initial_alphabet=alphabet)
    of_bytes["decoder"] = byte_level()
    of_characters = trained(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True),
                            pre_tokenizers.Metaspace(), vocab_size=1500, limit_alphabet=300,
                            special_tokens=["<unk>", *(f"<0x{b:02X}>" for b in range(256))])
    of_characters["added_tokens"] = []
    of_characters["decoder"] = SPM_DECODER
    # Every byte merges with a letter on either side: ids tell where pieces end.
    vocab = {character: i for i, character in enumerate(alphabet)}
    merges = [pair for c in alphabet for pair in (("a", c), (c, "a"))]
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    boundaries = {**of_bytes, "model": {**of_bytes["model"], "vocab": vocab, "merges": merges}}
    return of_bytes, of_characters, boundaries


def byte_level_kinds(base):
    config, ids = with_added(base)
    gpt2 = byte_level()
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
        yield form, {**config, "normalizer": {"type": form}, "pre_tokenizer": gpt2}
    strips = {"type": "Strip", "strip_left": True, "strip_right": True}
    yield "strip", {**config, "normalizer": normalizers("NFC", strips, "Lowercase"),
                    "pre_tokenizer": byte_level(prefix=True)}
    yield "replace", {**config, "pre_tokenizer": gpt2, "normalizer": normalizers(
        replace("e", String="a"), replace("-", Regex=r"\s+|x+"), replace("", String="1"))}
    yield "gpt4", {**config, "pre_tokenizer": pre(split(Regex=GPT4), byte_level(use_regex=False))}
    yield "falcon", {**config, "pre_tokenizer": pre(
        {"type": "Punctuation", "behavior": "Contiguous"}, gpt2,
        {"type": "Digits", "individual_digits": False}, split(Regex="[0-9][0-9][0-9]"))}
    yield "pairs", {**config, "pre_tokenizer": gpt2, "model": {
        **config["model"], "merges": [" ".join(pair) for pair in config["model"]["merges"]]}}
    yield "ignore_merges", {**config, "pre_tokenizer": gpt2,
                            "model": {**config["model"], "ignore_merges": True}}
    yield "word ends", {**config, "pre_tokenizer": gpt2, "decoder": {
        "type": "BPEDecoder", "suffix": "Ġ"}}
    around = template(["<s>"], ["</s>", "<s>"], ids)
    yield "template", {**config, "pre_tokenizer": gpt2, "post_processor": {
        "type": "Sequence", "processors": [byte_level(), around]}}
    for name in ("BertProcessing", "RobertaProcessing"):
        processor = {"type": name, "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]],
                     "trim_offsets": True, "add_prefix_space": False}
        yield name, {**config, "pre_tokenizer": gpt2, "post_processor": processor}
    fewer = {t: i for t, i in config["model"]["vocab"].items() if t not in ("z", "é", "Ċ", "Ã")}
    merges = [m for m in config["model"]["merges"] if fewer.keys() >= {*m, "".join(m)}]
    holes = {**config, "pre_tokenizer": gpt2}
    for unk, fuse in itertools.product((None, "!"), (False, True)):
        model = {**config["model"], "vocab": fewer, "merges": merges, "unk_token": unk,
                 "fuse_unk": fuse}
        yield f"holes {unk} {fuse}", with_added({**holes, "model": model}, [])[0]


def boundary_kinds(base):
    config, _ = with_added(base, [])
    for behavior, invert in itertools.product(BEHAVIORS, (False, True)):
        step = split(behavior, invert, Regex=r"\p{L}+|\d|, ?|(?=-)")
        yield f"{behavior} {invert}", {**config, "pre_tokenizer": pre(
            step, byte_level(use_regex=False))}
    for behavior in BEHAVIORS:
        yield f"punctuation {behavior}", {**config, "pre_tokenizer": pre(
            {"type": "Punctuation", "behavior": behavior}, byte_level(use_regex=False))}
    yield "literal", {**config, "pre_tokenizer": pre(
        split("MergedWithNext", String="a "), split(String=""), byte_level(use_regex=False))}


def every_character_kinds(base):
    config, _ = with_added(base, [])
    steps = [{"type": "Digits", "individual_digits": True}, {"type": "Whitespace"},
             {"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"},
             {"type": "Digits", "individual_digits": False}]
    for step in steps:
        yield step["type"], {**config, "pre_tokenizer": pre(step, byte_level(use_regex=False))}
    for name in ("L", "M", "N", "P", "S", "Z", "Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No"):
        yield name, {**config, "pre_tokenizer": pre(split(Regex=f"\\p{{{name}}}"),
                                                    byte_level(use_regex=False))}
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
        yield f"every {form}", {**config, "normalizer": {"type": form},
                                "pre_tokenizer": byte_level(use_regex=False)}
    words, _ = with_added(base, [{"content": "a", "single_word": True}])
    yield "words", {**words, "pre_tokenizer": byte_level(use_regex=False)}


def character_kinds(base):
    config, ids = with_added(base)
    llama = {**config, "normalizer": SPM_NORMALIZER, "pre_tokenizer": None,
             "post_processor": template(["<s>"], [], ids)}
    yield "llama", llama
    for scheme, words in itertools.product(("always", "never", "first"), (True, False)):
        yield f"metaspace {scheme} {words}", {
            **config, "pre_tokenizer": metaspace(scheme, words), "decoder": metaspace(scheme)}
    model = config["model"]
    for fallback, fuse, unk in itertools.product((True, False), (True, False), ("<unk>", None)):
        vocab = {t: i for t, i in model["vocab"].items() if t not in ("<0xE2>", "<0x0A>")}
        for suffix, tokens in (("", model["vocab"]), (" with holes", vocab)):
            yield f"unknown {fallback} {fuse} {unk}{suffix}", {**llama, "added_tokens": [
                ], "post_processor": None, "model": {
                    **model, "byte_fallback": fallback, "fuse_unk": fuse, "unk_token": unk,
                    "vocab": tokens}}
    yield "spaces", {**config, "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None}
    yield "whitespace", {**config, "pre_tokenizer": pre(
        {"type": "Whitespace"}, metaspace("always"))}
    yield "split then first", {**config, "pre_tokenizer": pre(
        split("Removed", String="\n"), metaspace("first"))}
    yield "gemma", {**config, "normalizer": replace("▁", String=" "),
                    "pre_tokenizer": split("MergedWithPrevious", String=" "),
                    "decoder": decoder(replace(" ", String="▁"), "ByteFallback", "Fuse")}
    for step in (strip(2, 0), strip(0, 1, "e"), replace("é", Regex="e|^")):
        yield f"decoder {step['type']} {step.get('stop')}", {
            **config, "normalizer": SPM_NORMALIZER,
            "decoder": decoder(replace(" ", String="▁"), step, "ByteFallback")}
    yield "strip at the end", {**config, "normalizer": SPM_NORMALIZER, "decoder": decoder(
        replace(" ", String="▁"), "ByteFallback", "Fuse", strip(3, 0))}


def affix_kinds():
    for name, options in (("suffix", {"end_of_word_suffix": "</w>"}),
                          ("prefix", {"continuing_subword_prefix": "##"})):
        for unk, fallback in itertools.product((None, "<unk>"), (False, True)):
            model = models.BPE(unk_token=unk, byte_fallback=fallback, **options)
            config = trained(model, pre_tokenizers.Whitespace(), vocab_size=1200,
                             limit_alphabet=150, special_tokens=[
                                 "<unk>", *(f"<0x{b:02X}>" for b in range(256))], **options)
            config["decoder"] = json.loads(decoders.BPEDecoder(suffix="</w>").__getstate__())
            yield f"{name} {unk} {fallback}", with_added(config)[0]
            config = {**config, "model": {**config["model"], "ignore_merges": True}}
            yield f"{name} {unk} {fallback} ignore_merges", with_added(config)[0]
