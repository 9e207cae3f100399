"""A gRPC client in another language than the server's."""

import json
import unittest

import grpc

import programs
from inference_proto import health_pb2, health_pb2_grpc, inference_pb2, inference_pb2_grpc

PROMPT = "Once upon a time"
FULL = inference_pb2.Attention(mode=inference_pb2.ATTENTION_MODE_FULL)


def setUpModule():
    global server, channel, stub
    server = programs.Server()
    channel = grpc.insecure_channel(server.grpc_target)
    stub = inference_pb2_grpc.InferenceStub(channel)


def tearDownModule():
    channel.close()
    assert server.stop() == 0, server.log()


def request(text=PROMPT, max_tokens=24, **fields):
    built = inference_pb2.GenerateRequest(text=text, **fields)
    built.sampling.temperature = 0
    built.stopping.max_tokens = max_tokens
    return built


def events_by_kind(events):
    kinds = {"prompt": [], "delta": [], "finish": [], "usage": []}
    for event in events:
        kind = event.WhichOneof("event")
        kinds[kind].append(getattr(event, kind))
    return kinds


class GenerateTest(unittest.TestCase):
    def test_greedy_output_is_the_reference(self):
        cases = json.loads((programs.ROOT / "tests/golden/golden.json").read_text())
        case = next(case for case in cases if case["name"] == "story_start")
        wanted = request(case["prompt"], attention=FULL)
        wanted.output.return_token_ids = True
        wanted.stopping.ignore_eos = True
        events = events_by_kind(stub.Generate(wanted))
        ids = [token for delta in events["delta"] for token in delta.token_ids]
        self.assertEqual(case["greedy_ids"][:24], ids)
        self.assertEqual(case["ids"], list(events["prompt"][0].token_ids))
        self.assertEqual(inference_pb2.FINISH_REASON_LENGTH, events["finish"][0].reason)
        self.assertEqual(24, events["usage"][0].completion_tokens)
        self.assertEqual(24, sum(delta.num_tokens for delta in events["delta"]))

    def test_order_of_events(self):
        kinds = [event.WhichOneof("event") for event in stub.Generate(request(n=3))]
        self.assertEqual("prompt", kinds[0])
        self.assertEqual("usage", kinds[-1])
        self.assertEqual(3, kinds.count("finish"))

    def test_final_only(self):
        streamed = events_by_kind(stub.Generate(request(max_tokens=200)))["delta"]
        final = request(max_tokens=200)
        final.output.final_only = True
        whole = events_by_kind(stub.Generate(final))["delta"]
        self.assertGreater(len(streamed), 2)  # a client that is slow gets several at a time
        self.assertEqual(1, len(whole))
        self.assertEqual("".join(delta.text for delta in streamed), whole[0].text)

    def test_token_ids_and_chat(self):
        ids = stub.Tokenize(inference_pb2.TokenizeRequest(text=PROMPT)).token_ids
        by_ids = request()
        by_ids.token_ids.ids.extend(ids)
        # How tokens are grouped into deltas depends on time; their text does not.
        self.assertEqual("".join(event.delta.text for event in stub.Generate(request())),
                         "".join(event.delta.text for event in stub.Generate(by_ids)))
        chat = request(max_tokens=100)
        chat.chat.messages.add(role="user", content="Hello!")
        finish = events_by_kind(stub.Generate(chat))["finish"][0]
        self.assertEqual(inference_pb2.FINISH_REASON_STOP, finish.reason)

    def assert_fails(self, code, start, wanted, **call):
        with self.assertRaises(grpc.RpcError) as caught:
            list(stub.Generate(wanted, **call))
        self.assertEqual(code, caught.exception.code())
        self.assertTrue(caught.exception.details().startswith(start), caught.exception.details())

    def test_errors(self):
        hot = request()
        hot.sampling.temperature = 3
        nan = request()
        nan.sampling.top_p = float("nan")
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.assert_fails(invalid, "sampling.temperature: ", hot)
        self.assert_fails(invalid, "sampling.top_p: ", nan)
        self.assert_fails(invalid, "prompt: ", request(""))
        self.assert_fails(invalid, "prompt: ", request("word " * 40000))
        self.assert_fails(invalid, "prompt: ", inference_pb2.GenerateRequest())
        self.assert_fails(grpc.StatusCode.NOT_FOUND, "model: ", request(model="gpt-4"))

    def test_deadline_and_cancel(self):
        endless = request(max_tokens=20000)
        endless.stopping.ignore_eos = True
        self.assert_fails(grpc.StatusCode.DEADLINE_EXCEEDED, "", endless, timeout=0.5)
        call = stub.Generate(endless)
        next(call)
        next(call)
        call.cancel()
        for _ in range(600):
            if server.metric("vllm:num_requests_running") == 0:
                return
        self.fail("requests whose clients have gone must end")


class OtherMethodsTest(unittest.TestCase):
    def test_tokenize_and_detokenize(self):
        text = "Ünïcode, 123 and <|end|>"
        reply = stub.Tokenize(inference_pb2.TokenizeRequest(
            text=text, add_special_tokens=False, return_token_strings=True))
        self.assertEqual(len(reply.token_ids), len(reply.token_strings))
        back = stub.Detokenize(inference_pb2.DetokenizeRequest(token_ids=reply.token_ids))
        self.assertEqual(text, back.text)

    def test_model_info(self):
        info = stub.GetModelInfo(inference_pb2.GetModelInfoRequest())
        self.assertEqual(programs.MODEL, info.model)
        self.assertEqual((4096, 32768), (info.vocab_size, info.max_model_len))

    def test_health(self):
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "tidal.v1.Inference"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=name))
            self.assertEqual(health_pb2.HealthCheckResponse.SERVING, reply.status)
        with self.assertRaises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="other"))
        self.assertEqual(grpc.StatusCode.NOT_FOUND, caught.exception.code())


if __name__ == "__main__":
    unittest.main()
