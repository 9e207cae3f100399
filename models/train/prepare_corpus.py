#!/usr/bin/env python3
"""Build the training text from folders of public-domain and openly licensed English text.

    prepare_corpus.py --raw RAW --out OUT [--books-mb 190]

RAW holds one folder per source (any that is missing is skipped):
    books/   markdown books, "Author/Title.md", with a "## Year: N" line (classic-books-markdown)
    pg/      Project Gutenberg plain-text files (fairy tales and other children's books)
    fairy/   FairytaleQA section-level story csv files
    asp/     African Storybook stories in markdown
    tiny/    TinyStories excerpts, one text file each
    tech/    html of technical books (the Rust book, the Cargo book, ...)

OUT receives one text file per group (documents separated by the record separator U+001E), a
held-out file that is used only for evaluation, and sources.tsv.
"""

import argparse
import csv
import html
import os
import re
import unicodedata
from collections import Counter

SEP = "\x1e"
# Books that never enter training: filler of the held-out prompts, and text for perplexity.
HELDOUT = ["Treasure Island.md", "White Fang.md", "The Time Machine.md", "Three Men in a Boat.md"]
KIDS_AUTHORS = [
    "Aesop",
    "Beatrix Potter",
    "Carlo Collodi",
    "Edith Nesbit",
    "Hans Christian Andersen",
    "L. Frank Baum",
    "Lewis Carroll",
    "The Brothers Grimm",
    "Hugh Lofting",
    "Howard Pyle",
    "Anna Sewell",
    "Johanna Spyri",
    "Kenneth Grahame",
    "Abbie Farwell Brown",
    "Gertrude Chandler Warner",
]
KIDS_TITLES = [
    "A Little Princess.md",
    "The Secret Garden.md",
    "Peter Pan.md",
    "The Jungle Book.md",
    "Irish Fairy Tales.md",
    "The Princess and the Goblin.md",
    "Black Beauty.md",
]
# The excerpts lost their separators; a paragraph with one of these openings starts a new story.
START = (
    r"(?i:Once upon a time|Once there|There (was|were|lived) |Once, |Long ago|One (sunny |cold |hot"
    r" )?day,? (a|an|there|two|in|on) |[A-Z][a-z]+ (and [A-Z][a-z]+ )?(was a|were|is a|are|had"
    r" a|liked|loved|likes) )"
)
PUNCT = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2013": "-",
    "\u2014": "--",
    "\u2026": "...",
    "\u00a0": " ",
    "\u2032": "'",
    "\u2033": '"',
    "\ufeff": "",
    "\u200b": "",
}


def clean(t):
    t = unicodedata.normalize("NFC", t).translate({ord(k): v for k, v in PUNCT.items()})
    t = t.replace("\r", "").replace("\t", " ").replace(SEP, "")
    t = re.sub(r"(?m)^#+ *", "", t)  # headings become plain lines
    t = re.sub(r"(?m)^ *([*_~-] ?){3,} *$", "", t)  # rules
    t = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", t)  # links and images
    t = re.sub(r"(?<!\w)[_*]+(?=\S)|(?<=\S)[_*]+(?!\w)", "", t)  # emphasis
    t = re.sub(r"[^\S\n]+", " ", t)
    t = re.sub(r" ?\n ?", "\n", t)
    return re.sub(r"\n{3,}", "\n\n", t).strip()


def unwrap(t):
    """Join hard-wrapped lines; keep short-line blocks (verse, lists) as they are."""
    out = []
    for p in re.split(r"\n\s*\n", t.replace("\r", "")):
        lines = [l.strip() for l in p.split("\n") if l.strip()]
        if not lines:
            continue
        verse = len(lines) > 2 and sum(len(l) < 45 for l in lines[:-1]) > 0.6 * (len(lines) - 1)
        out.append(("\n" if verse else " ").join(lines))
    return "\n\n".join(out)


def book(path):
    t = open(path, encoding="utf-8", errors="replace").read()
    year = re.search(r"## Year: (-?\d+)", t)
    title = re.search(r"# Title: (.*)", t)
    body = t.split("-------", 1)[-1]
    head = title.group(1).strip() if title else os.path.basename(path)[:-3]
    return head, int(year.group(1)) if year else 9999, clean(head + "\n\n" + body)


def gutenberg(path):
    raw = open(path, "rb").read()
    try:
        t = raw.decode("utf-8")
    except UnicodeDecodeError:
        t = raw.decode("latin-1")
    t = t.replace("\r", "")
    s = re.search(
        r"\*\*\* ?START OF.*?\*\*\*|\*END\*?\s*THE SMALL PRINT.*\n|\*END THE SMALL PRINT.*\n",
        t,
        re.S,
    )
    e = re.search(r"\*\*\* ?END OF|End of (the )?Project Gutenberg|End of The Project Gutenberg", t)
    t = t[s.end() if s and s.end() < len(t) // 4 else 0 : e.start() if e else len(t)]
    t = re.sub(
        r"(?i)\n[^\n]*(project gutenberg|e-?text|transcriber|proofread|produced"
        r" by)[^\n]*(\n[^\n]+)*",
        "\n",
        t,
    )
    t = re.sub(r"\[(Illustration|Footnote)[^\]]*\]", "", t)
    return clean(unwrap(t))


class Readability:
    def __init__(self, texts):
        c = Counter()
        for t in texts:
            c.update(re.findall(r"[a-z]+", t.lower()))
        self.top = {w for w, _ in c.most_common(5000)}

    def __call__(self, t):
        w = re.findall(r"[a-z]+", t.lower())
        s = len(re.findall(r"[.!?][\"')]*\s", t)) + 1
        return 100 * sum(x not in self.top for x in w) / max(1, len(w)) + 0.4 * len(w) / s


def walk(d, exts):
    for r, _, fs in sorted(os.walk(d)):
        for f in sorted(fs):
            if f.endswith(exts):
                yield os.path.join(r, f)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--raw", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--books-mb", type=float, default=190)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    raw = lambda s: os.path.join(a.raw, s)
    groups, sources = {"books": [], "kids": [], "tiny": [], "tech": [], "heldout": []}, []

    def add(g, name, t):
        if len(t) > 300:
            groups[g].append(t)
            sources.append((g, name, len(t)))

    cand = []
    for p in walk(raw("books"), ".md"):
        name = os.path.relpath(p, raw("books"))
        if name == "README.md":
            continue
        author, f = os.path.split(name)
        title, year, t = book(p)
        if author == "Beatrix Potter":
            year = 1902
        if year >= 1930:  # keep to works that are old enough to be public domain
            continue
        if f in HELDOUT:
            add("heldout", name, t)
        elif author in KIDS_AUTHORS or f in KIDS_TITLES:
            add("kids", name, t)
        else:
            cand.append((name, t))
    score = Readability(t for _, t in cand)
    cand = sorted((score(t), n, t) for n, t in cand)
    total = 0
    for s, n, t in cand:
        if total + len(t) <= a.books_mb * 1e6:
            add("books", n, t)
            total += len(t)
    for p in walk(raw("pg"), ".txt"):
        add("kids", os.path.basename(p), gutenberg(p))
    for p in walk(raw("fairy"), ".csv"):
        rows = list(csv.DictReader(open(p, encoding="utf-8", errors="replace")))
        t = "\n\n".join(unwrap(r.get("text") or "") for r in rows)
        add("kids", "fairy/" + os.path.basename(p), clean(t))
    for p in walk(raw("asp"), ".md"):
        t = open(p, encoding="utf-8", errors="replace").read()
        if os.path.basename(p) == "README.md" or re.search(r"(?i)licen[sc]e:.*\bNC\b", t):
            continue  # non-commercial licences stay out
        t = re.sub(r"(?m)^\* .*$", "", t)  # licence and credit lines
        add("kids", "asp/" + os.path.basename(p), clean(unwrap(t)))
    seen = set()
    for p in walk(raw("tiny"), ".txt"):
        t = open(p, encoding="utf-8", errors="replace").read()
        t = re.sub(r"\n\n?(?=%s)" % START, "<|endoftext|>", t.replace("\r", ""))
        for s in re.split(r"<\|endoftext\|>|\n\n\n+", t):
            s = clean(s)
            if len(s) > 200 and s[:120] not in seen and s[-1] in '.!?"' and ord(max(s)) < 0x300:
                seen.add(s[:120])
                groups["tiny"].append(s)
    sources.append(
        (
            "tiny",
            "TinyStories excerpts (%d stories)" % len(groups["tiny"]),
            sum(map(len, groups["tiny"])),
        )
    )
    for p in walk(raw("tech"), ".html"):
        t = open(p, encoding="utf-8", errors="replace").read()
        t = t[t.find("<main") :]
        t = re.sub(r"(?s)<(script|style|pre|nav|table)\b.*?</\1>", "", t)
        t = re.sub(r"</(p|h\d|li|div|ul|ol)>", "\n\n", t)
        t = html.unescape(
            re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", t.replace("\n\n", "\x01"))).replace(
                "\x01", "\n\n"
            )
        )
        add("tech", os.path.basename(os.path.dirname(p)), clean(t))
    for g, docs in groups.items():
        open(os.path.join(a.out, g + ".txt"), "w", encoding="utf-8").write(SEP.join(docs))
        print("%-8s %5d documents %8.2f MB" % (g, len(docs), sum(map(len, docs)) / 1e6))
    with open(os.path.join(a.out, "sources.tsv"), "w") as f:
        for s in sources:
            f.write("%s\t%s\t%d\n" % s)


if __name__ == "__main__":
    main()
