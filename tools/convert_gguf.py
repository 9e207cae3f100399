#!/usr/bin/env python3
"""Turns a GGUF file of a Llama model into a folder in Hugging Face's form, with weights in bf16.

Quantized tensors are dequantized and rounded to bf16, so the folder is as good as the file was, not
as the model it was made from. Needs the packages gguf and numpy. Whatever the file has that is not
known here is refused by name: a folder that is written is complete.

    tools/convert_gguf.py MODEL.gguf DIR
"""

import argparse
import json
import pathlib
import re
import struct
import sys

try:
    import gguf
    import numpy as np
except ImportError as error:
    sys.exit(f"convert_gguf: {error}; pip install gguf")

# GGUF's names of the tensors, and Hugging Face's.
MODEL_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
LAYER_TENSOR = re.compile(r"blk\.(\d+)\.(\w+)\.weight")

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
              "use_regex": True}
# What cuts a text into pieces, by tokenizer.ggml.pre.
PRE_TOKENIZERS = {
    "gpt-2": BYTE_LEVEL,
    "smollm": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
}
CONTROL_TOKEN, USER_DEFINED_TOKEN = 3, 4  # of tokenizer.ggml.token_type


class Metadata:
    """The key-value pairs of a GGUF file."""

    def __init__(self, reader):
        self._fields = reader.fields

    def get(self, key, default=None):
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def __getitem__(self, key):
        value = self.get(key)
        if value is None:
            raise ValueError(f"{key}: missing")
        return value

    def require(self, key, allowed):
        value = self.get(key)
        if value not in allowed:
            raise ValueError(f"{key}: must be {' or '.join(map(repr, allowed))}, got {value!r}")
        return value

    def refuse(self, *prefixes):
        for key in self._fields:
            if key.startswith(prefixes):
                raise ValueError(f"{key}: not supported")

    def decimal(self, key):
        """The shortest decimal of a float32."""
        return float(str(np.float32(self[key])))


def special_ids(metadata):
    """Ids of the special tokens that the file names, as config.json calls them."""
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding",
             "unk_token_id": "unknown"}
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    return {name: token for name, token in ids.items() if token is not None}


def model_config(metadata, is_tied):
    metadata.refuse("llama.rope.scaling.", "llama.expert")
    hidden, heads = metadata["llama.embedding_length"], metadata["llama.attention.head_count"]
    head_dim = metadata.get("llama.rope.dimension_count", hidden // heads)
    metadata.require("llama.attention.key_length", (None, head_dim))
    metadata.require("llama.attention.value_length", (None, head_dim))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "hidden_size": hidden,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get("llama.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": metadata.decimal("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": metadata.decimal("llama.rope.freq_base"),
        "tie_word_embeddings": is_tied,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        **special_ids(metadata),
    }


def tokenizer(metadata):
    """tokenizer.json of a byte-level BPE vocabulary."""
    metadata.require("tokenizer.ggml.model", ("gpt2",))
    metadata.require("tokenizer.ggml.add_bos_token", (False, None))
    pre_tokenizer = PRE_TOKENIZERS[metadata.require("tokenizer.ggml.pre", tuple(PRE_TOKENIZERS))]
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token, "content": tokens[token], "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": kind == CONTROL_TOKEN}
            for token, kind in enumerate(types) if kind in (CONTROL_TOKEN, USER_DEFINED_TOKEN)],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config(metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    named = {name.removesuffix("_id"): tokens[token]
             for name, token in special_ids(metadata).items()}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
            "add_bos_token": False, "add_eos_token": False,
            "model_max_length": metadata["llama.context_length"], **named}


def hugging_face_name(name):
    if name in MODEL_TENSORS:
        return MODEL_TENSORS[name]
    match = LAYER_TENSOR.fullmatch(name)
    if not match or match[2] not in LAYER_TENSORS:
        raise ValueError(f"tensor {name}: not known in a Llama model")
    return f"model.layers.{match[1]}.{LAYER_TENSORS[match[2]]}.weight"


def expected_shapes(config):
    """Shape of each tensor, by Hugging Face's name."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    q = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    layer = {"input_layernorm": [hidden], "post_attention_layernorm": [hidden],
             "self_attn.q_proj": [q, hidden], "self_attn.k_proj": [kv, hidden],
             "self_attn.v_proj": [kv, hidden], "self_attn.o_proj": [hidden, q],
             "mlp.gate_proj": [inner, hidden], "mlp.up_proj": [inner, hidden],
             "mlp.down_proj": [hidden, inner]}
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], hidden],
              "model.norm.weight": [hidden]}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = [config["vocab_size"], hidden]
    for index in range(config["num_hidden_layers"]):
        shapes.update({f"model.layers.{index}.{name}.weight": shape
                       for name, shape in layer.items()})
    return shapes


def to_bf16(values):
    """The bits of float32 values rounded to bf16, ties to even. Shape kept."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def interleaved_to_halves(rows, heads):
    """Rows of q or k in Hugging Face's order.

    GGUF puts the two dimensions that one rotation turns side by side; Hugging Face has the first of
    each pair in the first half of a head and the second in the second half.
    """
    out, inner = rows.shape
    return rows.reshape(heads, out // heads // 2, 2, inner).swapaxes(1, 2).reshape(out, inner)


def bf16_weights(tensor, config):
    """The bits of a tensor as Hugging Face has it."""
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    if not np.isfinite(values).all():
        raise ValueError(f"tensor {tensor.name}: not all of its values are finite")
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    if kind := re.search(r"attn_[qk]\b", tensor.name):
        values = interleaved_to_halves(values, heads[kind[0]])
    return to_bf16(values)


def write_safetensors(path, tensors, config):
    """model.safetensors: the length of the header, the header, the tensors in its order."""
    shapes = expected_shapes(config)
    if extra := set(tensors) - set(shapes):
        raise ValueError(f"tensor {tensors[min(extra)].name}: not part of this model")
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        if name not in tensors:
            raise ValueError(f"tensor {name}: missing")
        # GGUF counts dimensions from the innermost.
        found = [int(size) for size in reversed(tensors[name].shape)]
        if found != shape:
            raise ValueError(f"tensor {tensors[name].name}: its shape must be {shape}, is {found}")
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in shapes:
            bf16_weights(tensors[name], config).tofile(file)


def convert(source, folder):
    reader = gguf.GGUFReader(source)
    metadata = Metadata(reader)
    metadata.require("general.architecture", ("llama",))
    tensors = {hugging_face_name(tensor.name): tensor for tensor in reader.tensors}
    config = model_config(metadata, is_tied="lm_head.weight" not in tensors)
    texts = {
        "config.json": config,
        "generation_config.json": {name: token for name, token in special_ids(metadata).items()
                                   if name != "unk_token_id"},
        "tokenizer.json": tokenizer(metadata),
        "tokenizer_config.json": tokenizer_config(metadata),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", tensors, config)
    for name, content in texts.items():
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    if template := metadata.get("tokenizer.chat_template"):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        convert(options.source, options.folder)
    except (OSError, ValueError) as error:
        print(f"convert_gguf: {options.source}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
