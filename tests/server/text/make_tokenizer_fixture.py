"""Writes tokenizer_fixture.json: texts and the ids the `tokenizers` library gives them.

    python tests/server/text/make_tokenizer_fixture.py models/tidal-nano/tokenizer.json

Deterministic for one version of the library. Each entry is [text, ids without special tokens].
"""

import json
import pathlib
import random
import sys

from tokenizers import Tokenizer

SENTENCES = [
    "The lighthouse keeper wrote down the colour of the sea every morning.",
    "It's what they'll say, isn't it? We've DON'T I'D you'Re 'S 'tis O'Neil's",
    "Invoice no. 20417: 3 x 19.99 = 59.97 EUR (incl. 21% VAT)",
    "for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }  // dot",
    "def f(x):\n    return x**2\n\n\nprint(f(3))\r\n\tend",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org",
    "Zażółć gęślą jaźń, příliš žluťoučký kůň, Größe, naïve façade, Ærøskøbing",
    "Съешь ещё этих мягких французских булок, да выпей чаю",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "いろはにほへと ちりぬるを わかよたれそ つねならむ 漢字仮名交じり文",
    "天地玄黃,宇宙洪荒。日月盈昃,辰宿列張。",
    "다람쥐 헌 쳇바퀴에 타고파",
    "ทดสอบ ١٢٣ ४५६ ⅣⅧ ½ ² ㊿ 𝟘𝟙 ४२",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇳🇱🇯🇵 1️⃣ ☃️ 😀😀",
    "e\u0301 a\u0308o\u0328\u0304 Z\u0351\u0343\u036f\u0321 \u0301start",
]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u180e", "\u2003", "\u2028", "\u3000",
          "\x0b", "\x0c", "\x85", "\u200b", "\ufeff", "\u205f", "\u1680"]
SPECIALS = ["<|bos|>", "<|eos|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>",
            "<|end|>", "<|reserved|>"]
FRAGMENTS = ["<|", "|>", "<|en", "d|>", "<|end|", "<<|end|>>", "<|END|>", "< |end|>", "'s", "'LL",
             "'", "\u2019s", "'\u017f", "don't", "1234567", "3.14", "\x00", "\x07\x1b[0m", "\x7f",
             "a", "I", "_", "__init__", "...", "!?", "\\", "\"", "{}", "é", "ß", "ſ", "İ", "ǅ",
             "\u0301", "\u200d", "\ufe0f", "😀", "\U000e0001", "\U0010ffff", "\ue000", "\ufffd",
             "\ufffe", "中", "カ", "한", "ש", "ع", "ก", "ਕ", "Ⅷ", "½", "٣", "𝟘", "\U0001e030",
             "\u1c89", "\U00011bf0", "\U00031350", "\u0897", "\U0001faea"]


def texts():
    rng = random.Random(20417)
    yield ""
    yield from SENTENCES
    yield from FRAGMENTS + SPECIALS + SPACES
    for a in SPACES:
        for b in SPACES:
            yield f"x{a}{b}y" if rng.random() < 0.5 else f"{a}{b}"
    for space in [" ", "\n", "\t", "\r\n", " \n", "\n ", "\u00a0 "]:
        for count in (2, 3, 7, 16):
            yield space * count
            yield "a" + space * count + "b"
    for count in (1, 2, 5, 33, 48, 49, 50, 97):
        for unit in ("a", "ab", "0", "=", "é", "the", "中"):
            yield unit * count
    for special in SPECIALS:
        yield f"say {special} now"
        yield special + special
        yield f" {special}\n{special} x"
    for low in range(0, 0x3000, 48):  # every code point of the first blocks, in order
        yield "".join(map(chr, range(low, low + 12)))
    pool = FRAGMENTS + SPACES + SPECIALS[:3]
    for _ in range(700):
        yield "".join(rng.choice(pool) for _ in range(rng.randint(1, 7)))
    for _ in range(450):  # cuts of real sentences, put together
        first, second = rng.choice(SENTENCES), rng.choice(SENTENCES)
        a, b = rng.randrange(len(first)), rng.randrange(len(second))
        yield first[a:a + rng.randint(1, 14)] + rng.choice(["", " ", "\n"]) + second[b:b + 12]
    for _ in range(330):  # anything at all
        yield "".join(
            chr(rng.choice([rng.randrange(0x20, 0x7F), rng.randrange(0x80, 0x2FFF),
                            rng.randrange(0x3000, 0xD800), rng.randrange(0xE000, 0x20000)]))
            for _ in range(rng.randint(1, 6)))


def main():
    tokenizer = Tokenizer.from_file(sys.argv[1])
    seen, lines = set(), []
    for text in texts():
        if text not in seen:
            seen.add(text)
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            lines.append(json.dumps([text, ids], ensure_ascii=False, separators=(",", ":")))
    out = pathlib.Path(__file__).with_name("tokenizer_fixture.json")
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{len(lines)} texts, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
