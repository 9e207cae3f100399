"""Questions about text, /tokenize and /detokenize, asked by somebody who wants to hurt: what they
take of the server's memory, and of the time of those who generate."""

import json
import pathlib
import re
import statistics
import threading
import time
import unittest

import programs

MIB = 1 << 20
MAX_MIB = 64  # more resident, for one request
# Of all that have been, afterwards. The allocator keeps some 15 MiB for each of the two threads
# that read bodies, whichever had the largest last, and no more however often they are asked.
LEFT_MIB = 40
SHORT = {"prompt": "Once", "max_tokens": 1, "temperature": 0}
CLIENTS = 4
# The bar is 3 on a quiet machine; this one may have other work.
SLOWER = 10

TEXT_BYTES = 3 * MIB // 2
IDS = 256 << 10
WORDS = "The quick brown fox. " * (TEXT_BYTES // 21)
LARGEST = {
    "words": ("/tokenize", {"prompt": WORDS}),
    "one word": ("/tokenize", {"prompt": "a" * TEXT_BYTES}),
    "strings": ("/tokenize", {"prompt": WORDS[:MIB], "return_token_strs": True}),
    "chat": ("/tokenize", {"messages": [{"role": "user", "content": WORDS[:-100]}]}),
    "ids": ("/detokenize", {"tokens": [300] * IDS}),
}
REFUSED = {
    "text": ("/tokenize", {"prompt": "a" * (TEXT_BYTES + 1)}, 400,
             "prompt: must have at most 1572864 bytes of text, got 1572865"),
    "large text": ("/tokenize", {"prompt": "a" * (7 * MIB)}, 400, "prompt: must have at most"),
    "larger text": ("/tokenize", {"prompt": "a" * (15 * MIB)}, 413,
                    "body: must be at most 8388608 bytes"),
    "strings": ("/tokenize", {"prompt": "!7" * 140_000, "return_token_strs": True}, 400,
                "return_token_strings: must be false for more than 262144 tokens"),
    "ids": ("/detokenize", {"tokens": [300] * (IDS + 1)}, 400,
            "tokens: must have at most 262144 ids, got 262145"),
    "many ids": ("/detokenize", b'{"tokens":[' + b"1," * 3_900_000 + b"1]}", 400,
                 "body: must be JSON of at most 1048576 values"),
    "a prompt of ids": ("/v1/completions", b'{"prompt":[' + b"1," * 7_900_000 + b"1]}", 400,
                        "body: must be JSON of at most 1048576 values"),
    "a prompt of a million ids": ("/v1/completions", {"prompt": [300] * 1_000_000}, 400,
                                  "prompt: must have at most 32767 tokens"),
    "lists in lists": ("/v1/completions",
                       b'{"prompt":[' + (b"[" * 28 + b"]" * 28 + b",") * 280_000 + b"1]}", 400,
                       "body: must be JSON of at most 1048576 values"),
}


class TokenQueriesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = programs.Server()
        for _ in range(20):
            cls.server.post("/v1/completions", SHORT)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def resident(self, key):
        text = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+) kB", text)[1]) / 1024

    def post_measured(self, path, body):
        """What it answers, and how much more was resident at most."""
        pathlib.Path(f"/proc/{self.server.process.pid}/clear_refs").write_text("5")
        before = self.resident("VmRSS")
        status, reply = self.server.post(path, body)
        return status, reply, self.resident("VmHWM") - before

    def test_no_request_takes_much_memory_and_all_give_it_back(self):
        for path, body in LARGEST.values():  # threads come to be, and what they keep
            self.server.post(path, body)
        at_first = self.resident("VmRSS")
        for name, (path, body) in LARGEST.items():
            with self.subTest(name):
                status, _, more = self.post_measured(path, body)
                self.assertEqual(200, status)
                if programs.MEASURES:
                    self.assertLess(more, MAX_MIB)
        for name, (path, body, wanted, message) in REFUSED.items():
            with self.subTest(name):
                status, reply, more = self.post_measured(path, body)
                self.assertEqual((wanted, message),
                                 (status, reply["error"]["message"][:len(message)]))
                if programs.MEASURES:
                    self.assertLess(more, MAX_MIB)
        if programs.MEASURES:
            self.assertLess(self.resident("VmRSS") - at_first, LEFT_MIB)

    def completion_seconds(self, count):
        times = []
        for _ in range(count):
            begin = time.monotonic()
            self.assertEqual(200, self.server.post("/v1/completions", SHORT)[0])
            times.append(time.monotonic() - begin)
        return statistics.median(times)

    def test_completions_go_on_beside_them(self):
        idle = self.completion_seconds(50)
        for name in ("words", "one word", "ids"):
            path, body = LARGEST[name]
            data, ending, statuses = json.dumps(body).encode(), threading.Event(), []

            def ask():
                while not ending.is_set():
                    statuses.append(self.server.post(path, data)[0])

            clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            try:
                busy = self.completion_seconds(30)
            finally:
                ending.set()
                for client in clients:
                    client.join()
            with self.subTest(name):
                self.assertEqual({200}, set(statuses))
                if programs.MEASURES:
                    self.assertLess(busy, SLOWER * idle)


if __name__ == "__main__":
    unittest.main()
