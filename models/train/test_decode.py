#!/usr/bin/env python3
"""Checks of the reference decoder on a random model.

Decoding token by token equals prefill; TIDAL with k of the whole context equals full attention; a
selection holds the k past tokens with the largest products.
"""

import torch

from decoder import Decoder
from model import Config, Llama

torch.manual_seed(0)
c = Config(hidden=64, layers=6, ffn=96, vocab=300)
m = Llama(c)
for p in m.parameters():
    p.data.mul_(1.0 if p.dim() == 1 else 3.0)
dec = Decoder(m, "cpu", torch.float32, 256)
rows = [torch.randint(0, 300, (n,)).tolist() for n in (40, 57, 64)]
want = [dec.prefill(r)[0] for r in rows]
cut = 6
for cfg in (
    None,
    {"k": 200, "select": [2, 4], "agg": "max"},
    {"k": 200, "select": [2, 3, 4], "agg": "sum", "heads": "shared", "sinks": 4, "recent": 0.1},
    {"k": 70, "select": [2, 4], "agg": "prob", "heads": "union"},
):
    st = dec.batch([r[:-cut] for r in rows], cut + 1)
    pos = st["len"].clone()
    for j in range(cut):
        tok = torch.tensor([r[len(r) - cut + j] for r in rows])
        trace = {}
        lg = dec.step(st, tok, pos, cfg, trace)
        pos += 1
    err = max(float((a - b).abs().max()) for a, b in zip(lg, want))
    print(cfg, "largest difference", err)
    assert err < 1e-3
ours = m.logits(torch.tensor([rows[2]]))[0, -1]
assert float((ours - want[2]).abs().max()) < 1e-3
st = dec.batch([rows[2][:-1]], 2)
trace = {}
cfg = {"k": 8, "select": [2, 4], "agg": "max"}
lg = dec.step(st, torch.tensor([rows[2][-1]]), st["len"], cfg, trace)
sel, ok = trace[2]
assert sel.shape == (1, 2, 8) and bool(ok.all()) and int(sel.max()) < 63 and set(trace) == {2, 4}
assert float((lg[0] - want[2]).abs().max()) > 1e-4  # a small k does change the result
print("ok")

# The training-time form of TIDAL (some rows of a batch) gives what the decoder gives.
from model import TidalRows, rms_norm, rope_tables
import torch.nn.functional as F

seq = torch.tensor([rows[2], torch.randint(0, 300, (64,)).tolist()])
n = 10
cos, sin = (x.repeat(2, 1)[:, None] for x in rope_tables(c, 64, "cpu"))
at = torch.arange(64 - n, 64).expand(2, -1)
cfg = {"k": 8, "select": [2, 4], "agg": "prob", "heads": "shared"}
x = m.hidden(seq, cos, sin, torch.float32, TidalRows(at, 8, [2, 4]))
lg = F.linear(rms_norm(x, m.norm, c.eps), m.emb).view(2, 64, -1)
st = dec.batch([r.tolist()[:-n] for r in seq], n + 1)
pos, err = st["len"].clone(), 0
for j in range(n):
    one = dec.step(st, seq[:, 64 - n + j], pos, cfg)
    err = max(err, float((one - lg[:, 64 - n + j]).detach().abs().max()))
    pos += 1
print("training form of TIDAL: largest difference", err)
assert err < 1e-3
