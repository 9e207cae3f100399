#!/usr/bin/env python3
"""Train tidal-nano for a fixed wall-clock time on one GPU.

    train.py --data DIR --tokenizer tokenizer.json --out DIR --seconds 900
    train.py ... --init DIR --tidal 2 9 --lr 0.006 --adam-lr 0.001 --decay-from 0.2

The second form is a TIDAL-aware second stage.

Worker processes build batches (tasks.py) while the GPU trains. Every micro-batch has the same
number of tokens, cut into sequences whose length follows a curriculum over the share of the time
that has passed; the learning rate is constant and then falls linearly to zero. Hidden matrices are
trained with Muon, embeddings and norms with AdamW. A checkpoint in --out lets a killed run go on.
"""

import argparse
import json
import multiprocessing as mp
import os
import random
import time

import numpy as np
import torch

from bpe import Tokenizer
from model import Config, Llama, TidalRows, load_hf, rope_tables, save_hf
from documents import ANSWER, Corpus
from tasks import Tasks

# share of the time passed -> sequence lengths and the odds of each
CURRICULUM = [
    (0.03, {512: 1}),
    (0.10, {1024: 7, 512: 2, 2048: 1}),
    (0.42, {2048: 15, 1024: 3, 4096: 2}),
    (0.62, {8192: 9, 4096: 5, 2048: 6}),
    (1.01, {32768: 9, 16384: 5, 8192: 3, 2048: 3}),
]
# the second stage: all lengths at once
TIDAL_LENGTHS = {1024: 3, 2048: 5, 8192: 3, 32768: 3}
TIDAL_K = {32: 3, 64: 4, 128: 3, 256: 2}


def lengths(p, cap, tidal=False):
    d = TIDAL_LENGTHS if tidal else next(d for end, d in CURRICULUM if p < end)
    return [min(t, cap) for t in d], list(d.values())


def load_corpus(path, tok):
    groups = {}
    for g in ("books", "kids", "tiny", "tech"):
        groups[g] = (
            np.load(os.path.join(path, g + ".npy"), mmap_mode="r"),
            np.load(os.path.join(path, g + ".off.npy")),
        )
    return Corpus(groups, tok), json.load(open(os.path.join(path, "words.json")))


def decode_rows(r, w, m):
    """m positions of a sequence with weights w to compute as decoding steps: answer tokens, else
    a stretch of text.
    """
    t = len(w) - 1
    rows = np.nonzero(w[:t] == ANSWER)[0]
    if len(rows) > m:
        i = r.randrange(0, len(rows) - m + 1)
        return rows[i : i + m]
    start = r.randrange(0, t - m + 1)
    rest = np.setdiff1d(np.arange(start, start + m), rows)[: m - len(rows)]
    if len(rows) + len(rest) < m:
        more = np.setdiff1d(np.arange(t), np.concatenate([rows, rest]))
        rest = np.concatenate([rest, more[-(m - len(rows) - len(rest)) :]])
    return np.sort(np.concatenate([rows, rest]))


def worker(seed, a, progress, q):
    tok = Tokenizer(a.tokenizer)
    corpus, words = load_corpus(a.data, tok)
    r = random.Random(seed)
    tasks = Tasks(tok, corpus, words, r)
    while True:
        ts, odds = lengths(progress.value, a.max_len, a.tidal)
        t = r.choices(ts, odds)[0]
        b = a.tokens // t
        ids, w = np.zeros((b, t + 1), np.uint16), np.zeros((b, t + 1), np.uint8)
        for i in range(b):
            ids[i], w[i] = tasks.sequence(t)
        rows = None
        if a.tidal and r.random() < a.tidal_share:
            rows = np.stack([decode_rows(r, x, min(t // 2, a.tidal_rows // b)) for x in w]).astype(
                np.int32
            )
        q.put((ids, w, rows, r.choices(list(TIDAL_K), list(TIDAL_K.values()))[0]))


class Muon:
    """Momentum whose matrix updates are orthogonalized by Newton-Schulz steps; equal shapes go
    in one batch.
    """

    def __init__(self, params, wd):
        self.wd, self.groups = wd, {}
        for p in params:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.buf = {
            s: torch.zeros((len(ps),) + s, device=ps[0].device) for s, ps in self.groups.items()
        }

    @torch.no_grad()
    def step(self, lr, momentum):
        for s, ps in self.groups.items():
            g = torch.stack([p.grad for p in ps])
            b = self.buf[s]
            b.lerp_(g, 1 - momentum)
            u = g.lerp(b, momentum)
            x = u.bfloat16() if u.is_cuda else u.clone()
            if s[0] > s[1]:
                x = x.transpose(1, 2)
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for _ in range(5):
                m = x @ x.transpose(1, 2)
                x = 3.4445 * x + (-4.7750 * m + 2.0315 * (m @ m)) @ x
            if s[0] > s[1]:
                x = x.transpose(1, 2)
            x = x.float() * max(1.0, s[0] / s[1]) ** 0.5
            for p, d in zip(ps, x):
                p.mul_(1 - lr * self.wd).add_(d, alpha=-lr)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument(
        "--seconds", type=float, default=900, help="training time, compilation not counted"
    )
    ap.add_argument("--tokens", type=int, default=131072, help="tokens of a micro-batch")
    ap.add_argument("--accum", type=int, default=2, help="micro-batches of a step")
    ap.add_argument("--lr", type=float, default=0.02)
    ap.add_argument("--adam-lr", type=float, default=0.004)
    ap.add_argument("--decay-from", type=float, default=0.55)
    ap.add_argument("--max-len", type=int, default=32768)
    ap.add_argument("--workers", type=int, default=15)
    ap.add_argument("--layers", type=int, default=16)
    ap.add_argument("--hidden", type=int, default=256)
    ap.add_argument("--ffn", type=int, default=704)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument(
        "--stop-after", type=float, default=0, help="stop early after this many seconds"
    )
    ap.add_argument("--init", help="start from the weights of this model folder")
    ap.add_argument(
        "--tidal",
        type=int,
        nargs="*",
        help="selection layers: train with TIDAL decoding of the answers",
    )
    ap.add_argument(
        "--tidal-share",
        type=float,
        default=0.8,
        help="share of the micro-batches that have sparse rows",
    )
    ap.add_argument("--tidal-rows", type=int, default=8192, help="sparse rows of a micro-batch")
    ap.add_argument(
        "--bench",
        action="store_true",
        help="measure the throughput at each sequence length and stop",
    )
    a = ap.parse_args()
    cuda = torch.cuda.is_available()
    dev, dtype = ("cuda", torch.bfloat16) if cuda else ("cpu", torch.float32)
    os.makedirs(a.out, exist_ok=True)
    progress = mp.Value("d", 0.0)
    q = mp.Queue(maxsize=24)
    procs = [
        mp.Process(target=worker, args=(a.seed * 1000 + i, a, progress, q), daemon=True)
        for i in range(a.workers)
    ]
    for p in procs:
        p.start()

    torch.manual_seed(a.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    model = (
        load_hf(a.init, dev)
        if a.init
        else Llama(Config(hidden=a.hidden, layers=a.layers, ffn=a.ffn)).to(dev)
    )
    cfg = model.c
    if cuda:
        model.compile()
    matrices = [p for n, p in model.named_parameters() if n.startswith("layers") and p.dim() == 2]
    others = [
        p for n, p in model.named_parameters() if not (n.startswith("layers") and p.dim() == 2)
    ]
    muon = Muon(matrices, 0.05)
    adam = torch.optim.AdamW(others, lr=a.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    cos, sin = rope_tables(cfg, a.max_len, dev)
    tables = {}

    def rope(t):
        if t not in tables:
            tables[t] = [x[:t].repeat(a.tokens // t, 1)[:, None].contiguous() for x in (cos, sin)]
        return tables[t]

    ck = os.path.join(a.out, "checkpoint.pt")
    spent, step, seen, by_len = 0.0, 0, 0, {}
    if os.path.exists(ck):
        s = torch.load(ck, map_location=dev, weights_only=False) if cuda else torch.load(ck)
        model.load_state_dict(s["model"])
        adam.load_state_dict(s["adam"])
        muon.buf = s["muon"]
        spent, step, seen, by_len = s["spent"], s["step"], s["seen"], s["by_len"]
        progress.value = spent / a.seconds
        print("resumed at step %d, %.0f s" % (step, spent), flush=True)

    def save():
        if not all(torch.isfinite(p).all() for p in others):
            raise SystemExit("the weights are not finite any more; the last checkpoint is kept")
        s = {
            "model": model.state_dict(),
            "adam": adam.state_dict(),
            "muon": muon.buf,
            "spent": spent,
            "step": step,
            "seen": seen,
            "by_len": by_len,
        }
        torch.save(s, ck + ".tmp")
        os.replace(ck + ".tmp", ck)
        save_hf(model, os.path.join(a.out, "hf"))

    def fetch():
        ids, w, rows, k = q.get()
        x, w = torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(w)
        if cuda:
            x, w = x.pin_memory().to(dev, non_blocking=True), w.pin_memory().to(
                dev, non_blocking=True
            )
        return (
            x,
            w,
            None if rows is None else TidalRows(torch.from_numpy(rows).long().to(dev), k, a.tidal),
        )

    def run(x, w, tidal, scale):
        t = x.shape[1] - 1
        target, weight = x[:, 1:], w[:, 1:].float()
        total, loss, right = model(x[:, :-1], target, weight, *rope(t), dtype, tidal)
        (total / weight.sum().clamp(min=1) * scale).backward()
        wf = weight.reshape(-1)
        text, ans = (wf == 1).float(), (wf == ANSWER).float()
        return torch.stack(
            [(loss * text).sum(), text.sum(), (loss * ans).sum(), (right * ans).sum(), ans.sum()]
        ).detach()

    log = open(os.path.join(a.out, "log.jsonl"), "a")
    x, w, sparse = fetch()
    if cuda:  # compile outside the timed part
        t0 = time.time()
        run(x, w, sparse, 0.0)
        torch.cuda.synchronize()
        print(
            "compiled in %.0f s; %.2fM parameters"
            % (time.time() - t0, sum(p.numel() for p in model.parameters()) / 1e6),
            flush=True,
        )
        for t in (2048, 8192, 32768) if a.bench else ():
            xb = torch.randint(8, cfg.vocab, (a.tokens // t, t + 1), device=dev)
            wb = torch.ones_like(xb)
            for i in range(6):
                if i == 2:
                    torch.cuda.synchronize()
                    t0 = time.time()
                run(xb, wb, None, 0.0)
            torch.cuda.synchronize()
            print(
                "length %5d: %.0f tokens/s, %.1f GiB"
                % (t, 4 * a.tokens / (time.time() - t0), torch.cuda.max_memory_allocated() / 2**30),
                flush=True,
            )
        if a.bench:
            for pr in procs:
                pr.terminate()
            return
    for p in model.parameters():
        p.grad = None
    start, last, since, waited = time.time() - spent, time.time(), 0, 0.0
    saved = time.time()
    stats = {}
    while True:
        spent = time.time() - start
        p = spent / a.seconds
        if p >= 1 or (a.stop_after and spent > a.stop_after):
            break
        progress.value = p
        f = min(1.0, (step + 1) / 60) * (
            1.0 if p < a.decay_from else max(0.0, (1 - p) / (1 - a.decay_from))
        )
        for _ in range(a.accum):
            n = x.numel() - x.shape[0]
            t = x.shape[1] - 1
            s = run(x, w, sparse, 1 / a.accum)
            name = "%d%s" % (t, " tidal k%d" % sparse.k if sparse else "")
            stats[name] = stats.get(name, 0) + s
            seen += n
            since += n
            by_len[t] = by_len.get(t, 0) + n
            tw = time.time()
            x, w, sparse = fetch()
            waited += time.time() - tw
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for g in adam.param_groups:
            g["lr"] = a.adam_lr * f
        adam.step()
        muon.step(a.lr * f, 0.85 + 0.10 * min(1.0, step / 200))
        for pr in model.parameters():
            pr.grad = None
        step += 1
        if time.time() - last > 10:
            now = time.time()
            rec = {
                "step": step,
                "s": round(spent, 1),
                "p": round(p, 4),
                "lr": round(f, 4),
                "Mtok": round(seen / 1e6, 1),
                "tok_s": round(since / (now - last)),
                "waited": round(waited / (now - last), 3),
                "mem": round(torch.cuda.max_memory_allocated() / 2**30, 1) if cuda else 0,
            }
            for t, v in sorted(stats.items()):
                v = v.tolist()
                rec[t] = [
                    round(v[0] / max(1, v[1]), 3),
                    round(v[2] / max(1, v[4]), 3),
                    round(v[3] / max(1, v[4]), 4),
                ]
            print(json.dumps(rec), flush=True)
            log.write(json.dumps(rec) + "\n")
            log.flush()
            last, since, waited, stats = now, 0, 0.0, {}
            if time.time() - saved > 60:
                tw = time.time()
                save()
                saved = time.time()
                start += saved - tw  # saving is not training time
    save()
    json.dump(
        {"steps": step, "tokens": seen, "tokens_by_length": by_len, "seconds": spent},
        open(os.path.join(a.out, "done.json"), "w"),
    )
    print("done: %d steps, %.1fM tokens, %.0f s" % (step, seen / 1e6, spent), flush=True)
    for pr in procs:
        pr.terminate()


if __name__ == "__main__":
    main()
