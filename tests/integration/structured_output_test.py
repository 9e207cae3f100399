"""JSON that a schema accepts, whatever the model would rather say: a real small chat model where it
is there, else the project's own; greedy and drawn, streamed and not, in batches with free rows.

  structured_output_test.py [--all]    --all: every schema, else one in eight
"""

import concurrent.futures
import json
import pathlib
import sys
import unittest

import jsonschema
import openai
import pydantic

import programs
from json_schemas import all_schemas

SMOLLM2 = programs.ROOT / "build/models/SmolLM2-135M-Instruct"
MESSAGES = [{"role": "user", "content": "Give me some JSON, short and plain."}]
EVERY = 8
MAX_TOKENS = 700


def setUpModule():
    global server, client, model
    model = SMOLLM2 if (SMOLLM2 / "source.txt").exists() else programs.ROOT / "models/tidal-nano"
    server = programs.Program("tidal-server", '"ready"', [
        f"--model={model}", "--http_port=0", "--grpc_port=0", "--kv_cache_bytes=512MiB",
        "--max_num_seqs=16", "--tool_call_parser=hermes", "--log_format=json", f"--device={programs.DEVICE}",
        "--served_model_name=m"])
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=600)
    print(f"structured_output_test: {model.name}", file=sys.stderr)


def tearDownModule():
    client.close()
    assert server.stop() == 0, server.log()


def has_chats():
    return model == SMOLLM2


def say(stream=False, **arguments):
    """Texts and finish reasons of a chat, or of a completion where the model has no chats."""
    arguments = {"model": "m", "max_tokens": MAX_TOKENS, "stream": stream, **arguments}
    if has_chats():
        reply = client.chat.completions.create(messages=MESSAGES, **arguments)
    else:
        extra = {"response_format": arguments.pop("response_format", None)}
        reply = client.completions.create(prompt="JSON:", extra_body=extra, **arguments)
    texts, finishes = {}, {}
    for chunk in reply if stream else [reply]:
        for choice in chunk.choices:
            part = choice
            if has_chats():
                part = choice.delta if stream else choice.message
            text = part.content if has_chats() else part.text
            texts[choice.index] = texts.get(choice.index, "") + (text or "")
            finishes[choice.index] = choice.finish_reason or finishes.get(choice.index)
    return [(texts[i], finishes[i]) for i in sorted(texts)]


def schema_format(schema, strict=False):
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema,
                                                   "strict": strict}}


def is_recursive(schema):
    text = json.dumps(schema)
    return '"$ref": "#"' in text or "#/$defs/tree" in text


class Schemas(unittest.TestCase):
    def setUp(self):
        if not has_chats():  # the project's own may not find the end of a number
            self.skipTest("there is no chat model here (tools/fetch_smollm2.sh)")

    def test_every_answer_is_what_its_schema_accepts(self):
        schemas = all_schemas()
        self.assertGreaterEqual(len(schemas), 200)
        chosen = schemas if "--all" in sys.argv else schemas[::EVERY]
        jobs = []
        for number, schema in enumerate(chosen):
            jobs.append((number, schema, {"temperature": 0, "stream": number % 2 == 0}))
            jobs.append((number, schema, {"temperature": 1, "n": 2, "seed": number,
                                          "stream": number % 2 == 1}))
            if number % 4 == 0:  # free rows beside them
                jobs.append((number, None, {"temperature": 1, "seed": number, "max_tokens": 30}))
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(self.run_job, jobs))
        wrong = [answer for answer in answers if answer]
        self.assertEqual(wrong, [])
        print(f"structured_output_test: {len(chosen)} schemas, {len(jobs)} requests",
              file=sys.stderr)

    @staticmethod
    def run_job(job):
        number, schema, arguments = job
        if schema is None:
            return None if all(text for text, _ in say(**arguments)) else f"{number}: empty"
        for text, finish in say(response_format=schema_format(schema), **arguments):
            try:
                if finish == "length" and is_recursive(schema):
                    continue  # the model had no end in sight
                if finish != "stop":
                    raise ValueError(f"finished by {finish}")
                jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)
            except Exception as error:  # all of them are told at the end
                return f"{number} {json.dumps(schema)} {arguments}: {text!r}: {error}"[:600]
        return None


class OtherKinds(unittest.TestCase):
    def complete(self, **structured):
        reply = client.completions.create(model="m", prompt="Say it:", max_tokens=40, temperature=1,
                                          seed=3, extra_body=structured)
        return reply.choices[0].text

    def test_regex_choice_and_grammar(self):
        self.assertRegex(self.complete(structured_outputs={"regex": "[a-c]{3}-[0-9]{2,4}"}),
                         r"\A[a-c]{3}-[0-9]{2,4}\Z")
        self.assertIn(self.complete(structured_outputs={"choice": ["yes", "no", "perhaps"]}),
                      ["yes", "no", "perhaps"])
        self.assertRegex(self.complete(guided_grammar='root ::= "<" [a-z]{2,4} ">"'),
                         r"\A<[a-z]{2,4}>\Z")
        self.assertRegex(self.complete(guided_regex="(ab){1,3}"), r"\A(ab){1,3}\Z")

    def test_an_object_of_any_shape(self):
        text = self.complete(structured_outputs={"json": {
            "type": "object", "additionalProperties": {"type": "integer", "maximum": 99,
                                                       "minimum": 0}, "maxProperties": 2}})
        self.assertIsInstance(json.loads(text), dict)

    def test_the_order_of_properties_is_the_schema_s(self):
        names = ["zeta", "alpha", "mid"]
        schema = {"type": "object", "properties": {n: {"type": "boolean"} for n in names},
                  "required": names}
        [(text, _)] = say(response_format=schema_format(schema), temperature=1, seed=1)
        self.assertEqual(list(json.loads(text)), names)

    def test_strict_names_what_it_cannot_enforce(self):
        schema = {"type": "object", "properties": {
            "a": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}}}
        with self.assertRaises(openai.BadRequestError) as caught:
            say(response_format=schema_format(schema, strict=True))
        self.assertIn("/properties/a/uniqueItems", str(caught.exception))

    def test_a_bad_one_harms_nobody(self):
        for structured in ({"regex": "("}, {"regex": "a{1,100000}"}, {"choice": []},
                           {"grammar": "root ::= nowhere"}, {"json": "{"},
                           {"json": {"type": "object"}, "choice": ["a"]}):
            with self.subTest(structured), self.assertRaises(openai.BadRequestError):
                self.complete(structured_outputs=structured)
        self.assertIn(self.complete(structured_outputs={"choice": ["yes", "no"]}), ["yes", "no"])


class Event(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=16)
    day: int = pydantic.Field(ge=1, le=31)
    people: list[str] = pydantic.Field(max_length=2)


class OfficialClient(unittest.TestCase):
    def setUp(self):
        if not has_chats():
            self.skipTest("there is no chat model here (tools/fetch_smollm2.sh)")

    def test_parse_gives_the_type(self):
        class Short(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(extra="forbid")
            day: int
            colour: str

        reply = client.chat.completions.parse(
            model="m", temperature=0, max_tokens=200, response_format=Short,
            messages=[{"role": "user", "content": "Pick a day and a colour."}])
        self.assertIsInstance(reply.choices[0].message.parsed, Short)

    def test_a_tool_that_has_to_be_called_is(self):
        tools = [{"type": "function", "function": {
            "name": name, "parameters": Event.model_json_schema()}} for name in ("plan", "cancel")]
        named = {"type": "function", "function": {"name": "cancel"}}
        for choice, names, finish in (("required", {"plan", "cancel"}, "tool_calls"),
                                      (named, {"cancel"}, "stop")):
            for temperature in (0, 1):
                with self.subTest(choice=choice, temperature=temperature):
                    reply = client.chat.completions.create(
                        model="m", messages=MESSAGES, tools=tools, tool_choice=choice, n=2, seed=7,
                        parallel_tool_calls=False, temperature=temperature, max_tokens=MAX_TOKENS)
                    for answer in reply.choices:
                        [call] = answer.message.tool_calls
                        self.assertIn(call.function.name, names)
                        Event.model_validate_json(call.function.arguments)
                        self.assertEqual(answer.finish_reason, finish)
                        self.assertIsNone(answer.message.content)


if __name__ == "__main__":
    unittest.main(argv=[argument for argument in sys.argv if argument != "--all"])
