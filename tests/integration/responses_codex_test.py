"""Requests and replies as the Codex CLI sends and reads them: its tools, its history, its stream."""

import http.client
import json
import pathlib
import tempfile
import unittest

import programs
from scripted_model import AGENT_TEMPLATE, write_scripted_model

SCRIPTS = {
    "call": "<think>\nI read the file first.\n</think>\n\nI look at it. "
            '<tool_call>\n{"name": "mcp__files__read", "arguments": {"path": "a.txt"}}'
            '\n</tool_call>\n<tool_call>\n{"name": "apply_patch", "arguments": '
            '{"input": "*** Begin Patch\\n*** End Patch"}}\n</tool_call>',
    "answer": "The file is changed, as was asked for.",
}
REQUEST = {
    "model": "scripted",
    "instructions": "You are a coding agent running in a terminal.",
    "input": [
        {"type": "message", "role": "developer", "content": [
            {"type": "input_text", "text": "<permissions>Ask before writing.</permissions>"}]},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "<environment_context>cwd</environment_context>"}]},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Change a.txt"}]},
    ],
    "tools": [
        {"type": "function", "name": "exec_command", "description": "Runs a command.",
         "strict": False, "parameters": {"type": "object", "properties": {
             "cmd": {"type": "string"}}, "required": ["cmd"], "additionalProperties": False}},
        {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": {
            "type": "grammar", "syntax": "lark", "definition": "start: begin_patch hunk+"}},
        {"type": "web_search", "external_web_access": False},
        {"type": "namespace", "name": "mcp__files", "description": "Tools in the files namespace.",
         "tools": [{"type": "function", "name": "read", "description": "", "strict": False,
                    "parameters": {"type": "object", "properties": {
                        "path": {"type": "string"}}}}]},
        {"type": "tool_search", "execution": "client", "description": "Finds tools.",
         "parameters": {"type": "object", "properties": {}}},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199a213-81c0-7800-8aa1-bbab2a035a53",
    "text": {"verbosity": "medium"},
    "client_metadata": {"x-codex-installation-id": "0199a213"},
}


class CodexTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        write_scripted_model(pathlib.Path(cls.folder.name), SCRIPTS, AGENT_TEMPLATE)
        cls.server = programs.Server(f"--model={cls.folder.name}", "--served_model_name=scripted",
                                     "--attention_profile=dense")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()

    def send(self, request):
        """The reply's headers, and the pairs of name and data of its events."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=60)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/responses", json.dumps(request), {
            "Content-Type": "application/json", "Accept": "text/event-stream",
            "Authorization": "Bearer none", "originator": "codex_cli_rs"})
        reply = connection.getresponse()
        body = reply.read().decode()
        self.assertEqual(200, reply.status, body)
        self.assertTrue(reply.headers["Content-Type"].startswith("text/event-stream"))
        events = []
        for block in body.split("\n\n")[:-1]:
            name, data = block.split("\n")
            events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
        return reply.headers, events

    def turn(self, items):
        """What Codex keeps of a turn: the items that are done, and the usage."""
        headers, events = self.send({**REQUEST, "input": items})
        self.assertEqual("response.created", events[0][0])
        self.assertEqual("response.completed", events[-1][0])
        done, active = [], None
        for name, event in events:
            self.assertEqual(name, event["type"])
            if name == "response.output_item.added":
                self.assertIsNone(active, "one item at a time")
                active = event["item"]["id"]
            elif name == "response.output_item.done":
                self.assertEqual(active, event["item"]["id"])
                active = None
                done.append(event["item"])
            elif name.endswith(".delta"):
                self.assertEqual(active, event["item_id"])
        self.assertEqual(done, events[-1][1]["response"]["output"])
        return headers, done, events[-1][1]["response"]

    def test_a_task(self):
        headers, items, response = self.turn(REQUEST["input"])
        self.assertEqual("tools[1].format (grammar), tools[2] (web_search), tools[4] (tool_search)",
                         headers["X-Tidal-Left-Out"])
        self.assertEqual(["reasoning", "message", "function_call", "custom_tool_call"],
                         [item["type"] for item in items])
        thought, message, read, patch = items
        self.assertEqual(([], "I read the file first."),
                         (thought["summary"], thought["content"][0]["text"]))
        self.assertEqual("I look at it.", message["content"][0]["text"])
        # Codex finds a tool by both.
        self.assertEqual(("mcp__files", "read"), (read["namespace"], read["name"]))
        self.assertEqual({"path": "a.txt"}, json.loads(read["arguments"]))
        self.assertEqual(("apply_patch", "*** Begin Patch\n*** End Patch"),
                         (patch["name"], patch["input"]))
        self.assertNotIn("namespace", patch)
        usage = response["usage"]
        self.assertEqual(usage["total_tokens"], usage["input_tokens"] + usage["output_tokens"])
        self.assertIn("cached_tokens", usage["input_tokens_details"])
        self.assertIn("reasoning_tokens", usage["output_tokens_details"])
        self.assertFalse(response["store"])

        # The history comes back whole, with what Codex adds to it.
        history = REQUEST["input"] + [
            {"type": "reasoning", "id": thought["id"], "summary": [],
             "content": thought["content"], "encrypted_content": None},
            read, patch, message,  # as it records them
            {"type": "function_call_output", "call_id": read["call_id"],
             "output": [{"type": "input_text", "text": "old"}]},
            {"type": "custom_tool_call_output", "call_id": patch["call_id"],
             "output": "Success. Updated the following files:\nM a.txt\n"},
            {"type": "web_search_call", "status": "completed",
             "action": {"type": "search", "query": "x"}},
            {"type": "agent_message", "author": "root", "recipient": "child", "content": []},
        ]
        headers, items, _ = self.turn(history)
        self.assertIn("input[9] (web_search_call), input[10] (agent_message)",
                      headers["X-Tidal-Left-Out"])
        self.assertEqual(["The file is changed, as was asked for."],
                         [item["content"][0]["text"] for item in items])

    def test_a_conversation_that_is_too_long(self):
        status, error = self.server.post("/v1/responses", {
            **REQUEST, "input": REQUEST["input"] + [
                {"type": "message", "role": "user", "content": [
                    {"type": "input_text", "text": "word " * 9000}]}]})
        self.assertEqual(400, status)
        self.assertEqual("context_length_exceeded", error["error"]["code"])


if __name__ == "__main__":
    unittest.main()
