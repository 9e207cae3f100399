"""Random facts: an attribute, a key and a value; how a text states them and asks for them."""

from words import (
    ADJS,
    ANIMALS,
    CITIES,
    COLOURS,
    FIRST,
    LAST,
    NAME_ATTRS,
    NUMBER_ATTRS,
    RELATIONS,
    THINGS,
    WORD_ATTRS,
    digits,
    hexa,
    pseudo,
    uuid,
)


class Facts:
    """Makes facts from a random source; `words` are common words of the corpus."""

    def __init__(self, tok, corpus, words, r):
        self.tok, self.corpus, self.words, self.r = tok, corpus, words, r

    # keys and values -----------------------------------------------------------------------------

    def key(self, kind):
        r = self.r
        if kind == "name":
            return r.choice(FIRST)
        if kind == "full":
            return r.choice(FIRST) + " " + r.choice(LAST)
        if kind == "city":
            return r.choice(CITIES)
        if kind == "thing":
            return "the " + r.choice(COLOURS) + " " + r.choice(THINGS)
        if kind == "pair":
            return r.choice(ADJS) + "-" + r.choice(ANIMALS)
        if kind == "word":
            return r.choice(self.words)
        if kind == "number":
            return digits(r, r.choice([3, 4, 5, 6]))
        if kind == "hex":
            return hexa(r, r.choice([4, 6, 8]))
        if kind == "pseudo":
            return pseudo(r).capitalize()
        return uuid(r)

    KEYS = ["name", "full", "city", "thing", "pair", "word", "number", "hex", "pseudo", "uuid"]
    KEYW = [16, 12, 12, 14, 12, 10, 6, 6, 8, 3]

    def value(self, kind):
        r = self.r
        if kind == "digits":
            return digits(r, r.choice([4, 5, 5, 6, 6, 7, 7, 8]))
        if kind == "word":
            return r.choice(self.words)
        if kind == "words":
            return r.choice(ADJS + COLOURS) + " " + r.choice(ANIMALS + THINGS)
        if kind == "code":
            return (
                "".join(r.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(r.choice([2, 3])))
                + "-"
                + digits(r, r.choice([3, 4]))
            )
        if kind == "name":
            return r.choice(FIRST) + " " + r.choice(LAST) if r.random() < 0.6 else r.choice(CITIES)
        if kind == "hex":
            return hexa(r, r.choice([6, 8, 12]))
        if kind == "count":
            return digits(r, r.choice([2, 3, 4, 5, 6]))
        if kind == "city":
            return r.choice(CITIES)
        if kind == "person":
            return r.choice(FIRST) + " " + r.choice(LAST)
        if kind == "thing":
            return "the " + r.choice(COLOURS) + " " + r.choice(THINGS)
        if kind == "animal":
            return r.choice(ADJS) + " " + r.choice(ANIMALS)
        if kind == "clock":
            return "%d:%02d" % (r.randrange(1, 13), r.randrange(0, 60))
        return uuid(r)

    VALUES = ["digits", "word", "words", "code", "name", "hex", "uuid"]
    VALW = [50, 10, 8, 8, 8, 6, 10]

    def facts(self, n, mixed=0.3):
        """n facts (attribute, key, value) with distinct (attribute, key) and mostly distinct
        values.
        """
        r = self.r
        if r.random() < 0.2:
            return self.relations(n)
        kinds = r.choices(self.KEYS, self.KEYW, k=1 if r.random() > mixed else 3)
        vals = r.choices(self.VALUES, self.VALW, k=1 if r.random() > mixed else 2)
        one_attr = r.random() < 0.6
        fixed, out, seen, keys = {}, [], set(), []
        while len(out) < n:
            vk = r.choice(vals)
            pool = (
                NUMBER_ATTRS
                if vk in ("digits", "hex", "uuid", "code")
                else NAME_ATTRS if vk == "name" else WORD_ATTRS
            )
            a = fixed.setdefault(vk, r.choice(pool)) if one_attr else r.choice(pool)
            k = (
                r.choice(keys)
                if keys and not one_attr and r.random() < 0.25
                else self.key(r.choice(kinds))
            )
            if (a, k) in seen:
                kinds.append(
                    r.choice(["pseudo", "full", "pair", "thing"])
                )  # a small key space ran out
                continue
            seen.add((a, k))
            keys.append(k)
            out.append((a, k, self.value(vk)))
        return out

    def relations(self, n):
        """Facts such as "Anna sold 312 carpets."; the attribute of such a fact is its index in
        RELATIONS.
        """
        r = self.r
        kinds = [r.choice(["name", "full"])]
        pool = r.sample(range(len(RELATIONS)), r.choice([1, 1, 2, 4, 8]))
        out, seen = [], set()
        while len(out) < n:
            a, k = r.choice(pool), self.key(r.choice(kinds))
            if (a, k) in seen:
                kinds = ["full"]
                continue
            seen.add((a, k))
            out.append((a, k, self.value(RELATIONS[a][0])))
        return out

    def answer(self, a, k):
        """The start and the end of the sentence that answers, around the value."""
        if isinstance(a, int):
            return RELATIONS[a][1].replace("{k}", k).split("{v}")
        return "The %s for %s is " % (a, k), "."

    # needles and questions -----------------------------------------------------------------------

    NEEDLES = [
        "The {a} for {k} is {v}.",
        "The {a} of {k} is {v}.",
        "Remember that the {a} for {k} is {v}.",
        "One of the {a}s for {k} is: {v}.",
        "Please note: the {a} of {k} is {v}.",
        "It was written down that the {a} for {k} was {v}.",
        "The {a} for {k} is: {v}.",
        "By the way, the {a} of {k} is {v}.",
        "{v} is the {a} for {k}.",
        "Everyone knew that the {a} for {k} was {v}.",
        "Do not forget: the {a} for {k} is {v}.",
    ]
    NAMED = ["{k}'s {a} is {v}.", "{k} said that the {a} was {v}.", "{k} wrote down the {a}: {v}."]

    def needle(self, a, k, v, form=None):
        """[(text, weight)] of the sentence that states the fact."""
        t = RELATIONS[a][1] if isinstance(a, int) else form or self.r.choice(self.NEEDLES)
        if isinstance(a, int):
            a = ""
        pre, post = t.replace("{a}", a).replace("{k}", k).split("{v}")
        if pre:
            pre = pre[0].upper() + pre[1:]
        else:
            v = v[0].upper() + v[1:]
        return [(pre, 1), (v, 0), (post, 1)]

    QUESTIONS = [
        "What is the {a} for {k}?",
        "What is the {a} of {k}?",
        "What is the {a} for {k} mentioned in the text?",
        "Which {a} belongs to {k}?",
        "According to the text, what is the {a} for {k}?",
        "Tell me the {a} for {k}.",
        "What was the {a} for {k}?",
    ]

    def question(self, a, k):
        if isinstance(a, int):
            return RELATIONS[a][2].replace("{k}", k)
        q = self.r.choice(self.QUESTIONS if self.r.random() < 0.85 else ["What is {k}'s {a}?"])
        return q.replace("{a}", a).replace("{k}", k)
