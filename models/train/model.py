"""A minimal Llama in PyTorch: training forward, and Hugging Face folders in and out."""

import json
import math
import os
import struct
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    vocab: int = 4096
    hidden: int = 256
    layers: int = 16
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 704
    theta: float = 500000.0
    eps: float = 1e-5
    max_len: int = 32768


def rope_tables(cfg, n, device):
    """cos and sin of shape [n, head_dim / 2], float32."""
    inv = 1.0 / (
        cfg.theta ** (torch.arange(0, cfg.head_dim, 2, dtype=torch.float64) / cfg.head_dim)
    )
    a = torch.outer(torch.arange(n, dtype=torch.float64), inv)
    return a.cos().float().to(device), a.sin().float().to(device)


def rms_norm(x, w, eps):
    h = x.float()
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + eps)
    return h.to(x.dtype) * w.to(x.dtype)


def rotate(x, cos, sin):
    """RoPE in the rotate-half convention: dimension i turns with dimension i + head_dim / 2."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def pre_attention(x, ln, wq, wk, wv, cos, sin, hd, eps):
    """x [N, C] -> q [N, H, hd], k and v [N, KVH, hd]; cos and sin are [N, 1, hd]."""
    h = rms_norm(x, ln, eps)
    w = torch.cat([wq, wk, wv]).to(x.dtype)
    qkv = F.linear(h, w).view(x.shape[0], -1, hd)
    nq, nk = wq.shape[0] // hd, wk.shape[0] // hd
    q, k, v = qkv[:, :nq], qkv[:, nq : nq + nk], qkv[:, nq + nk :]
    return rotate(q, cos, sin), rotate(k, cos, sin), v.contiguous()


def post_attention(x, att, wo, ln, wg, wu, wd, eps):
    x = x + F.linear(att, wo.to(x.dtype))
    h = rms_norm(x, ln, eps)
    g, u = F.linear(h, torch.cat([wg, wu]).to(x.dtype)).chunk(2, -1)
    return x + F.linear(F.silu(g) * u, wd.to(x.dtype))


def head_loss(x, ln, emb, target, weight, eps):
    """Sum of weighted token losses, and per-token loss and correctness (for the log)."""
    logits = F.linear(rms_norm(x, ln, eps), emb.to(x.dtype)).float()
    lse = torch.logsumexp(logits, -1)
    loss = lse - logits.gather(-1, target[:, None])[:, 0]
    z = 1e-5 * lse.pow(2)  # keeps the logits from drifting
    right = logits.argmax(-1) == target
    return ((loss + z) * weight).sum(), loss.detach(), right


def attention(q, k, v):
    """Causal attention in plain math, [B, T, heads, hd] -> the same."""
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    g, t = q.shape[1] // k.shape[1], q.shape[2]
    k, v = k.repeat_interleave(g, 1), v.repeat_interleave(g, 1)
    s = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    s = s.masked_fill(torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1), float("-inf"))
    return (s.float().softmax(-1).to(q.dtype) @ v).transpose(1, 2)


class FusedAttention:
    """PyTorch's fused attention; the first call at a sequence length times the kernels and keeps
    the fastest.
    """

    def __init__(self):
        self.best = {}

    def one(self, q, k, v, backend, expand):
        from torch.nn.attention import sdpa_kernel

        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        if expand:
            k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(
                q, k, v, is_causal=True, enable_gqa=not expand
            ).transpose(1, 2)

    def pick(self, q, k, v):
        from torch.nn.attention import SDPBackend as S

        times = {}
        for name, backend, expand in (
            ("flash", S.FLASH_ATTENTION, False),
            ("flash, expanded", S.FLASH_ATTENTION, True),
            ("cudnn", S.CUDNN_ATTENTION, False),
            ("cudnn, expanded", S.CUDNN_ATTENTION, True),
        ):
            try:
                for i in range(4):
                    if i == 2:
                        torch.cuda.synchronize()
                        t0 = torch.cuda.Event(enable_timing=True), torch.cuda.Event(
                            enable_timing=True
                        )
                        t0[0].record()
                    a = [t.detach().clone().requires_grad_() for t in (q, k, v)]
                    o = self.one(*a, backend, expand)
                    o.backward(q.detach())
                t0[1].record()
                torch.cuda.synchronize()
                if i == 3 and torch.isfinite(a[0].grad).all():
                    times[t0[0].elapsed_time(t0[1]) / 2, name] = backend, expand
            except RuntimeError as e:
                print("attention:", name, "not usable:", str(e)[:80], flush=True)
        t = min(times)
        print(
            "attention at length %d: %s"
            % (q.shape[1], ", ".join("%s %.2f ms" % (n, ms) for ms, n in sorted(times))),
            flush=True,
        )
        return times[t]

    def __call__(self, q, k, v):
        if q.shape[1] not in self.best:
            self.best[q.shape[1]] = self.pick(q, k, v)
        return self.one(q, k, v, *self.best[q.shape[1]])


class TidalRows:
    """TIDAL decoding inside a training batch.

    Some rows (token positions) of each sequence are computed as decoding would compute them: full
    attention in the first layers and in the selection layers, the k selected past tokens and the
    token itself in all others; one set for all heads, as with "prob:shared" in decoder.py. The
    other rows are the prefill: full attention everywhere.
    """

    def __init__(self, rows, k, select):
        self.rows, self.k, self.select = rows, k, select

    def __call__(self, layer, q, k, v, o):
        """q, k, v, o: [B, T, heads, hd]; o, the full attention's output, comes back with the
        rows replaced.
        """
        if layer < self.select[0]:
            return o
        b, t, kvh, hd = k.shape
        m, g = self.rows.shape[1], q.shape[2] // kvh
        at = self.rows[:, :, None, None]
        qr = (
            q.gather(1, at.expand(-1, -1, q.shape[2], hd)).view(b, m, kvh, g, hd).transpose(1, 2)
        )  # [B, KVH, M, G, hd]
        if layer in self.select:
            with torch.no_grad():  # the sum of the probabilities of all query heads
                s = torch.matmul(qr.reshape(b, kvh, m * g, hd), k.permute(0, 2, 3, 1)).view(
                    b, kvh, m, g, t
                ).float() / math.sqrt(hd)
                ar, at_row = torch.arange(t, device=q.device)[None, None], self.rows[:, :, None]
                s = (
                    s.masked_fill((ar > at_row)[:, None, :, None], float("-inf"))
                    .softmax(-1)
                    .sum(3)
                    .sum(1)
                )  # [B, M, T]
                top, idx = s.masked_fill(ar >= at_row, float("-inf")).topk(min(self.k, t), -1)
                self.idx, self.ok = (
                    x[:, None].expand(-1, kvh, -1, -1) for x in (idx, top > float("-inf"))
                )
            return o
        n = self.idx.shape[-1]
        flat = self.idx.reshape(b, kvh, m * n, 1).expand(-1, -1, -1, hd)
        own = at.expand(-1, -1, kvh, hd)
        pick = lambda x: torch.cat(
            [
                x.transpose(1, 2).gather(2, flat).view(b, kvh, m, n, hd),
                x.gather(1, own).transpose(1, 2)[:, :, :, None],
            ],
            3,
        )
        kk, vv = pick(k), pick(v)
        s = torch.matmul(qr, kk.transpose(-1, -2)).float() / math.sqrt(hd)  # [B, KVH, M, G, n + 1]
        ok = F.pad(self.ok, (0, 1), value=True)
        p = s.masked_fill(~ok[:, :, :, None], float("-inf")).softmax(-1).to(v.dtype)
        r = torch.matmul(p, vv).transpose(1, 2).reshape(b, m, kvh * g, hd)
        return o.scatter(1, at.expand(-1, -1, kvh * g, hd), r.to(o.dtype))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        lin = lambda o, i, s: nn.Parameter(torch.randn(o, i) * s)
        s = 0.5 / math.sqrt(c.hidden)
        out = s / math.sqrt(2 * c.layers)
        self.q = lin(c.heads * c.head_dim, c.hidden, s)
        self.k = lin(c.kv_heads * c.head_dim, c.hidden, s)
        self.v = lin(c.kv_heads * c.head_dim, c.hidden, s)
        self.o = lin(c.hidden, c.heads * c.head_dim, out)
        self.gate = lin(c.ffn, c.hidden, s)
        self.up = lin(c.ffn, c.hidden, s)
        self.down = lin(c.hidden, c.ffn, out)
        self.ln1 = nn.Parameter(torch.ones(c.hidden))
        self.ln2 = nn.Parameter(torch.ones(c.hidden))


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.emb = nn.Parameter(torch.randn(c.vocab, c.hidden) * 0.02)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = nn.Parameter(torch.ones(c.hidden))
        self.pre, self.post, self.head, self.attn = (
            pre_attention,
            post_attention,
            head_loss,
            attention,
        )

    def compile(self):
        self.attn = FusedAttention()
        self.pre, self.post, self.head = (
            torch.compile(f, dynamic=False) for f in (pre_attention, post_attention, head_loss)
        )

    def hidden(self, tokens, cos, sin, dtype, tidal=None):
        """tokens [B, T]; cos and sin [B*T, 1, hd / 2]; tidal: a TidalRows or None. Returns [B*T,
        C].
        """
        b, t = tokens.shape
        c = self.c
        x = F.embedding(tokens.reshape(-1), self.emb).to(dtype)
        for i, l in enumerate(self.layers):
            q, k, v = self.pre(x, l.ln1, l.q, l.k, l.v, cos, sin, c.head_dim, c.eps)
            q, k, v = (z.view(b, t, -1, c.head_dim) for z in (q, k, v))
            o = self.attn(q, k, v)
            if tidal:
                o = tidal(i, q, k, v, o)
            x = self.post(x, o.reshape(b * t, -1), l.o, l.ln2, l.gate, l.up, l.down, c.eps)
        return x

    def forward(self, tokens, target, weight, cos, sin, dtype=torch.bfloat16, tidal=None):
        x = self.hidden(tokens, cos, sin, dtype, tidal)
        return self.head(x, self.norm, self.emb, target.reshape(-1), weight.reshape(-1), self.c.eps)

    def logits(self, tokens, dtype=torch.float32):
        """Plain logits [B, T, V], for checks."""
        b, t = tokens.shape
        cos, sin = rope_tables(self.c, t, tokens.device)
        rep = lambda a: a.repeat(b, 1)[:, None]
        x = self.hidden(tokens, rep(cos), rep(sin), dtype)
        return F.linear(rms_norm(x, self.norm, self.c.eps), self.emb.to(dtype)).view(b, t, -1)


# Hugging Face folders ----------------------------------------------------------------------------

HF = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
}


def hf_name(n):
    if n == "emb":
        return "model.embed_tokens.weight"
    if n == "norm":
        return "model.norm.weight"
    _, i, p = n.split(".")
    return "model.layers.%s.%s.weight" % (i, HF[p])


def hf_config(c):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocab,
        "hidden_size": c.hidden,
        "intermediate_size": c.ffn,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": c.max_len,
        "rms_norm_eps": c.eps,
        "rope_theta": c.theta,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "pretraining_tp": 1,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": [6, 1],
        "pad_token_id": 2,
    }


def save_hf(model, path):
    os.makedirs(path, exist_ok=True)
    json.dump(hf_config(model.c), open(os.path.join(path, "config.json"), "w"), indent=2)
    json.dump(
        {
            "bos_token_id": 0,
            "eos_token_id": [6, 1],
            "pad_token_id": 2,
            "do_sample": False,
            "max_new_tokens": 256,
        },
        open(os.path.join(path, "generation_config.json"), "w"),
        indent=2,
    )
    header, blobs, pos = {"__metadata__": {"format": "pt"}}, [], 0
    for n, p in sorted(model.state_dict().items(), key=lambda kv: hf_name(kv[0])):
        b = p.detach().to(torch.bfloat16).contiguous().cpu().view(torch.int16).numpy().tobytes()
        header[hf_name(n)] = {
            "dtype": "BF16",
            "shape": list(p.shape),
            "data_offsets": [pos, pos + len(b)],
        }
        blobs.append(b)
        pos += len(b)
    h = json.dumps(header, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(os.path.join(path, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h + b"".join(blobs))


def load_hf(path, device="cpu"):
    d = json.load(open(os.path.join(path, "config.json")))
    c = Config(
        d["vocab_size"],
        d["hidden_size"],
        d["num_hidden_layers"],
        d["num_attention_heads"],
        d["num_key_value_heads"],
        d["head_dim"],
        d["intermediate_size"],
        d["rope_theta"],
        d["rms_norm_eps"],
        d["max_position_embeddings"],
    )
    m = Llama(c)
    raw = open(os.path.join(path, "model.safetensors"), "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + n])
    with torch.no_grad():
        for name, p in m.state_dict().items():
            e = header[hf_name(name)]
            a, b = e["data_offsets"]
            t = torch.frombuffer(bytearray(raw[8 + n + a : 8 + n + b]), dtype=torch.bfloat16).view(
                e["shape"]
            )
            p.copy_(t.float())
    return m.to(device)
