"""openai-agents with the model class it has by default, which speaks the Responses API."""

import asyncio
import pathlib
import tempfile
import unittest

import agents
import openai

import programs
from scripted_model import AGENT_TEMPLATE, write_scripted_model

SCRIPTS = {
    "call": "<think>\nI need a tool.\n</think>\n\nOne moment please. "
            '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern-Wabern"}}'
            "\n</tool_call>",
    "answer": "<think>\nNow I know it.\n</think>\n\nIt is sunny in the city of Rome.",
}


class AgentsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        write_scripted_model(pathlib.Path(folder.name), SCRIPTS, AGENT_TEMPLATE)
        server = programs.Server(f"--model={folder.name}", "--served_model_name=scripted",
                                 "--attention_profile=dense")
        self.addCleanup(server.stop)
        agents.set_tracing_disabled(True)
        agents.set_default_openai_client(
            openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0))
        self.cities = []

        @agents.function_tool
        def get_weather(city: str) -> str:
            """The weather of a city."""
            self.cities.append(city)
            return "sunny"

        self.agent = agents.Agent(name="Weather", instructions="You know the weather.",
                                  model="scripted", tools=[get_weather],
                                  model_settings=agents.ModelSettings(temperature=0))
        self.assertIsInstance(agents.models.openai_provider.OpenAIProvider().get_model("scripted"),
                              agents.OpenAIResponsesModel)

    def check(self, result):
        self.assertEqual("It is sunny in the city of Rome.", result.final_output)
        self.assertEqual(["Bern-Wabern"], self.cities)
        self.assertEqual(["ReasoningItem", "MessageOutputItem", "ToolCallItem",
                          "ToolCallOutputItem", "ReasoningItem", "MessageOutputItem"],
                         [type(item).__name__ for item in result.new_items])
        usage = result.context_wrapper.usage
        self.assertEqual(2, usage.requests)
        self.assertGreater(usage.output_tokens_details.reasoning_tokens, 0)

    def test_in_one_piece(self):
        self.check(agents.Runner.run_sync(self.agent, "How is the weather?"))

    def test_streamed(self):
        async def run():
            result = agents.Runner.run_streamed(self.agent, "How is the weather?")
            text = ""
            async for event in result.stream_events():
                if event.type == "raw_response_event" \
                        and event.data.type == "response.output_text.delta":
                    text += event.data.delta
            return result, text

        result, text = asyncio.run(run())
        self.check(result)
        self.assertEqual("One moment please.It is sunny in the city of Rome.", text)

    def test_a_conversation_goes_on(self):
        first = agents.Runner.run_sync(self.agent, "How is the weather?")
        again = agents.Runner.run_sync(
            self.agent, first.to_input_list() + [{"role": "user", "content": "And now?"}])
        self.assertEqual("It is sunny in the city of Rome.", again.final_output)
        self.assertEqual(2, len(self.cities))


if __name__ == "__main__":
    unittest.main(warnings="ignore")  # of the library, about its own generators
