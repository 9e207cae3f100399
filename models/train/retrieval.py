"""Facts hidden in natural text, and questions about them: as running text and as a chat."""

import numpy as np

from documents import ANSWER, ASSISTANT, BOS, END, SYSTEM, USER, Doc
from facts import Facts
from words import digits


class Retrieval(Facts):
    """Needles in a haystack; each method that takes a budget writes one document of about so
    many tokens.
    """

    def qa_block(self, d, facts, style):
        """A question (or several) in running text, with the answers."""
        r = self.r
        a, k, v = facts[0]
        same = [f for f in facts if f[0] == a]
        pre, post = self.answer(a, k)
        if style == "multi" and (len(same) < 2 or isinstance(a, int)):
            style = "short"
        if style == "multi":
            ks = [f[1] for f in same]
            lst = ", ".join(ks[:-1]) + " and " + ks[-1] if r.random() < 0.7 else ", ".join(ks)
            if r.random() < 0.65:  # the wording of the question says which form to answer in
                d.add("\n\nQuestion: What are the %ss for %s?\nAnswer:" % (a, lst))
                parts = [(" ", ANSWER)]
                for i, f in enumerate(same):
                    parts += [(f[2], ANSWER), ("\n" if i == len(same) - 1 else ", ", ANSWER)]
            else:
                d.add("\n\nQuestion: List the %ss for %s.\nAnswer:" % (a, lst))
                parts = []
                for i, f in enumerate(same):
                    parts += [
                        (" " + f[1] + ": ", ANSWER),
                        (f[2], ANSWER),
                        ("\n" if i == len(same) - 1 else ";", ANSWER),
                    ]
            d.add(parts)
        elif style == "short":
            d.add([("\n\nQuestion: " + self.question(a, k) + "\nAnswer: ", 1), (v + "\n", ANSWER)])
        elif style == "qa":
            d.add([("\n\nQ: " + self.question(a, k) + "\nA: ", 1), (v + "\n", ANSWER)])
        elif style == "full":
            d.add(
                [
                    ("\n\nQuestion: " + self.question(a, k) + "\nAnswer in a sentence: ", 1),
                    (pre + v + post + "\n", ANSWER),
                ]
            )
        elif style == "state":
            head = self.r.choice(
                [
                    "\n\nThe %s for %s mentioned in the text above is ",
                    "\n\nThe %s for %s is ",
                    "\n\nAs stated above, the %s of %s is ",
                ]
            )
            d.add(
                [
                    ("\n\n" + pre if isinstance(a, int) else head % (a, k), 1),
                    (v, ANSWER),
                    (post + "\n", ANSWER),
                ]
            )
        else:  # the question, then the start of the answer
            d.add(
                [("\n\n" + self.question(a, k) + " " + pre, 1), (v, ANSWER), (post + "\n", ANSWER)]
            )

    STYLES = ["short", "qa", "full", "state", "restate", "multi"]
    STYLEW = [36, 10, 12, 14, 10, 18]

    def filler(self, n):
        r = self.r
        k = r.random()
        if k < 0.60:
            t = self.corpus.window(r, "books", n)
        elif k < 0.86:
            t = self.corpus.window(r, "kids", n)
        elif k < 0.93:
            t = self.corpus.window(r, "tech", n)
        else:
            s = self.tok.encode(
                " The grass is green. The sky is blue. The sun is yellow. Here we go. There and"
                " back again."
            )
            t = np.array((s * (n // len(s) + 1))[:n], dtype=np.uint16)
        if len(t) < n:  # short documents: join more of them
            nl = self.tok.encode("\n\n")
            parts = [t]
            while sum(map(len, parts)) < n:
                parts += [np.array(nl, dtype=np.uint16), self.corpus.window(r, "books", n)]
            t = np.concatenate(parts)[:n]
        return t

    def haystack(self, d, facts, n_filler, ask_inline=0.0):
        """Spread the facts over n_filler tokens of filler; sometimes ask for an earlier one on
        the way.
        """
        r = self.r
        fill, cuts = self.cut(d, n_filler)
        # a random depth for each needle; facts are in random order, so all depths are alike
        at = sorted(
            (int(cuts[int(r.random() * len(cuts))]) if r.random() > 0.02 else 0) for _ in facts
        )
        form = r.choice(self.NEEDLES) if r.random() < 0.6 else None
        prev, past = 0, []
        for p, (a, k, v) in zip(at, facts):
            d.put(fill[prev:p])
            prev = p
            f = form or (r.choice(self.NAMED) if k[0].isupper() and r.random() < 0.3 else None)
            self.sentence(d, self.needle(a, k, v, f))
            past.append((a, k, v))
            if r.random() < ask_inline:
                self.qa_block(d, [r.choice(past)], r.choices(self.STYLES[:5], self.STYLEW[:5])[0])
        d.put(fill[prev:])

    def cut(self, d, n):
        """Filler of whole sentences to follow d, and the places between them."""
        fill = self.filler(n)
        if d.ids and (d.ids[-1] < 8 or self.corpus.is_nl[d.ids[-1]]):
            fill = self.corpus.unspaced(fill)
        cuts = np.nonzero(self.corpus.is_end[fill])[0] + 1
        return (fill[: int(cuts[-1])], cuts) if len(cuts) else (fill, np.array([len(fill)]))

    def sentence(self, d, parts):
        """Insert a sentence so that it tokenizes as it would in running text."""
        if d.ids and (d.ids[-1] < 8 or self.corpus.is_nl[d.ids[-1]]):
            d.add(parts[:-1] + [(parts[-1][0] + "\n\n", parts[-1][1])])
        else:
            d.add([(" " + parts[0][0], parts[0][1])] + parts[1:])

    def count(self, budget, per, most):
        """A number of facts, log-uniform, with few of them in one document out of five."""
        u = self.r.random() if self.r.random() < 0.2 else self.r.uniform(0.4, 1.0)
        return max(1, min(int(2 ** (u * np.log2(max(2, budget / per)))), most))

    def retrieval(self, budget):
        """Needles in a haystack and many questions, as running text."""
        r = self.r
        d = Doc(self.tok)
        d.put([BOS])
        single = r.random() < 0.08
        n = 1 if single else self.count(budget, 60, 200)
        facts = self.facts(n)
        inline = r.choice([0, 0, 0, 0.3])
        cost = int(24 * n * (1 + inline)) + 30
        n_q = max(1, min(int(r.choice([0.15, 0.3, 0.45]) * budget / 28), 4 * n + 2, 250))
        room = int(budget - cost - 30 * n_q)
        if room < 64:
            room, n_q = max(32, budget - cost - 60), 2
        if r.random() < 0.15:
            d.add(
                r.choice(
                    [
                        (
                            "A special magic number is hidden within the following text. Make sure"
                            " to memorize it. I will quiz you about it afterwards.\n\n"
                        ),
                        (
                            "There is important information hidden inside a lot of text. Find it"
                            " and memorize it.\n\n"
                        ),
                        "Read the following text carefully.\n\n",
                    ]
                )
            )
        if single and r.random() < 0.5:
            v = digits(r, r.choice([5, 6, 7]))
            facts = [("pass key", None, v)]
            room = room // 2
            self.haystack_single(d, v, room)
        else:
            self.haystack(d, facts, room, inline)
            left = list(facts)
            styles = r.choices(self.STYLES, self.STYLEW, k=2)
            while len(d) < budget - 40 and n_q > 0:
                s = r.choice(styles)
                m = r.choice([2, 3, 4, 4, 5]) if s == "multi" else 1
                pick = [r.choice(left)]
                if m > 1:
                    same = [f for f in left if f[0] == pick[0][0] and f is not pick[0]]
                    pick += r.sample(same, min(m - 1, len(same)))
                self.qa_block(d, pick, s)
                n_q -= len(pick)
        return d

    def haystack_single(self, d, v, room):
        r = self.r
        fill, cuts = self.cut(d, room)
        p = int(r.choice(list(cuts)))
        d.put(fill[:p])
        self.sentence(
            d,
            [
                ("The pass key is ", 1),
                (v, 0),
                (". Remember it. ", 1),
                (v, ANSWER),
                (" is the pass key.", 1),
            ],
        )
        d.put(fill[p:])
        d.add([("\n\nWhat is the pass key? The pass key is ", 1), (v, ANSWER), (".\n", 1)])

    SYSTEMS = [
        "You are a helpful assistant.",
        "You are tidal-nano, a small language model.",
        "Answer the question from the text.",
        "You are a friendly assistant.",
        "You answer questions about a text. Be brief.",
    ]

    def system(self, d, p=0.25):
        if self.r.random() < p:
            d.put([SYSTEM])
            d.add(self.r.choice(self.SYSTEMS))
            d.put([END])

    def turn(self, d, user, answer, w=ANSWER):
        d.put([USER])
        d.add(user)
        d.put([END, ASSISTANT])
        d.add(answer, w)
        d.put([END], ANSWER)

    def chat_retrieval(self, budget):
        """The same in chat form: a text, then several turns of questions."""
        r = self.r
        d = Doc(self.tok)
        d.put([BOS])
        self.system(d)
        d.put([USER])
        n = self.count(budget, 60, 160)
        facts = self.facts(n)
        n_q = max(1, min(int(r.choice([0.15, 0.3, 0.45]) * budget / 44), 3 * n + 1, 150))
        room = int(budget - 24 * n - 46 * n_q - 40)
        if room < 64:
            room, n_q = max(32, budget - 24 * n - 110), 2
        lead = r.choice(
            [
                "",
                "",
                "Read the text and answer the question.\n\n",
                "Here is a text:\n\n",
                "Text:\n",
                "Answer the question based on the text below.\n\n",
            ]
        )
        if lead:
            d.add(lead)
        self.haystack(d, facts, room)
        form = r.choice(["bare", "full", "full"])
        only = (
            r.choice([" Answer with the value only.", " Give only the value."])
            if form == "bare"
            else ""
        )
        head = r.choice(["\n\n", "\n\nQuestion: ", "\n\n"])
        first = True
        while first or (n_q > 0 and len(d) < budget - 50):
            m = r.choice([2, 3, 4]) if r.random() < 0.2 else 1
            pick = [r.choice(facts)]
            if m > 1 and not isinstance(pick[0][0], int):
                same = [f for f in facts if f[0] == pick[0][0] and f is not pick[0]]
                pick += r.sample(same, min(m - 1, len(same)))
            a, k, v = pick[0]
            if len(pick) > 1:
                ks = [f[1] for f in pick]
                q = "What are the %ss for %s?" % (a, ", ".join(ks[:-1]) + " and " + ks[-1])
                ans = "; ".join("%s: %s" % (f[1], f[2]) for f in pick) + "."
            else:
                q = self.question(a, k) + only
                ans = v if form == "bare" else v.join(self.answer(a, k))
            if first:
                d.add(head + q)
                first = False
            else:
                d.put([USER])
                d.add(q)
            d.put([END, ASSISTANT])
            d.add(ans, ANSWER)
            d.put([END], ANSWER)
            n_q -= len(pick)
        return d
