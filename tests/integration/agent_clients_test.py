"""Frameworks on top of OpenAI's API, unchanged: structured answers and calls of tools by a real
small chat model, which grammars hold to them."""

import asyncio
import os
import unittest
from typing import Literal

import pydantic

import programs

SMOLLM2 = programs.ROOT / "build/models/SmolLM2-135M-Instruct"


def setUpModule():
    global server, url
    if not (SMOLLM2 / "source.txt").exists():
        raise unittest.SkipTest("there is no chat model here (tools/fetch_smollm2.sh)")
    server = programs.Program("tidal-server", '"ready"', [
        f"--model={SMOLLM2}", "--http_port=0", "--grpc_port=0", "--kv_cache_bytes=512MiB",
        "--tool_call_parser=hermes", "--log_format=json", f"--device={programs.DEVICE}",
        "--served_model_name=m"])
    url = server.url + "/v1"
    os.environ.update(OPENAI_BASE_URL=url, OPENAI_API_KEY="none",
                      LITELLM_LOCAL_MODEL_COST_MAP="True")  # it would ask the internet


def tearDownModule():
    assert server.stop() == 0, server.log()


class Trip(pydantic.BaseModel):
    """A trip to a city."""

    model_config = pydantic.ConfigDict(extra="forbid")
    city: Literal["Rome", "Oslo", "Bern"]
    days: int = pydantic.Field(ge=1, le=30)


ASK = "Plan a trip."


class LangChain(unittest.TestCase):
    def model(self):
        from langchain_openai import ChatOpenAI
        return ChatOpenAI(model="m", temperature=0, max_tokens=300, timeout=120)

    def test_structured_output_by_each_method(self):
        for method in ("json_schema", "function_calling"):
            with self.subTest(method):
                answer = self.model().with_structured_output(Trip, method=method).invoke(ASK)
                self.assertIsInstance(answer, Trip)
        answer = self.model().with_structured_output(None, method="json_mode").invoke(
            "Answer with {} and nothing else: {}")
        self.assertIsInstance(answer, dict)

    def test_a_tool_that_has_to_be_called(self):
        reply = self.model().bind_tools([Trip], tool_choice="any",
                                        parallel_tool_calls=False).invoke(ASK)
        [call] = reply.tool_calls
        self.assertEqual(call["name"], "Trip")
        Trip.model_validate(call["args"])


class Instructor(unittest.TestCase):
    def test_tools_and_json(self):
        import instructor
        import openai
        for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
            with self.subTest(mode):
                client = instructor.from_openai(openai.OpenAI(), mode=mode)
                trip = client.chat.completions.create(
                    model="m", response_model=Trip, max_tokens=300, temperature=0,
                    messages=[{"role": "user", "content": ASK}])
                self.assertIsInstance(trip, Trip)


class PydanticAi(unittest.TestCase):
    def test_output_type(self):
        from pydantic_ai import Agent, NativeOutput
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider
        model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=url, api_key="none"))
        for output_type in (Trip, NativeOutput(Trip)):
            with self.subTest(output_type):
                agent = Agent(model, output_type=output_type,
                              model_settings={"temperature": 0, "max_tokens": 300})
                self.assertIsInstance(asyncio.run(agent.run(ASK)).output, Trip)


class LiteLlm(unittest.TestCase):
    def test_chat_stream_and_tools(self):
        import litellm
        arguments = {"model": "openai/m", "api_base": url, "api_key": "none", "max_tokens": 300,
                     "temperature": 0, "messages": [{"role": "user", "content": ASK}]}
        reply = litellm.completion(response_format=Trip, **arguments)
        Trip.model_validate_json(reply.choices[0].message.content)
        text = "".join(chunk.choices[0].delta.content or ""
                       for chunk in litellm.completion(stream=True, **arguments))
        self.assertTrue(text)
        tool = {"type": "function",
                "function": {"name": "Trip", "parameters": Trip.model_json_schema()}}
        reply = litellm.completion(tools=[tool], tool_choice="required",
                                   parallel_tool_calls=False, **arguments)
        [call] = reply.choices[0].message.tool_calls
        Trip.model_validate_json(call.function.arguments)


class Smolagents(unittest.TestCase):
    def test_a_call_and_a_stream(self):
        from smolagents import OpenAIServerModel, tool

        @tool
        def plan(city: str, days: int) -> str:
            """Plans a trip.

            Args:
                city: where to
                days: how long
            """
            return f"{days} days in {city}"

        model = OpenAIServerModel(model_id="m", api_base=url, api_key="none", max_tokens=600)
        messages = [{"role": "user", "content": [{"type": "text", "text": ASK}]}]
        reply = model.generate(messages, tools_to_call_from=[plan],
                               parallel_tool_calls=False, temperature=0)
        [call] = reply.tool_calls
        self.assertEqual(call.function.name, "plan")
        text = "".join(delta.content or "" for delta in model.generate_stream(
            messages, max_tokens=20))
        self.assertTrue(text)


if __name__ == "__main__":
    unittest.main()
