#!/usr/bin/env python3
"""Retrieval accuracy of a served model on the tasks of tidal-nano's model card.

Makes its own prompts, sends them to an OpenAI endpoint, greedily, and prints a table. Only Python's
standard library is needed. An answer is right when each value asked for stands in it, as in RULER.
Prompts are chats where the server takes chats, else completions; --form says which. A mode is
"full", "tidal" (the server's default budget), "tidal:256" (a budget), or "default" (nothing is
sent, for servers that do not know the extension "attention").

    tools/eval_retrieval.py --lengths=1024,4096 --n=100 --json=retrieval.json
"""

import argparse
import concurrent.futures
import json
import sys
import threading
import time
import urllib.error
import urllib.request

import retrieval_tasks

# Without a /tokenize of the server: characters per token of plain English, on the safe side.
FALLBACK_CHARS_PER_TOKEN = 3.0


class Endpoint:
    """An OpenAI-compatible server. Thread-safe."""

    def __init__(self, base_url, model, timeout_seconds, api_key=""):
        self._base, self._timeout = base_url.rstrip("/"), timeout_seconds
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = "Bearer " + api_key
        self._can_tokenize = True
        self.model = model or self._get("/models")["data"][0]["id"]

    def _request(self, url, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, self._headers)
        with urllib.request.urlopen(request, timeout=self._timeout) as reply:
            return json.load(reply)

    def _get(self, path):
        return self._request(self._base + path)

    def takes_chats(self):
        """Whether a chat is answered: a model without a chat template refuses it."""
        try:
            self._request(self._base + "/chat/completions", {
                "model": self.model, "max_tokens": 1,
                "messages": [{"role": "user", "content": "Hello"}]})
        except urllib.error.HTTPError as error:
            if error.code not in (400, 404, 405, 501):
                raise
            return False
        return True

    def count_tokens(self, text):
        root = self._base.removesuffix("/v1")
        if self._can_tokenize:
            try:
                return self._request(root + "/tokenize",
                                     {"model": self.model, "prompt": text})["count"]
            except urllib.error.HTTPError as error:
                if error.code not in (404, 405):
                    raise
                self._can_tokenize = False
                print("eval_retrieval: this server has no /tokenize; lengths are estimates",
                      file=sys.stderr)
        return int(len(text) / FALLBACK_CHARS_PER_TOKEN)

    def answer(self, prompt, attention):
        """(text, usage) of the greedy answer."""
        body = {"model": self.model, "temperature": 0,
                "max_tokens": retrieval_tasks.max_answer_tokens(prompt)}
        if attention:
            body["attention"] = attention
        if prompt.is_chat:
            body["messages"] = [{"role": "user", "content": prompt.text}]
            reply = self._request(self._base + "/chat/completions", body)
            text = reply["choices"][0]["message"]["content"]
        else:
            body["prompt"] = prompt.text
            body["stop"] = ["\n"]
            reply = self._request(self._base + "/completions", body)
            text = reply["choices"][0]["text"]
        return text or "", reply.get("usage") or {}


def parse_mode(text):
    """The extension "attention" of a mode; None for "default". ValueError names what is wrong."""
    name, _, budget = text.partition(":")
    if name not in ("full", "tidal", "auto", "default") or (budget and name != "tidal"):
        raise ValueError(f"modes: must be full, tidal, tidal:BUDGET, auto or default, got {text}")
    if name == "default":
        return None
    if not budget:
        return {"mode": name}
    if not budget.isdigit() or int(budget) < 1:
        raise ValueError(f"modes: a budget must be a positive number of tokens, got {text}")
    return {"mode": name, "budget": int(budget)}


class Cell:
    """Results of one task at one length in one mode."""

    def __init__(self, task, length, mode):
        self.task, self.length, self.mode = task, length, mode
        self.n = self.right = self.prompt_tokens = self.sparse_steps = self.dense_steps = 0
        self.failures = []

    def add(self, prompt, answer, usage):
        self.n += 1
        self.prompt_tokens += usage.get("prompt_tokens", prompt.tokens)
        attention = usage.get("attention") or {}
        self.sparse_steps += attention.get("sparse_steps", 0)
        self.dense_steps += attention.get("dense_steps", 0)
        if retrieval_tasks.is_right(prompt, answer):
            self.right += 1
        else:
            self.failures.append({"expected": ", ".join(prompt.expected), "answer": answer})

    @property
    def accuracy(self):
        return self.right / self.n

    def to_json(self):
        return {"task": self.task, "length": self.length, "mode": self.mode, "n": self.n,
                "accuracy": round(self.accuracy, 4),
                "mean_prompt_tokens": round(self.prompt_tokens / self.n, 1),
                "sparse_steps": self.sparse_steps, "dense_steps": self.dense_steps,
                "failures": self.failures}


def choose_form(endpoint, options):
    """Settles whether prompts are chats, and leaves out tasks that the server cannot do."""
    takes_chats = options.form == "chat" or endpoint.takes_chats()
    options.is_chat = takes_chats and options.form != "completion"
    if not takes_chats:
        options.tasks = [task for task in options.tasks if not retrieval_tasks.is_chat_task(task)]
        if not options.tasks:
            raise ValueError("tasks: all are chats, which this server refuses")
    print(f"eval_retrieval: prompts are {'chats' if options.is_chat else 'completions'}",
          file=sys.stderr)


def evaluate(endpoint, options):
    """All cells, in the order of tasks, lengths, modes."""
    modes = {mode: parse_mode(mode) for mode in options.modes}
    cells = {(task, length, mode): Cell(task, length, mode)
             for task in options.tasks for length in options.lengths for mode in modes}
    lock = threading.Lock()

    def run(task, length, index):
        prompt = retrieval_tasks.make_prompt(task, options.is_chat, length, index,
                                             options.seed, endpoint.count_tokens)
        for mode, attention in modes.items():  # one after another: they share the cached prefix
            text, usage = endpoint.answer(prompt, attention)
            with lock:
                cells[task, length, mode].add(prompt, text, usage)

    for length in options.lengths:
        for task in options.tasks:
            start = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(options.concurrency) as pool:
                jobs = [pool.submit(run, task, length, index) for index in range(options.n)]
                try:
                    for job in concurrent.futures.as_completed(jobs):
                        job.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
            shown = "  ".join(f"{mode} {cells[task, length, mode].accuracy:.2f}" for mode in modes)
            print(f"{task} {length}: {shown}  ({time.monotonic() - start:.0f} s)",
                  file=sys.stderr, flush=True)
    return list(cells.values())


def mean_accuracy(cells, length, mode):
    chosen = [cell.accuracy for cell in cells if cell.length == length and cell.mode == mode]
    return sum(chosen) / len(chosen)


def table(cells, options):
    """Markdown: a row for each length and task, a column for each mode."""
    by_key = {(cell.task, cell.length, cell.mode): cell for cell in cells}
    rows = [["length", "task", *options.modes], ["---:", "---"] + ["---:"] * len(options.modes)]
    for length in options.lengths:
        for task in options.tasks:
            rows.append([str(length), task] + [f"{by_key[task, length, mode].accuracy:.2f}"
                                               for mode in options.modes])
        rows.append([str(length), "**mean**"] + [f"**{mean_accuracy(cells, length, mode):.3f}**"
                                                 for mode in options.modes])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base_url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="", help="default: the first the server lists")
    parser.add_argument("--api_key", default="")
    parser.add_argument("--modes", default="full,tidal:256,tidal:128")
    parser.add_argument("--lengths", default="1024,4096", help="tokens, prompt and answer together")
    parser.add_argument("--tasks", default=",".join(retrieval_tasks.TASKS))
    parser.add_argument("--form", choices=("auto", "chat", "completion"), default="auto")
    parser.add_argument("--n", type=int, default=100, help="prompts a cell")
    parser.add_argument("--concurrency", type=int, default=8, help="requests at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout_seconds", type=float, default=600, help="of one request")
    parser.add_argument("--json", default="", help="also write the results to this file")
    options = parser.parse_args(arguments)
    options.modes = options.modes.split(",")
    options.tasks = options.tasks.split(",")
    try:
        for mode in options.modes:
            parse_mode(mode)
        options.lengths = [int(length) for length in options.lengths.split(",")]
    except ValueError as error:
        parser.error(str(error))
    for task in options.tasks:
        if task not in retrieval_tasks.TASKS:
            parser.error(f"tasks: must be of {', '.join(retrieval_tasks.TASKS)}, got {task}")
    if options.n < 1 or options.concurrency < 1:
        parser.error("n and concurrency: must be at least 1")
    return options


def main(arguments):
    options = parse_options(arguments)
    start = time.monotonic()
    try:
        endpoint = Endpoint(options.base_url, options.model, options.timeout_seconds,
                            options.api_key)
        choose_form(endpoint, options)
        cells = evaluate(endpoint, options)
    except urllib.error.HTTPError as error:
        body = error.read().decode(errors="replace")[:500]
        print(f"eval_retrieval: {error.url} answered {error.code}: {body}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"eval_retrieval: {options.base_url}: {error}", file=sys.stderr)
        return 1
    print(table(cells, options))
    print(f"\n{options.n} prompts a cell, seed {options.seed}, {endpoint.model},"
          f" {'chats' if options.is_chat else 'completions'}, {time.monotonic() - start:.0f} s")
    if options.json:
        result = {
            "model": endpoint.model, "seed": options.seed, "n": options.n,
            "form": "chat" if options.is_chat else "completion",
            "means": [{"length": length, "mode": mode,
                       "accuracy": round(mean_accuracy(cells, length, mode), 4)}
                      for length in options.lengths for mode in options.modes],
            "cells": [cell.to_json() for cell in cells],
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
