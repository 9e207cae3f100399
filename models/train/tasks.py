"""Synthetic long-context tasks, and how they are laid out as training sequences.

Every generator writes into a Doc: token ids with a loss weight each. Random values are not
predictable where they first appear (weight 0); where the text asks for them again they are (weight
ANSWER). Filler comes as slices of the tokenized corpus, cut at sentence ends.
"""

import numpy as np

import small_talk
import stories
import story_frame
from documents import ANSWER, ASSISTANT, BOS, END, EOS, USER, Doc
from retrieval import Retrieval


class Tasks(Retrieval):
    """All kinds of documents, and training sequences mixed from them."""

    def key_values(self, budget):
        """A list of key-value pairs that fills the context, then look-ups."""
        r = self.r
        d = Doc(self.tok)
        d.put([BOS])
        chat = r.random() < 0.35
        kk = r.choice(
            ["word", "name", "full", "city", "thing", "pair", "number", "hex", "pseudo", "uuid"]
        )
        vk = r.choice(
            ["digits", "digits", "digits", "word", "words", "code", "hex", "name", "uuid"]
        )
        fmt = r.choice(
            [
                "{k}: {v}\n",
                "{k}: {v}\n",
                "{k} = {v}\n",
                '"{k}": "{v}",\n',
                "| {k} | {v} |\n",
                "{k} -> {v}\n",
                "- {k}: {v}\n",
            ]
        )
        sample = fmt.replace("{k}", self.key(kk)).replace("{v}", self.value(vk))
        per = max(6, len(self.tok.encode(sample)) + 1)
        frac = r.choice([0.5, 0.65, 0.8])
        n = max(2, int(frac * budget / per))
        pairs, seen = [], set()
        misses = 0
        while len(pairs) < n:
            k = self.key(kk)
            if k in seen:
                misses += 1
                if misses > 20:
                    kk, misses = r.choice(["full", "pair", "thing", "number", "hex", "pseudo"]), 0
                continue
            seen.add(k)
            pairs.append((k, self.value(vk)))
        if chat:
            self.system(d)
            d.put([USER])
        head = r.choice(
            [
                "Here is a list of keys and values:\n",
                "Extract the value corresponding to the specified key in the list below.\n\n",
                "List:\n",
                "The following table lists a value for each key.\n",
                "JSON data:\n{\n",
            ]
        )
        d.add(head)
        n_pairs = 0
        for k, v in pairs:
            pre, post = fmt.split("{v}")
            d.add([(pre.replace("{k}", k), 0), (v, 0), (post, 1)])
            n_pairs += 1
            if len(d) > 0.85 * budget:
                break
        pairs = pairs[:n_pairs]
        style = r.choice(
            ["short", "short", "cont", "full", "key"] if not chat else ["short", "full"]
        )
        first = True
        while first or len(d) < budget - 2 * per - 24:
            k, v = r.choice(pairs)
            if chat:
                q = (
                    r.choice(
                        [
                            "What is the value for %s?",
                            "What is the value of %s?",
                            "Which value belongs to the key %s?",
                        ]
                    )
                    % k
                )
                if style != "full":
                    q += " Give only the value."
                if first:
                    d.add("\n" + q)
                else:
                    d.put([USER])
                    d.add(q)
                d.put([END, ASSISTANT])
                d.add(v if style != "full" else "The value for %s is %s." % (k, v), ANSWER)
                d.put([END], ANSWER)
            elif style == "short":
                d.add(
                    [("\nQuestion: What is the value for %s?\nAnswer: " % k, 1), (v + "\n", ANSWER)]
                )
            elif style == "cont":  # a line of the list again: pure induction
                pre, post = fmt.split("{v}")
                d.add([("\n" + pre.replace("{k}", k), 0), (v, ANSWER), (post, 1)])
            elif style == "full":
                d.add([("\nThe value for %s is " % k, 1), (v, ANSWER), (".\n", ANSWER)])
            else:
                d.add([("\nKey: %s\nValue: " % k, 1), (v + "\n", ANSWER)])
            first = False
        return d

    def copying(self, budget):
        """Random tokens or a passage, repeated after a gap."""
        r = self.r
        d = Doc(self.tok)
        d.put([BOS])
        while len(d) < budget - 24:
            room = budget - len(d)
            n = min(r.choice([8, 16, 32, 64, 128]), max(8, room // 3))
            k = r.random()
            if k < 0.3:
                seg = [r.randrange(264, len(self.tok.names)) for _ in range(n)]
                d.put(seg, 0)
                gap = r.randrange(0, max(1, min(room - 2 * n, 512)))
                d.put(self.filler(gap) if gap else [])
                d.put(seg[:2], 0)
                d.put(seg[2:], ANSWER)
            elif k < 0.5:  # a list of words, asked for again
                ws = [r.choice(self.words) for _ in range(max(3, n // 3))]
                d.add([("\nRemember this list: ", 1), (", ".join(ws) + ".", 0)])
                gap = r.randrange(0, max(1, min(room - 3 * n, 512)))
                if gap:
                    d.add("\n\n")
                    d.put(self.filler(gap))
                d.add([("\n\nThe list was: ", 1), (", ".join(ws) + ".\n", ANSWER)])
            elif k < 0.75:
                seg = self.corpus.window(r, r.choice(["books", "kids"]), n)
                d.put(seg)
                gap = r.randrange(0, max(1, min(room - 2 * n, 1024)))
                d.put(self.filler(gap) if gap else [])
                d.put(seg[:4])
                d.put(seg[4:], 2)
            else:
                seg = self.tok.decode(
                    [int(i) for i in self.corpus.window(r, r.choice(["books", "kids", "tiny"]), n)]
                ).strip()
                d.put([USER])
                d.add(
                    r.choice(
                        [
                            "Repeat this: ",
                            "Repeat the following text: ",
                            "Say this again: ",
                            "Copy this text:\n",
                        ]
                    )
                    + seg
                )
                d.put([END, ASSISTANT])
                d.add(seg, 2)
                d.put([END], ANSWER)
        return d

    # stories and small talk ----------------------------------------------------------------------

    def chat_story(self, budget):
        r = self.r
        d = Doc(self.tok)
        d.put([BOS])
        self.system(d)
        while True:
            k = r.random()
            if k < 0.55:
                q, a = stories.story_chat(r)
            elif k < 0.68:
                text = self.tok.decode([int(i) for i in self.corpus.document(r, "tiny")])
                noun = next(
                    (
                        w
                        for w in sorted(
                            story_frame.ANIMALS + story_frame.BEINGS + story_frame.THINGS,
                            key=lambda _: r.random(),
                        )
                        if " " + w + " " in text[:400]
                    ),
                    None,
                )
                name = next((w for w in story_frame.NAMES if w in text[:120]), None)
                if noun and r.random() < 0.6:
                    q = "Tell me a story about %s." % story_frame.an(noun)
                elif name:
                    q = "Tell me a story about %s." % name
                else:
                    q = "Tell me a story."
                a = text
            elif k < 0.76:
                text = self.tok.decode(
                    [int(i) for i in self.corpus.window(r, r.choice(["kids", "tiny"]), 240)]
                ).strip()
                cut = text.find(". ", 60) + 1
                if cut < 1:
                    continue
                q, a = (
                    r.choice(
                        ["Continue this story: ", "Continue the text: ", "What happens next? "]
                    )
                    + text[:cut],
                    text[cut + 1 : text.rfind(".") + 1],
                )
                if not a:
                    continue
            else:
                q, a = small_talk.small_talk(r)
            self.turn(d, q, a, 1)
            if r.random() < 0.55 or len(d) > budget - 80:
                break
        d.put([EOS])
        return d

    # sequences -----------------------------------------------------------------------------------

    def natural(self, budget):
        r = self.r
        d = Doc(self.tok)
        d.put([BOS])
        k = r.random()
        if k < 0.04 and budget < 6000:
            d.put(self.corpus.document(r, "tiny"))
            d.put([EOS])
        elif k < 0.10:
            d.add(stories.Story(r).text())
            d.put([EOS])
        elif k < 0.32:
            t = self.corpus.unspaced(self.corpus.window(r, "kids", budget - 1))
            d.put(t)
            if len(t) < budget - 8:
                d.put([EOS])
        elif k < 0.36:
            d.put(self.corpus.unspaced(self.corpus.window(r, "tech", budget - 1)))
        else:
            d.put(self.corpus.unspaced(self.corpus.window(r, "books", budget - 1)))
        return d

    MIX = {
        "short": [
            ("natural", 44),
            ("retrieval", 19),
            ("chat_retrieval", 13),
            ("key_values", 8),
            ("copying", 4),
            ("chat_story", 12),
        ],
        "long": [
            ("natural", 34),
            ("retrieval", 29),
            ("chat_retrieval", 17),
            ("key_values", 15),
            ("copying", 3),
            ("chat_story", 2),
        ],
    }

    def sequence(self, length):
        """One training sequence: length + 1 tokens and their weights (a token's weight applies
        where it is predicted).
        """
        r = self.r
        kinds, p = zip(*self.MIX["short" if length <= 4096 else "long"])
        ids, w = [], []
        kind = r.choices(kinds, p)[0]
        while len(ids) < length + 1:
            room = length + 1 - len(ids)
            budget = room
            if room < 48:
                d = self.natural(room + 64)
            else:
                if (
                    kind in ("retrieval", "chat_retrieval", "key_values")
                    and length <= 4096
                    and r.random() < 0.4
                ):
                    budget = max(48, int(room * r.choice([0.25, 0.5, 0.5, 0.75])))
                d = getattr(self, kind)(budget)
                if len(d) < room and d.ids[-1] != EOS:
                    d.put([EOS])
            ids += d.ids
            w += d.w
            if kind not in ("copying", "chat_story") or r.random() < 0.3:
                kind = r.choices(kinds, p)[0]
        return np.array(ids[: length + 1], dtype=np.uint16), np.array(
            w[: length + 1], dtype=np.uint8
        )
