"""The reference decoder: greedy decoding of a batch of prompts, with full or TIDAL attention.

TIDAL decoding, as computed here:
  - the prompt is prefilled with full attention; only the tokens generated after it are sparse;
  - a plan names the selection layers, for example 2+8. Layers before the first of them, and the
    selection layers themselves, attend to everything;
  - a selection layer scores every past token and keeps the k best. "agg" says how the query heads
    of a group are pooled: "max" or "sum" of the raw q.k products (after RoPE), or "prob", the sum
    of the attention probabilities. A set is chosen per KV head ("kv"), or one for all heads
    ("shared": pooled over all query heads; "union": the sets of all KV heads together, so up to k
    tokens times KV heads);
  - all other layers attend to the tokens of the last selection and to the current token.
"sinks" first tokens and "recent" (a share of k) most recent tokens can be part of every selection,
out of the same budget k.
"""

import math

import torch
import torch.nn.functional as F

from model import rms_norm, rope_tables, rotate


class Decoder:
    """Inference for a batch of prompts that differ in length."""

    def __init__(self, model, device, dtype, max_len=32768 + 256):
        self.m, self.c, self.dev, self.dtype = model.to(device), model.c, device, dtype
        self.cos, self.sin = rope_tables(self.c, max_len, device)
        w = lambda t: t.detach().to(dtype)
        self.layers = [
            dict(
                qkv=w(torch.cat([l.q, l.k, l.v])),
                o=w(l.o),
                gu=w(torch.cat([l.gate, l.up])),
                down=w(l.down),
                ln1=w(l.ln1),
                ln2=w(l.ln2),
            )
            for l in model.layers
        ]
        self.emb, self.norm = w(model.emb), w(model.norm)

    def qkv(self, l, x, pos):
        """x [..., C], pos [...] -> q [..., H, hd], k, v [..., KVH, hd]"""
        c = self.c
        y = F.linear(rms_norm(x, l["ln1"], c.eps), l["qkv"]).view(x.shape[:-1] + (-1, c.head_dim))
        cos, sin = self.cos[pos].unsqueeze(-2), self.sin[pos].unsqueeze(-2)
        q, k, v = y.split([c.heads, c.kv_heads, c.kv_heads], -2)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def mlp(self, l, x):
        g, u = F.linear(rms_norm(x, l["ln2"], self.c.eps), l["gu"]).chunk(2, -1)
        return x + F.linear(F.silu(g) * u, l["down"])

    def logits(self, x):
        return F.linear(rms_norm(x, self.norm, self.c.eps), self.emb).float()

    @torch.no_grad()
    def prefill(self, ids, all_logits=False):
        """One prompt -> logits of the last token (or all hidden states), and k, v of each layer
        [KVH, T, hd].
        """
        x = F.embedding(torch.tensor(ids, device=self.dev), self.emb)
        pos = torch.arange(len(ids), device=self.dev)
        kv = []
        for l in self.layers:
            q, k, v = (t.transpose(0, 1) for t in self.qkv(l, x, pos))
            kv.append((k, v))
            g = self.c.heads // self.c.kv_heads
            if hasattr(F, "scaled_dot_product_attention"):
                o = F.scaled_dot_product_attention(
                    q[None], k[None], v[None], is_causal=True, enable_gqa=True
                )[0]
            else:  # old PyTorch: plain math, some rows at a time
                k2, v2 = (t.float().repeat_interleave(g, 0) for t in (k, v))
                o = torch.empty_like(q)
                for a in range(0, len(ids), 512):
                    b = min(a + 512, len(ids))
                    s = torch.matmul(q[:, a:b].float(), k2[:, :b].transpose(1, 2)) / math.sqrt(
                        self.c.head_dim
                    )
                    s[:, :, a:].masked_fill_(
                        torch.ones(b - a, b - a, dtype=torch.bool).triu(1), float("-inf")
                    )
                    o[:, a:b] = torch.matmul(s.softmax(-1), v2[:, :b]).to(x.dtype)
            x = x + F.linear(o.transpose(0, 1).reshape(len(ids), -1), l["o"])
            x = self.mlp(l, x)
        return (x if all_logits else self.logits(x[-1])), kv

    def batch(self, prompts, extra):
        """Prefill all prompts; caches are padded to the longest. Returns the state for decoding."""
        n, t = len(prompts), max(map(len, prompts)) + extra
        c = self.c
        ks = torch.zeros(c.layers, n, c.kv_heads, t, c.head_dim, device=self.dev, dtype=self.dtype)
        vs = torch.zeros_like(ks)
        first = []
        for i, p in enumerate(prompts):
            lg, kv = self.prefill(p)
            first.append(lg)
            for j, (k, v) in enumerate(kv):
                ks[j, i, :, : len(p)], vs[j, i, :, : len(p)] = k, v
        return {
            "k": ks,
            "v": vs,
            "len": torch.tensor([len(p) for p in prompts], device=self.dev),
            "logits": torch.stack(first),
        }

    @torch.no_grad()
    def step(self, st, tokens, pos, tidal=None, trace=None):
        """One token per prompt at positions pos [B]; writes its k, v; returns logits [B, V]."""
        c, g, scale = self.c, self.c.heads // self.c.kv_heads, 1 / math.sqrt(self.c.head_dim)
        b = tokens.shape[0]
        rows = torch.arange(b, device=self.dev)
        x = F.embedding(tokens, self.emb)
        t = int(pos.max()) + 1
        ar = torch.arange(t, device=self.dev)
        future, past = ar[None] > pos[:, None], ar[None] < pos[:, None]
        sel = ok = None
        for i, l in enumerate(self.layers):
            q, k, v = self.qkv(l, x, pos)
            st["k"][i][rows, :, pos] = k
            st["v"][i][rows, :, pos] = v
            q = q.view(b, c.kv_heads, g, c.head_dim)
            selects = tidal and i in tidal["select"]
            if not tidal or i < tidal["select"][0] or selects:
                K, V = st["k"][i][:, :, :t], st["v"][i][:, :, :t]
                s = torch.matmul(q, K.transpose(-1, -2)).float() * scale  # [B, KVH, G, t]
                p = s.masked_fill(future[:, None, None], float("-inf")).softmax(-1)
                if selects:
                    sel, ok = self.select(p if tidal["agg"] == "prob" else s, past, pos, tidal)
                    if trace is not None:
                        trace[i] = [sel, ok]
                o = torch.matmul(p.to(V.dtype), V)
            else:  # selected tokens and the current one
                ix = sel[..., None].expand(-1, -1, -1, c.head_dim)
                K = torch.cat([st["k"][i].gather(2, ix), k[:, :, None]], 2)
                V = torch.cat([st["v"][i].gather(2, ix), v[:, :, None]], 2)
                s = torch.matmul(q, K.transpose(-1, -2)).float() * scale
                s[..., :-1] = s[..., :-1].masked_fill(~ok[:, :, None], float("-inf"))
                o = torch.matmul(s.softmax(-1).to(V.dtype), V)
            x = x + F.linear(o.reshape(b, -1), l["o"])
            x = self.mlp(l, x)
        return self.logits(x)

    def select(self, s, past, pos, tidal):
        """s [B, KVH, G, t], scores or probabilities -> past tokens [B, KVH, k] and which of them
        are valid.
        """
        pool = (lambda x, d: x.amax(d)) if tidal["agg"] == "max" else (lambda x, d: x.sum(d))
        score = pool(s, 2)
        if tidal.get("heads") == "shared":
            score = pool(score, 1)[:, None].expand(-1, self.c.kv_heads, -1)
        sinks, recent, k = (
            tidal.get("sinks", 0),
            int(tidal.get("recent", 0) * tidal["k"]),
            min(tidal["k"], s.shape[-1]),
        )
        score = score.masked_fill(~past[:, None], float("-inf"))
        if sinks or recent:
            ar = torch.arange(s.shape[-1], device=self.dev)
            forced = past & ((ar[None] < sinks) | (ar[None] >= (pos - recent)[:, None]))
            score = score.masked_fill(forced[:, None], 1e30)
        top, idx = score.topk(k, -1)
        ok = top > float("-inf")
        if (
            tidal.get("heads") == "union"
        ):  # every head sees the sets of all heads; duplicates count once
            idx = torch.stack(
                [
                    torch.cat([idx[:, (h + j) % idx.shape[1]] for j in range(idx.shape[1])], -1)
                    for h in range(idx.shape[1])
                ],
                1,
            )
            ok = torch.stack(
                [
                    torch.cat([ok[:, (h + j) % ok.shape[1]] for j in range(ok.shape[1])], -1)
                    for h in range(ok.shape[1])
                ],
                1,
            )
            order = idx.argsort(-1)
            srt = idx.gather(-1, order)
            dup = torch.cat(
                [torch.zeros_like(srt[..., :1], dtype=torch.bool), srt[..., 1:] == srt[..., :-1]],
                -1,
            )
            idx, ok = srt, ok.gather(-1, order) & ~dup
        return idx, ok

    @torch.no_grad()
    def generate(self, st, n, tidal=None, stop=None):
        """Greedy tokens [B, n], the first from the prefill. stop(list of ids) ends a row; -1
        pads.
        """
        out, tok, pos = [], st["logits"].argmax(-1), st["len"].clone()
        done = torch.zeros(len(tok), dtype=torch.bool, device=self.dev)
        for i in range(n):
            out.append(torch.where(done, torch.full_like(tok, -1), tok))
            done |= stop[tok] if stop is not None else False
            if i == n - 1 or bool(done.all()):
                break
            tok = self.step(st, tok, pos, tidal).argmax(-1)
            pos += 1
        return torch.stack(out, 1).tolist()


def parse_plan(plan, k):
    """LAYER+LAYER:POOLING:SET[:SINKS/RECENT PERCENT] and a budget -> the settings of a decoder."""
    layers, agg, heads, keep = (plan.split(":") + ["0/0"])[:4]
    sinks, recent = keep.split("/")
    return {
        "k": k,
        "select": sorted(map(int, layers.split("+"))),
        "agg": agg,
        "heads": heads,
        "sinks": int(sinks),
        "recent": int(recent) / 100,
    }
