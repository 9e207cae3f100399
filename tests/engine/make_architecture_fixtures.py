#!/usr/bin/env python3
"""Makes tests/engine/architectures/: one small model with random weights for each form of the
architectures that the engine runs, written by transformers, and the logits that transformers
computes for it in float32 from weights rounded to bf16.

    pip install torch transformers safetensors numpy
    python3 tests/engine/make_architecture_fixtures.py [NAME ...]

expected.safetensors of each folder holds `tokens` (int32), `logits` (float32 [33, vocab], of the
tokens from the prompt's last on), `bf16_error`: how far the logits of its own bf16 run are from
these (the largest difference, and the root of the mean square), and `matters`: how far the
largest difference is when the model is run without what its folder is there to test.
"""

import copy
import dataclasses
import json
import pathlib
import sys

import numpy
import torch
import transformers
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).resolve().parent / "architectures"
PROMPT_TOKENS = 160
DECODE_TOKENS = 32  # rotary positions and windows are sized so that both lie beyond them

SHAPE = dict(vocab_size=48, hidden_size=64, intermediate_size=48, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1)
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}


def rope(rope_type, **fields):
    return {"rope_parameters": {"rope_type": rope_type, "rope_theta": 10000.0, **fields}}


@dataclasses.dataclass
class Variant:
    family: str  # transformers' name of the configuration
    config: dict  # over SHAPE
    without: dict  # changes that take away what this variant tests
    legacy_rope: str = ""  # write rope_scaling with the type under this key
    dtype: torch.dtype = torch.bfloat16  # of the file
    shard_size: str = "1GB"
    drop: tuple = ()  # fields of config.json that transformers derives when they are absent


VARIANTS = {
    "llama2_mha": Variant("Llama", {"num_key_value_heads": 4}, {"rope_parameters": {
        "rope_type": "default", "rope_theta": 1000000.0}}),
    "llama3_scaled": Variant("Llama", {
        "tie_word_embeddings": True,
        **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
               original_max_position_embeddings=64)}, {"rope_parameters": PLAIN}, "rope_type"),
    "llama_linear": Variant("Llama", rope("linear", factor=4.0), {"rope_parameters": PLAIN}, "type"),
    "llama_dynamic": Variant("Llama", {"max_position_embeddings": 64, **rope("dynamic", factor=4.0)},
                             {"rope_parameters": PLAIN}, "type"),
    "llama_yarn": Variant("Llama", rope("yarn", factor=4.0, original_max_position_embeddings=64),
                          {"rope_parameters": PLAIN}),
    "llama_yarn_factors": Variant("Llama", {"head_dim": 32, **rope(
        "yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=8.0, beta_slow=2.0,
        mscale=2.0, mscale_all_dim=0.5, truncate=False)}, {"rope_parameters": PLAIN}, "rope_type"),
    "llama_biases": Variant("Llama", {"attention_bias": True, "mlp_bias": True,
                                      "num_hidden_layers": 2},
                            {"attention_bias": False, "mlp_bias": False}, dtype=torch.float32),
    "mistral_window": Variant("Mistral", {"head_dim": 32, "sliding_window": 40},
                              {"sliding_window": None}, shard_size="60KB"),
    "mistral_full": Variant("Mistral", {"sliding_window": None}, {"sliding_window": 40},
                            dtype=torch.float16),
    "qwen2": Variant("Qwen2", {"tie_word_embeddings": True, "use_sliding_window": False},
                     {"zero_biases": True}),
    "qwen2_window": Variant("Qwen2", {"num_hidden_layers": 4, "intermediate_size": 32,
                                      "use_sliding_window": True, "sliding_window": 48,
                                      "max_window_layers": 2}, {"use_sliding_window": False},
                            drop=("layer_types",)),
    "qwen3": Variant("Qwen3", {"head_dim": 32, "tie_word_embeddings": True},
                     {"flat_qk_norms": True}),
    "qwen3_window": Variant("Qwen3", {
        "head_dim": 16, "attention_bias": True, "use_sliding_window": True, "sliding_window": 33,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        {"layer_types": ["full_attention"] * 3}),
}


def make_config(variant, changes):
    fields = {**SHAPE, **{"rope_parameters": PLAIN}, **variant.config, **changes}
    return getattr(transformers, variant.family + "Config")(**fields)


def make_model(config):
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model.float().eval()


def random_values(model, seed):
    """Values that keep activations of order one, attention far from flat, and logits apart."""
    random = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=random)
        if name.endswith("norm.weight"):
            noise = 1 + (0.5 if "_proj" not in name and "self_attn" in name else 0.1) * noise
        elif name.endswith(".bias"):
            noise = 0.5 * noise
        elif "embed_tokens" not in name:
            wide = "q_proj" in name or "k_proj" in name
            gain = 1.6 if wide else 2.0 if "lm_head" in name else 1.0
            noise = gain * noise / value.shape[1] ** 0.5
        value.data.copy_(noise)
    if model.config.tie_word_embeddings:
        model.get_input_embeddings().weight.data.mul_(0.3)
        model.tie_weights()


def rewrite_config(folder, variant):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for field in variant.drop:
        del config[field]
    if variant.legacy_rope:
        parameters = config.pop("rope_parameters")
        config["rope_theta"] = parameters.pop("rope_theta")
        config["rope_scaling"] = {variant.legacy_rope: parameters.pop("rope_type"), **parameters}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def logits_of(model, tokens):
    """One pass over the whole text. Where angles depend on the length, they are those of the
    longest context."""
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0, PROMPT_TOKENS - 1:]


def without_subject(variant, model):
    changes = dict(variant.without)
    zero_biases = changes.pop("zero_biases", False)
    flat_norms = changes.pop("flat_qk_norms", False)
    other = make_model(make_config(variant, changes))
    other.load_state_dict(model.state_dict(), strict=False)
    for name, value in other.named_parameters():
        if zero_biases and name.endswith(".bias"):
            value.data.zero_()
        if flat_norms and (name.endswith("q_norm.weight") or name.endswith("k_norm.weight")):
            value.data.fill_(1)
    return other


def make(name, variant, seed):
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    model = make_model(make_config(variant, {}))
    random_values(model, seed)
    model.to(variant.dtype).save_pretrained(folder, max_shard_size=variant.shard_size)
    (folder / "generation_config.json").unlink(missing_ok=True)
    rewrite_config(folder, variant)

    # From the files, as they are read by transformers.
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    for value in model.parameters():
        value.data = value.data.bfloat16().float()
    tokens = numpy.random.RandomState(seed).randint(
        0, SHAPE["vocab_size"], PROMPT_TOKENS + DECODE_TOKENS).astype(numpy.int32)
    logits = logits_of(model, tokens.tolist())
    other = copy.deepcopy(model).bfloat16()
    error = logits_of(other, tokens.tolist()).float() - logits
    bf16_error = torch.stack([error.abs().max(), error.square().mean().sqrt()])
    matters = (logits - logits_of(without_subject(variant, model), tokens.tolist())).abs().max()
    save_file({"tokens": tokens, "logits": logits.numpy(),
               "bf16_error": bf16_error.numpy(), "matters": matters.reshape(1).numpy()}, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name:20} {size // 1024:4} KiB  deviation of logits {logits.std():.2f}  matters "
          f"{matters:.2f}  bf16 {bf16_error[0]:.3f} {bf16_error[1]:.4f}")


def main():
    transformers.utils.logging.disable_progress_bar()
    for seed, (name, variant) in enumerate(VARIANTS.items(), 1):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, variant, seed)


if __name__ == "__main__":
    main()
