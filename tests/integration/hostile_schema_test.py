"""What the worst schemas, ten a second, do to others: nothing that they ask for is waited for.

Prints the 99th percentile of the time between tokens of streams that run beside the attack and
without it; docs/benchmarks.md has what a quiet machine gives."""

import http.client
import itertools
import json
import sys
import threading
import time
import unittest

import programs

STREAMS, TOKENS, RATE, SCHEMAS = 4, 160, 10, 66


def worst_schemas():
    """Each is another one every time, so that nothing is known of it."""
    for number in itertools.count():
        tag = f"x{number}"
        yield "deep", {"response_format": schema_format(nest(10_000, tag))}
        yield "wide", {"response_format": schema_format(
            {"properties": {f"{tag}_{i}": {"type": "string"} for i in range(16_000)}})}
        yield "optional", {"response_format": schema_format(
            {"type": "object", "properties": {f"{tag}_{i}": {"type": "string"}
                                              for i in range(499)}})}
        yield "bounds", {"structured_outputs": {"regex": f"{tag}a{{1,100000}}"}}
        yield "product", {"structured_outputs": {"regex": f"{tag}((([a-z]{{1,9}}){{1,9}}){{1,9}})"}}
        yield "ambiguous", {"structured_outputs": {
            "regex": f"{tag}((a?){{30}}(a?){{30}}){{30}}{tag}"}}
        yield "ranges", {"response_format": schema_format({"anyOf": [
            {"type": "object", "required": ["k"], "properties": {
                "k": {"const": f"{tag}{i}"},
                "n": {"type": "integer", "minimum": i, "maximum": 1000 * i + 7}}}
            for i in range(300)]})}
        yield "grammar", {"structured_outputs": {
            "grammar": f'root ::= "{tag}" (root | "a")* (root | "b")*'}}
        yield "nul", {"structured_outputs": {"regex": f"{tag}\0"}}
        yield "enum", {"structured_outputs": {"choice": [f"{tag}{i}" for i in range(4096)]}}
        yield "unicode", {"structured_outputs": {"regex": f"{tag}[\\u4e00-\\u9fff]{{1,1000}}"}}


def nest(depth, tag):
    schema = {"const": tag}
    for _ in range(depth):
        schema = Nested(schema)
    return schema


class Nested(dict):
    """{"items": schema}, which json.dumps() must not recurse into: written by hand."""

    def __init__(self, schema):
        super().__init__()
        inner = schema.text if isinstance(schema, Nested) else json.dumps(schema)
        self.text = '{"items":' + inner + "}"


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}


def body_of(fields):
    body = {"model": programs.MODEL, "prompt": "Say:", "max_tokens": 24, "temperature": 1, **fields}
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if isinstance(schema, Nested):
        body["response_format"]["json_schema"]["schema"] = "@"
        return json.dumps(body).replace('"@"', schema.text).encode()
    return json.dumps(body).encode()


def setUpModule():
    global server
    server = programs.Server("--max_num_seqs=32")


def tearDownModule():
    assert server.stop() == 0, server.log()


def gaps_of_stream(gaps, texts):
    """Times between the tokens of a stream, in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=120)
    connection.request("POST", "/v1/completions", json.dumps({
        "model": programs.MODEL, "prompt": "Once upon a time", "max_tokens": TOKENS,
        "temperature": 0, "ignore_eos": True, "stream": True}),
        {"Content-Type": "application/json"})
    last, text = None, ""
    for line in connection.getresponse():
        if not line.startswith(b"data: {"):
            continue
        now = time.perf_counter()
        if last is not None:
            gaps.append(1000 * (now - last))
        last = now
        text += json.loads(line[6:])["choices"][0]["text"]
    connection.close()
    texts.append(text)


def run_streams():
    gaps, texts = [], []
    threads = [threading.Thread(target=gaps_of_stream, args=(gaps, texts))
               for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(gaps), texts


class HostileSchemas(unittest.TestCase):
    def test_nobody_else_waits(self):
        quiet, texts = run_streams()
        answers, threads = [], []
        bodies = [(kind, body_of(fields))
                  for kind, fields in itertools.islice(worst_schemas(), SCHEMAS)]

        def attack():
            for kind, body in bodies:
                time.sleep(1 / RATE)
                thread = threading.Thread(target=self.ask, args=(kind, body, answers))
                thread.start()
                threads.append(thread)

        attacker = threading.Thread(target=attack)
        attacker.start()
        rounds = [run_streams()]
        while attacker.is_alive():
            rounds.append(run_streams())
        attacker.join()
        for thread in threads:
            thread.join()
        attacked = sorted(gap for gaps, _ in rounds for gap in gaps)
        for _, attacked_texts in rounds:
            self.assertEqual(attacked_texts, texts, "what others are told does not change")
        p99 = [gaps[int(0.99 * (len(gaps) - 1))] for gaps in (quiet, attacked)]
        longest = max(seconds for _, _, seconds in answers)
        print(f"hostile_schema_test: {len(answers)} schemas, the last answer after {longest:.1f} s; "
              f"p99 between tokens {p99[0]:.1f} ms alone, {p99[1]:.1f} beside them",
              file=sys.stderr)
        by_kind = {}
        for kind, status, _ in answers:
            by_kind.setdefault(kind, set()).add(status)
        for kind in ("deep", "wide", "bounds", "nul"):
            self.assertEqual(by_kind[kind], {400}, kind)
        for kind, statuses in by_kind.items():
            self.assertLessEqual(statuses, {200, 400, 429}, kind)
        status, reply = server.post("/v1/completions", json.loads(body_of(
            {"structured_outputs": {"choice": ["yes", "no"]}})))
        self.assertEqual(status, 200, reply)
        self.assertIn(reply["choices"][0]["text"], ["yes", "no"])

    @staticmethod
    def ask(kind, body, answers):
        start = time.perf_counter()
        status, _ = server.post("/v1/completions", body)
        answers.append((kind, status, time.perf_counter() - start))


if __name__ == "__main__":
    unittest.main()
