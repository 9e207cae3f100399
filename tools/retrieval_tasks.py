"""The retrieval tasks of tidal-nano's model card: prompts of a given length, and their scores.

A prompt is made of units (sentences of filler, or lines of a list) in which facts are hidden. Its
length is measured with the tokenizer of the tested server, and units are added or taken away until
it fits.
"""

import dataclasses
import random
import re

from retrieval_filler import FillerWriter

# Tokens kept free of the prompt for the answer and the chat template.
ANSWER_ROOM = 128
# A prompt may fall this many tokens short of the length asked for: a sentence or two.
LENGTH_SLACK = 48

ATTRIBUTES = ["secret code", "passkey", "special magic number", "access code", "vault code",
              "registration number", "account number", "serial number"]
PEOPLE = """Adrian Alastair Angus Annika Bertram Bettina Callum Clement Constance Cordelia Cyrus
Dominic Duncan Eleanor Eugene Evelyn Ferdinand Frances Genevieve Gideon Harriet Heather Hubert Isla
Jasper Jemima Kirsten Lambert Leila Leopold Lorna Lucian Margot Marjorie Mildred Muriel Nigel Norma
Odette Ophelia Orlando Pamela Phoebe Quincy Rhoda Roland Rosalind Rufus Sabina Sidney Tabitha
Terence Ulric Verity Violet Winifred Yvonne""".split()
CITIES = """Aberdeen Adelaide Antwerp Bath Belfast Bologna Bradford Bremen Brighton Bruges Cadiz
Cambridge Canterbury Cracow Delft Derby Dover Dundee Exeter Ghent Grenoble Haarlem Halifax Innsbruck
Lausanne Leicester Lille Lincoln Mantua Montpellier Nancy Newcastle Norwich Odessa Orleans Padua
Parma Perugia Plymouth Ravenna Reims Rouen Salisbury Sheffield Siena Southampton Strasbourg Tangier
Toledo Tours Uppsala Winchester Worcester""".split()


@dataclasses.dataclass(frozen=True)
class Prompt:
    text: str        # a completion's prompt, or the content of the user's turn
    is_chat: bool
    expected: str
    match: str       # "line": the first line is the answer; "contains": the answer stands in it
    tokens: int      # of text


def number(source):
    digits = source.randint(5, 7)
    return str(source.randrange(10 ** (digits - 1), 10 ** digits))


def uuid(source):
    return "-".join("".join(source.choice("0123456789abcdef") for _ in range(length))
                    for length in (8, 4, 4, 4, 12))


def hide(sentences, needles, depths):
    """Running text with each needle after the sentence at its depth (0 first .. 1 last).

    sentences: (sentence, what separates it from the next: a space or a paragraph break).
    """
    count = len(sentences)
    after = {}
    for needle, depth in zip(needles, depths):
        after.setdefault(min(int(depth * count), count - 1), []).append(needle)
    parts = []
    for index, (sentence, separator) in enumerate(sentences):
        parts += [sentence, separator]
        for needle in after.get(index, []):
            parts += [needle, separator]
    return "".join(parts[:-1])


class _Units:
    """A growing list: the first n units of an endless source."""

    def __init__(self, source):
        self._source, self._list = source, []

    def first(self, count):
        while len(self._list) < count:
            unit = next(self._source, None)
            if unit is None:
                raise ValueError(f"length: too long, the list has only {len(self._list)} lines")
            self._list.append(unit)
        return self._list[:count]


def _sentences(source):
    for paragraph in FillerWriter(source).paragraphs():
        for sentence in paragraph[:-1]:
            yield sentence, " "
        yield paragraph[-1], "\n\n"


def _fit(assemble, count_tokens, max_tokens):
    """The longest assemble(number of units) of at most max_tokens, less LENGTH_SLACK at most."""
    low, low_tokens = 1, count_tokens(assemble(1))
    if low_tokens > max_tokens:
        raise ValueError(f"length: {max_tokens} tokens do not hold the facts and the question, "
                         f"which take {low_tokens}")
    high = None
    per_unit = 24.0
    while max_tokens - low_tokens > LENGTH_SLACK and high != low + 1:
        # Aim at the middle of the slack; stay inside what is known to be too long.
        step = max(1, round((max_tokens - LENGTH_SLACK / 2 - low_tokens) / per_unit))
        guess = low + step if high is None else min(low + step, high - 1)
        tokens = count_tokens(assemble(guess))
        per_unit = max(4.0, abs(tokens - low_tokens) / max(1, guess - low))
        if tokens <= max_tokens:
            low, low_tokens = guess, tokens
        else:
            high = guess
    return assemble(low), low_tokens


def _haystack(source, needles, question, lead, count_tokens, max_tokens):
    units = _Units(_sentences(source))
    depths = [source.random() for _ in needles]

    def assemble(count):
        return lead + hide(units.first(count), needles, depths) + "\n\nQuestion: " + question

    return _fit(assemble, count_tokens, max_tokens)


def _needles(source, count, value, keys=None):
    """(attribute, keys, values, sentences) of `count` facts of one kind."""
    attribute = source.choice(ATTRIBUTES)
    keys = source.sample(keys or source.choice([PEOPLE, CITIES]), count)
    values = [value(source) for _ in keys]
    sentences = [f"The {attribute} for {k} is {v}." for k, v in zip(keys, values)]
    return attribute, keys, values, sentences


def _one_of(facts, value, keys=None, is_chat=False):
    def make(source, count_tokens, max_tokens):
        attribute, names, values, sentences = _needles(source, facts, value, keys)
        asked = source.randrange(facts)
        question = f"What is the {attribute} for {names[asked]}?"
        lead = "Read the text and answer the question.\n\n" if is_chat else ""
        text, tokens = _haystack(source, sentences, question if is_chat else question + "\nAnswer:",
                                 lead, count_tokens, max_tokens)
        return Prompt(text, is_chat, values[asked], "contains" if is_chat else "line", tokens)

    return make


def _several(facts, asked):
    def make(source, count_tokens, max_tokens):
        attribute, names, values, sentences = _needles(source, facts, number)
        picked = source.sample(range(facts), asked)
        listed = [names[i] for i in picked]
        question = (f"What are the {attribute}s for {', '.join(listed[:-1])} and {listed[-1]}?"
                    "\nAnswer:")
        text, tokens = _haystack(source, sentences, question, "", count_tokens, max_tokens)
        return Prompt(text, False, ", ".join(values[i] for i in picked), "line", tokens)

    return make


def _key_value_list(source, count_tokens, max_tokens):
    def lines():
        pairs = [(person, city) for person in PEOPLE for city in CITIES]
        source.shuffle(pairs)
        for person, city in pairs:
            yield f"{person} {city}", number(source)

    units, depth = _Units(lines()), source.random()

    def assemble(count):
        listed = units.first(count)
        asked = listed[int(depth * count)][0]
        return ("Here is a list of keys and values:\n"
                + "".join(f"{key}: {value}\n" for key, value in listed)
                + f"\nQuestion: What is the value for {asked}?\nAnswer:")

    text, tokens = _fit(assemble, count_tokens, max_tokens)
    asked = re.search(r"value for (.*)\?\nAnswer:$", text).group(1)
    expected = re.search(rf"^{asked}: (\d+)$", text, re.MULTILINE).group(1)
    return Prompt(text, False, expected, "line", tokens)


TASKS = {
    "niah_single": _one_of(1, number),
    "niah_multikey": _one_of(16, number),
    "niah_multiquery": _several(8, 4),
    "niah_uuid": _one_of(4, uuid),
    "kv_lookup": _key_value_list,
    "chat_niah": _one_of(8, number, is_chat=True),
}


def make_prompt(task, length, index, seed, count_tokens):
    """Prompt `index` of a task for a context of `length` tokens, its answer included.

    The same arguments give the same prompt. count_tokens(text) is asked a few times. ValueError
    when the length cannot hold the task.
    """
    source = random.Random(f"{seed}/{task}/{length}/{index}")
    return TASKS[task](source, count_tokens, length - ANSWER_ROOM)


def max_answer_tokens(prompt):
    """Enough for the expected answer: no token is shorter than one character."""
    return len(prompt.expected) + (24 if prompt.match == "contains" else 4)


def is_right(prompt, answer):
    """Exact match: of the first line, or as a whole word anywhere in the answer."""
    if prompt.match == "line":
        return answer.strip("\n").split("\n")[0].strip() == prompt.expected
    return re.search(r"(?<!\w)" + re.escape(prompt.expected) + r"(?!\w)", answer) is not None
