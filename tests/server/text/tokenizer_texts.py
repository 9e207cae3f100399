"""Texts that are hard on a tokenizer, the same ones in every run."""

import random

from make_tokenizer_fixture import FRAGMENTS, SENTENCES, SPACES, texts as fixture_texts

CODE = [
    "#include <vector>\n\nint main() {\n\treturn std::vector<int>{1, 2}.size();\n}\n",
    "class A:\n    def __init__(self, x=None):\n        self.x = x or {}  # default\n",
    "SELECT a.id, COUNT(*) FROM t1 a\r\nWHERE a.name LIKE '%x_%' GROUP BY 1;\r\n",
    "{\"key\": [1, 2.5e-3, null, true], \"s\": \"\\u00e9\\n\"}",
    "<html><body class=\"a\">&nbsp;</body></html>\n\n\n\n  <!-- end -->",
]
SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>",
           "<|begin_of_text|>", "<|eot_id|>", "[INST]", "[/INST]", "<bos>", "<eos>", "<0x0A>",
           "<0xE4>", "<|assistant|>", "<EOT>", "<start_of_turn>", "<s><s>", " <s> ", "</s>\n"]
MARKS = ["▁", "▁▁", " ▁", "▁ ", "Ġ", "</w>", "e\u0301", "\u0344", "\u1e9b\u0323", "ﬁ", "①", "Å",
         "가", "\u1112\u1161\u11ab", "\U0001d15e", "\u0958", "İI", "ΑΣ", "ǅ", "ẞ", "\u2126"]
JOINERS = ["\u200d", "\ufe0f", "\u200c", "\u0301", "\U0001f3fd", "\u20e3", "\ue000", "\ufdd0"]


def random_text(rng, pool):
    return "".join(rng.choice(pool) for _ in range(rng.randint(1, 9)))


def random_characters(rng):
    low, high = rng.choice([(0, 0x80), (0x80, 0x250), (0x250, 0x900), (0x900, 0x1100),
                            (0x1100, 0x3000), (0x3000, 0xd800), (0xe000, 0x10000),
                            (0x10000, 0x20000), (0x20000, 0x110000)])
    joiners = JOINERS if rng.random() < 0.3 else []
    return "".join(rng.choice(joiners) if joiners and rng.random() < 0.3
                   else chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 12)))


def cut(rng, text):
    begin = rng.randrange(len(text))
    return text[begin:begin + rng.randint(1, 60)]


def all_texts(count):
    """At least `count` different texts."""
    rng = random.Random(5104)
    found = dict.fromkeys(fixture_texts())
    sources = SENTENCES + CODE
    words = [word for sentence in sources for word in sentence.split()]
    pool = FRAGMENTS + SPACES + SPECIAL + MARKS + JOINERS + words
    makers = [
        lambda: random_text(rng, pool),
        lambda: " ".join(rng.choice(words) for _ in range(rng.randint(1, 30))),
        lambda: cut(rng, rng.choice(sources)) + rng.choice(pool) + cut(rng, rng.choice(sources)),
        lambda: random_characters(rng),
        lambda: rng.choice(words) + random_text(rng, SPACES) + rng.choice(words),
        lambda: rng.choice(SPECIAL) + cut(rng, rng.choice(sources)) + rng.choice(SPECIAL),
        lambda: rng.choice(words + FRAGMENTS + MARKS) * rng.randint(2, 70),
        lambda: cut(rng, rng.choice(sources)).replace(" ", rng.choice(["", "▁", "  ", "\n"])),
    ]
    found |= dict.fromkeys(SPECIAL + MARKS + CODE + SPACES)
    while len(found) < count:
        found[rng.choice(makers)()] = None
    return list(found)


def every_character():
    """All code points that have a meaning, each between two letters, a few hundred a text."""
    points = [c for c in [*range(0x323b0), *range(0xe0000, 0xe0200)] if not 0xd800 <= c < 0xe000]
    return [" ".join(f"a{chr(c)}a" for c in points[i:i + 256]) for i in range(0, len(points), 256)]


def random_ids(size, special, count):
    """Sequences of ids below `size`: any, runs of neighbours, and special ones."""
    rng = random.Random(777)
    sequences = []
    for _ in range(count):
        low = rng.choice([0, rng.randrange(size)])
        high = min(size, low + rng.choice([size, 260]))
        sequences.append([rng.choice(special) if special and rng.random() < 0.1
                          else rng.randrange(low, high) for _ in range(rng.randint(0, 16))])
    return sequences
