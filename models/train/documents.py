"""A training document as tokens with loss weights, and slices of the tokenized corpus."""

import numpy as np

ANSWER = 4  # loss weight of an answer token, filler has 1
BOS, EOS, PAD, SYSTEM, USER, ASSISTANT, END = range(7)


class Doc:
    def __init__(self, tok):
        self.tok, self.ids, self.w = tok, [], []

    def add(self, text, w=1):
        """text: a string, or a list of (string, weight) that form one stretch of text."""
        parts = [(text, w)] if isinstance(text, str) else text
        full = "".join(p for p, _ in parts)
        ids = self.tok.encode(full)
        if len(parts) == 1:
            self.ids += ids
            self.w += [parts[0][1]] * len(ids)
            return
        ends, n = [], 0  # a token has the weight of the part its last byte is in
        for p, pw in parts:
            n += len(p.encode())
            ends.append((n, pw))
        pos = k = 0
        for i in ids:
            pos += len(self.tok.raw[i])
            while ends[k][0] < pos:
                k += 1
            self.ids.append(i)
            self.w.append(ends[k][1])

    def put(self, ids, w=1):
        self.ids += list(ids)
        self.w += [w] * len(ids)

    def __len__(self):
        return len(self.ids)


class Corpus:
    """Tokenized text groups: a flat uint16 array and document offsets for each."""

    def __init__(self, groups, tok):
        self.groups, self.tok = groups, tok
        raw = [tok.raw.get(i, b"") for i in range(max(tok.names) + 1)]
        ends = (b".", b"!", b"?", b'."', b'!"', b'?"', b".'", b"!'", b"?'", b".)", b"\n")
        self.is_end = np.array([t.endswith(ends) for t in raw])
        self.is_nl = np.array([t.endswith(b"\n") for t in raw])

    def window(self, r, group, n):
        """n consecutive tokens of one document (fewer if it is short), starting after a sentence
        end.
        """
        a, off = self.groups[group]
        start = r.randrange(0, max(1, len(a) - n))
        d = int(np.searchsorted(off, start, side="right")) - 1
        lo, hi = int(off[d]), int(off[d + 1])
        if start + n > hi:
            start = max(lo, hi - n - r.randrange(0, 64))
        if start > lo:
            head = np.nonzero(self.is_end[a[start : start + 200]])[0]
            if len(head):
                start = min(start + int(head[0]) + 1, hi - 1)
        return a[start : min(hi, start + n)]

    def unspaced(self, ids):
        """The same text without its leading space, as it tokenizes at the start of a line."""
        if not len(ids) or not self.tok.raw.get(int(ids[0]), b"").startswith(b" "):
            return ids
        n = 1
        while n < min(len(ids), 16) and not self.tok.raw.get(int(ids[n]), b" ")[:1].isspace():
            n += 1
        return np.concatenate(
            [
                np.array(
                    self.tok.encode(self.tok.decode([int(i) for i in ids[:n]])[1:]), dtype=np.uint16
                ),
                ids[n:],
            ]
        )

    def document(self, r, group):
        a, off = self.groups[group]
        d = r.randrange(0, len(off) - 1)
        return a[int(off[d]) : int(off[d + 1])]
