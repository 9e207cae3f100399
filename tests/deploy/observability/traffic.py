"""Requests of every kind to running programs, and what a client saw of them."""

import dataclasses
import json
import time
import urllib.request

LONG_PROMPT = "Once upon a time there was a small bird who lived in a tall tree. " * 12


@dataclasses.dataclass
class Seen:
    """What clients know of the requests that were answered; sums over them."""
    requests: int = 0
    outputs: int = 0
    prompt_tokens: int = 0  # once for each output
    cached_tokens: int = 0  # of the requests with one output
    completion_tokens: int = 0
    max_tokens: int = 0
    sparse_steps: int = 0
    dense_steps: int = 0
    seconds: float = 0
    first_token_seconds: float = 0  # of streamed requests
    streams: int = 0
    finished: dict = dataclasses.field(default_factory=lambda: {"stop": 0, "length": 0})

    def add(self, body, usage, reasons, seconds):
        outputs = body.get("n", 1)
        self.requests += 1
        self.outputs += outputs
        self.prompt_tokens += outputs * usage["prompt_tokens"]
        self.cached_tokens += usage["prompt_tokens_details"]["cached_tokens"]
        self.completion_tokens += usage["completion_tokens"]
        self.max_tokens += outputs * body["max_tokens"]
        self.sparse_steps += usage["attention"]["sparse_steps"]
        self.dense_steps += usage["attention"]["dense_steps"]
        self.seconds += seconds
        for reason in reasons:
            self.finished[reason] += 1


def open_post(program, path, body):
    request = urllib.request.Request(program.url + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=60)


def complete(program, body, seen, path="/v1/completions"):
    """A reply in one piece."""
    begin = time.perf_counter()
    with open_post(program, path, body) as reply:
        answer = json.load(reply)
    seen.add(body, answer["usage"], [choice["finish_reason"] for choice in answer["choices"]],
             time.perf_counter() - begin)


def stream(program, body, seen, path="/v1/completions"):
    """A reply in server-sent events."""
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    begin, first, reasons, usage = time.perf_counter(), None, [], None
    with open_post(program, path, body) as reply:
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[len("data: "):])
            if event["choices"] and first is None:
                first = time.perf_counter() - begin
            reasons += [choice["finish_reason"] for choice in event["choices"]
                        if choice["finish_reason"]]
            usage = event.get("usage") or usage
    seen.add(body, usage, reasons, time.perf_counter() - begin)
    seen.streams += 1
    seen.first_token_seconds += first


def run(programs, seen):
    """One round, through each of the programs."""
    story = {"prompt": LONG_PROMPT, "max_tokens": 24, "temperature": 0, "ignore_eos": True}
    chat = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 200,
            "temperature": 0}
    for program in programs:
        stream(program, {**story, "attention": {"mode": "full"}}, seen)
        stream(program, {**story, "attention": {"mode": "tidal", "budget": 32}}, seen)
        complete(program, story, seen)  # the prompt is in the prefix cache by now
        complete(program, {"prompt": "Hi", "max_tokens": 8, "n": 2, "ignore_eos": True}, seen)
        complete(program, chat, seen, "/v1/chat/completions")
        stream(program, chat, seen, "/v1/chat/completions")
        for bad in ({**story, "temperature": 9}, {**story, "max_tokens": 10**9}):
            status, _ = program.post("/v1/completions", bad)
            assert status == 400, status
