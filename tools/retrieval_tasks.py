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
    expected: tuple  # the values that the answer must contain
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


def _ask(text, question, is_chat):
    """The prompt of a form: an instruction to answer, or a text that the answer continues."""
    if is_chat:
        return f"Read the text and answer the question.\n\n{text}\n\nQuestion: {question}"
    return f"{text}\n\nQuestion: {question}\nAnswer:"


def _haystack(source, needles, question, is_chat, count_tokens, max_tokens):
    units = _Units(_sentences(source))
    depths = [source.random() for _ in needles]

    def assemble(count):
        return _ask(hide(units.first(count), needles, depths), question, is_chat)

    return _fit(assemble, count_tokens, max_tokens)


def _needles(source, count, value, keys=None):
    """(attribute, keys, values, sentences) of `count` facts of one kind."""
    attribute = source.choice(ATTRIBUTES)
    keys = source.sample(keys or source.choice([PEOPLE, CITIES]), count)
    values = [value(source) for _ in keys]
    sentences = [f"The {attribute} for {k} is {v}." for k, v in zip(keys, values)]
    return attribute, keys, values, sentences


def _one_of(facts, value):
    def make(source, is_chat, count_tokens, max_tokens):
        attribute, names, values, sentences = _needles(source, facts, value)
        asked = source.randrange(facts)
        text, tokens = _haystack(source, sentences, f"What is the {attribute} for {names[asked]}?",
                                 is_chat, count_tokens, max_tokens)
        return Prompt(text, is_chat, (values[asked],), tokens)

    return make


def _several(facts, asked):
    def make(source, is_chat, count_tokens, max_tokens):
        attribute, names, values, sentences = _needles(source, facts, number)
        picked = source.sample(range(facts), asked)
        listed = [names[i] for i in picked]
        question = f"What are the {attribute}s for {', '.join(listed[:-1])} and {listed[-1]}?"
        text, tokens = _haystack(source, sentences, question, is_chat, count_tokens, max_tokens)
        return Prompt(text, is_chat, tuple(values[i] for i in picked), tokens)

    return make


def _key_value_list(source, is_chat, count_tokens, max_tokens):
    def pairs():
        names = [(person, city) for person in PEOPLE for city in CITIES]
        source.shuffle(names)
        for person, city in names:
            yield f"{person} {city}", number(source)

    units, depth = _Units(pairs()), source.random()

    def assemble(count):
        listed = units.first(count)
        asked = listed[int(depth * count)][0]
        lines = "\n".join(f"{key}: {value}" for key, value in listed)
        return _ask("Here is a list of keys and values:\n" + lines,
                    f"What is the value for {asked}?", is_chat)

    text, tokens = _fit(assemble, count_tokens, max_tokens)
    key = re.search(r"\n\nQuestion: What is the value for (.*)\?", text).group(1)
    value = re.search(rf"^{key}: (\d+)$", text, re.MULTILINE).group(1)
    return Prompt(text, is_chat, (value,), tokens)


TASKS = {
    "niah_single": _one_of(1, number),
    "niah_multikey": _one_of(16, number),
    "niah_multiquery": _several(8, 4),
    "niah_uuid": _one_of(4, uuid),
    "kv_lookup": _key_value_list,
    "chat_niah": _one_of(8, number),  # a chat in either form
}


def make_prompt(task, is_chat, length, index, seed, count_tokens):
    """Prompt `index` of a task for a context of `length` tokens, its answer included.

    The same arguments give the same prompt, and both forms hide the same facts. count_tokens(text)
    is asked a few times. ValueError when the length cannot hold the task.
    """
    source = random.Random(f"{seed}/{task}/{length}/{index}")
    return TASKS[task](source, is_chat or is_chat_task(task), count_tokens, length - ANSWER_ROOM)


def is_chat_task(task):
    return task.startswith("chat_")


def max_answer_tokens(prompt):
    """Enough for the values, of which no token is shorter than one character, and for a sentence
    about them in a chat."""
    return len(", ".join(prompt.expected)) + (48 if prompt.is_chat else 4)


def is_right(prompt, answer):
    """Whether each value stands in the answer, as a whole word."""
    return all(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", answer)
               for value in prompt.expected)
