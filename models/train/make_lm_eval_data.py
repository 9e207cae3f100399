#!/usr/bin/env python3
"""Questions and texts of tidal-nano's own kinds, for lm-evaluation-harness.

    make_lm_eval_data.py --out ../../tests/golden/lm_eval

questions.jsonl: how a story goes on, among steps of other stories of the same hero and friend, or
among what comes later in the same story; and which value belongs to a key in a text. texts.jsonl:
stories, and descriptions that only look like old novels. No training sequence had these seeds.
"""

import argparse
import json
import pathlib
import random
import re
import sys

from stories import Story

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import retrieval_tasks  # noqa: E402
from retrieval_filler import FillerWriter  # noqa: E402

CHOICES = 4
PLOT_QUESTIONS = 60
ORDER_QUESTIONS = 60
RETRIEVAL_QUESTIONS = 40
# Characters of a text in which a value is hidden, and of a description.
RETRIEVAL_LENGTH = 1100
FILLER_LENGTH = 500
STORIES = 96
FILLERS = 64


def question(source, context, answer, others):
    choices = [answer, *others]
    source.shuffle(choices)
    return {"context": context, "choices": choices, "gold": choices.index(answer)}


def steps_of(story, plot):
    return [story.fill(step) for step in getattr(story, plot)() if step]


def plot_question(source):
    story = Story(source)
    steps = [steps_of(story, plot) for plot in source.sample(Story.PLOTS, CHOICES)]
    at = source.randrange(2, len(steps[0]) - 1)
    others = [source.choice(plot[2:-1]) for plot in steps[1:]]
    return question(source, " ".join(steps[0][:at]), steps[0][at], others)


def order_question(source):
    steps = []
    while len(steps) <= CHOICES:
        steps = steps_of(Story(source), source.choice(Story.PLOTS))
    at = source.randrange(1, len(steps) - CHOICES + 1)
    return question(source, " ".join(steps[:at]), steps[at],
                    source.sample(steps[at + 1:], CHOICES - 1))


def retrieval_question(source, index):
    prompt = retrieval_tasks.make_prompt("niah_multikey", False, RETRIEVAL_LENGTH, index,
                                         "lm_eval", lambda text: len(text))
    [answer] = prompt.expected
    values = sorted(set(re.findall(r"\b\d{5,7}\b", prompt.text)) - {answer})
    return question(source, prompt.text, answer, source.sample(values, CHOICES - 1))


def filler(source):
    text = ""
    for paragraph in FillerWriter(source).paragraphs():
        text += " ".join(paragraph)
        if len(text) >= FILLER_LENGTH:
            return text
        text += "\n\n"


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
                    encoding="utf-8")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--out", required=True, type=pathlib.Path)
    options = ap.parse_args()
    source = random.Random("lm_eval")
    write(options.out / "questions.jsonl",
          [plot_question(source) for _ in range(PLOT_QUESTIONS)] +
          [order_question(source) for _ in range(ORDER_QUESTIONS)] +
          [retrieval_question(source, i) for i in range(RETRIEVAL_QUESTIONS)])
    write(options.out / "texts.jsonl",
          [{"text": Story(source).text()} for _ in range(STORIES)] +
          [{"text": filler(source)} for _ in range(FILLERS)])


if __name__ == "__main__":
    main()
