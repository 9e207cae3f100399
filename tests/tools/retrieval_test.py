#!/usr/bin/env python3
"""The prompts and scores of tools/eval_retrieval.py, and its run against a small fake server."""

import http.server
import json
import pathlib
import random
import re
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import eval_retrieval  # noqa: E402
import retrieval_filler  # noqa: E402
import retrieval_tasks  # noqa: E402

# As tidal-nano's tokenizer does, roughly: digits one by one, words in pieces.
PIECE = re.compile(r"\d| ?[A-Za-z]{1,5}|[^\sA-Za-z\d]|\s")


def count_tokens(text):
    return len(PIECE.findall(text))


def make(task, length=1024, index=0, seed=1, is_chat=False):
    return retrieval_tasks.make_prompt(task, is_chat, length, index, seed, count_tokens)


class PromptTest(unittest.TestCase):
    def test_lengths_are_met_by_every_task(self):
        for task in retrieval_tasks.TASKS:
            for length, is_chat in ((700, False), (1024, True), (4096, False)):
                prompt = make(task, length, is_chat=is_chat)
                room = length - retrieval_tasks.ANSWER_ROOM
                self.assertEqual(count_tokens(prompt.text), prompt.tokens)
                self.assertLessEqual(prompt.tokens, room, task)
                self.assertGreaterEqual(prompt.tokens, room - 2 * retrieval_tasks.LENGTH_SLACK,
                                        task)

    def test_the_same_arguments_give_the_same_prompt(self):
        for task in retrieval_tasks.TASKS:
            self.assertEqual(make(task, index=3), make(task, index=3))
            self.assertNotEqual(make(task, index=3), make(task, index=4))
            self.assertNotEqual(make(task, seed=1), make(task, seed=2))

    def test_needles_stand_in_the_text_once_and_the_answer_is_theirs(self):
        needle = re.compile(r"The ([a-z ]+) for (\w+) is ([0-9a-f-]+)\.")
        for task, facts in (("niah_single", 1), ("niah_multikey", 16), ("niah_multiquery", 8),
                            ("niah_uuid", 4), ("chat_niah", 8)):
            for index in range(5):
                prompt = make(task, 2048, index)
                text, question = prompt.text.rsplit("\n\nQuestion: ", 1)
                found = needle.findall(text)
                self.assertEqual(facts, len(found), task)
                self.assertEqual(facts, len({key for _, key, _ in found}))
                values = {key: value for _, key, value in found}
                asked = [key for key in re.findall(r"[A-Z]\w+", question.split("?")[0])
                         if key in values]
                self.assertEqual(prompt.expected, tuple(values[key] for key in asked))
                self.assertEqual(prompt.is_chat, task == "chat_niah")
                self.assertEqual(not prompt.is_chat, prompt.text.endswith("?\nAnswer:"))

    def test_a_chat_asks_the_same_without_a_text_to_continue(self):
        for task in retrieval_tasks.TASKS:
            completion, chat = make(task, index=2), make(task, index=2, is_chat=True)
            self.assertTrue(chat.is_chat)
            self.assertTrue(chat.text.startswith("Read the text and answer the question.\n\n"))
            self.assertTrue(chat.text.endswith("?"))
            if task != "kv_lookup":  # asks by depth, and a chat has room for fewer lines
                self.assertEqual(completion.expected, chat.expected)

    def test_uuids_have_their_form(self):
        self.assertRegex(make("niah_uuid").expected[0], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

    def test_a_key_value_list_has_distinct_keys(self):
        prompt = make("kv_lookup", 4096)
        keys = re.findall(r"^(\w+ \w+): (\d+)$", prompt.text, re.MULTILINE)
        self.assertGreater(len(keys), 100)
        self.assertEqual(len(keys), len(dict(keys)))
        asked = re.search(r"for (\w+ \w+)\?", prompt.text).group(1)
        self.assertEqual((dict(keys)[asked],), prompt.expected)

    def test_answers_lie_at_all_depths(self):
        places = []
        for index in range(60):
            prompt = make("niah_single", 1024, index)
            places.append(prompt.text.index(f"is {prompt.expected[0]}.") / len(prompt.text))
        self.assertLess(min(places), 0.15)
        self.assertGreater(max(places), 0.85)

    def test_a_length_that_cannot_hold_the_task_is_named(self):
        with self.assertRaisesRegex(ValueError, "length: .* tokens do not hold"):
            make("niah_multikey", 256)


class FillerTest(unittest.TestCase):
    def test_it_is_varied_and_has_neither_digits_nor_names(self):
        writer = retrieval_filler.FillerWriter(random.Random(7))
        sentences = []
        for paragraph in writer.paragraphs():
            sentences += paragraph
            if len(sentences) > 600:
                break
        text = " ".join(sentences)
        self.assertIsNone(re.search(r"[\d{}]|  ", text))
        self.assertGreater(len(set(sentences)), 0.99 * len(sentences))
        for name in retrieval_tasks.PEOPLE + retrieval_tasks.CITIES:
            self.assertNotRegex(text, rf"\b{name}\b")
        for sentence in sentences:
            self.assertRegex(sentence, r'^["A-Z].*[.!?]["]?$')


class ScoreTest(unittest.TestCase):
    def score(self, expected, answer):
        return retrieval_tasks.is_right(retrieval_tasks.Prompt("", False, expected, 0), answer)

    def test_an_answer_must_contain_the_value_whole(self):
        self.assertTrue(self.score(("48213",), " 48213\nMore text"))
        self.assertTrue(self.score(("48213",), "The passkey for Bath is 48213."))
        self.assertFalse(self.score(("48213",), "The passkey for Bath is 482131."))
        self.assertFalse(self.score(("48213",), "It is x48213"))
        self.assertFalse(self.score(("48213",), ""))

    def test_an_answer_must_contain_every_value(self):
        self.assertTrue(self.score(("1", "2"), " 1, 2"))
        self.assertTrue(self.score(("1", "2"), "Bath has 2, and Derby has 1."))
        self.assertFalse(self.score(("1", "2"), "Bath has 2."))


class ModesTest(unittest.TestCase):
    def test_modes(self):
        self.assertEqual({"mode": "full"}, eval_retrieval.parse_mode("full"))
        self.assertEqual({"mode": "tidal", "budget": 128}, eval_retrieval.parse_mode("tidal:128"))
        self.assertIsNone(eval_retrieval.parse_mode("default"))
        for wrong in ("", "sparse", "tidal:0", "tidal:-1", "tidal:x", "full:3"):
            with self.assertRaisesRegex(ValueError, "modes: "):
                eval_retrieval.parse_mode(wrong)


class FakeServer(http.server.BaseHTTPRequestHandler):
    """Reads the answer off the prompt in full mode and is wrong in tidal mode."""

    has_chat_template = True

    def reply(self, body, status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.reply({"data": [{"id": "fake"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            return self.reply({"count": count_tokens(body["prompt"])})
        if "messages" in body and not self.has_chat_template:
            return self.reply({"error": {"message": "no chat template"}}, 400)
        if body["max_tokens"] == 1:
            return self.reply({"choices": [{"message": {"content": "Hi"}}]})
        attention = body["attention"]
        usage = {"prompt_tokens": 7, "attention": {"sparse_steps": 2, "dense_steps": 1}}
        text = body.get("prompt") or body["messages"][0]["content"]
        key = re.search(r" for (\w+)\?", text).group(1)
        value = re.search(rf" for {key} is (\S+)\.", text).group(1)
        if attention["mode"] == "tidal":
            value = "wrong"
        if self.path == "/v1/chat/completions":
            return self.reply({"choices": [{"message": {"content": f"For {key} it is {value}."}}],
                               "usage": usage})
        return self.reply({"choices": [{"text": " " + value}], "usage": usage})

    def log_message(self, *_):
        pass


class RunTest(unittest.TestCase):
    def run_against(self, handler, *arguments):
        """The JSON of a run of four cells: two tasks, in a mode that is right and one that is not.
        """
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "out.json"
            code = eval_retrieval.main([
                f"--base_url=http://127.0.0.1:{server.server_port}/v1", "--lengths=700", "--n=3",
                "--tasks=niah_single,chat_niah", "--modes=full,tidal:64", "--concurrency=2",
                f"--json={path}", *arguments])
            self.assertEqual(0, code)
            return json.loads(path.read_text())

    def test_a_whole_run_where_answers_are_sentences(self):
        result = self.run_against(FakeServer)
        self.assertEqual(("fake", "chat"), (result["model"], result["form"]))
        accuracy = {(cell["task"], cell["mode"]): cell["accuracy"] for cell in result["cells"]}
        self.assertEqual({("niah_single", "full"): 1.0, ("niah_single", "tidal:64"): 0.0,
                          ("chat_niah", "full"): 1.0, ("chat_niah", "tidal:64"): 0.0}, accuracy)
        self.assertEqual([1.0, 0.0], [mean["accuracy"] for mean in result["means"]])
        self.assertEqual(6, result["cells"][0]["sparse_steps"])
        self.assertRegex(result["cells"][1]["failures"][0]["answer"], r"^For \w+ it is wrong\.$")

    def test_completions_on_request(self):
        result = self.run_against(FakeServer, "--form=completion")
        self.assertEqual("completion", result["form"])
        answers = {cell["task"]: cell["failures"][0]["answer"] for cell in result["cells"]
                   if cell["failures"]}
        self.assertEqual(" wrong", answers["niah_single"])
        self.assertRegex(answers["chat_niah"], "^For ")

    def test_a_model_without_a_chat_template_completes(self):
        class BaseModel(FakeServer):
            has_chat_template = False

        result = self.run_against(BaseModel)
        self.assertEqual("completion", result["form"])
        self.assertEqual({"niah_single"}, {cell["task"] for cell in result["cells"]})
        self.assertEqual([1.0, 0.0], [mean["accuracy"] for mean in result["means"]])

    def test_a_server_that_is_not_there_is_an_error_message(self):
        self.assertEqual(1, eval_retrieval.main(["--base_url=http://127.0.0.1:1/v1", "--n=1"]))


if __name__ == "__main__":
    unittest.main()
