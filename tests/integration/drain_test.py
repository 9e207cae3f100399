"""SIGTERM: what runs ends well, what comes is refused, the program exits 0. SIGHUP: nothing."""

import asyncio
import signal
import threading
import time
import unittest

import grpc

import programs
from http_stream import HttpStream
from inference_proto import inference_pb2, inference_pb2_grpc

PROMPT = "Once upon a time"
MAX_TOKENS = 250
STREAMS = 8
BODY = {"prompt": PROMPT, "max_tokens": MAX_TOKENS, "temperature": 0, "ignore_eos": True}


def grpc_tokens(stub, started, results):
    """Streams one generation; appends the number of its tokens, or its error."""
    request = inference_pb2.GenerateRequest(text=PROMPT)
    request.sampling.temperature = 0
    request.stopping.max_tokens = MAX_TOKENS
    request.stopping.ignore_eos = True
    tokens = 0
    try:
        for event in stub.Generate(request):
            tokens += event.delta.num_tokens
            if tokens:
                started.release()
        results.append(tokens)
    except grpc.RpcError as error:
        results.append(error.details())


class DrainTest(unittest.TestCase):
    def drain(self, program, port):
        """Signals the program while it streams; returns its exit code and what it streamed."""
        async def play():
            streams = [HttpStream(port, BODY) for _ in range(STREAMS)]
            for stream in streams:
                await stream.__aenter__()
            for stream in streams:
                self.assertEqual(200, await stream.read_head())
                await anext(stream.events())
            program.signal()
            ready, refused = await asyncio.to_thread(self.probe, program)
            for stream in streams:
                async for event in stream.events():
                    self.assertNotIn("error", event)
                await stream.__aexit__()
            return ready, refused, streams

        return asyncio.run(play())

    def probe(self, program):
        """Status of the ready probe and of new work once the drain has begun."""
        deadline = time.monotonic() + 10
        while (ready := program.get("/health/ready")[0]) == 200 and time.monotonic() < deadline:
            pass
        refused, _ = program.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1})
        return ready, refused

    def check(self, ready, refused, streams):
        self.assertEqual(503, ready)
        self.assertEqual(503, refused)
        self.assertTrue(all(stream.done for stream in streams))
        self.assertEqual(1, len({stream.text for stream in streams}), "all streams are whole")

    def test_server(self):
        server = programs.Server()
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = inference_pb2_grpc.InferenceStub(channel)
            started, results = threading.Semaphore(0), []
            client = threading.Thread(target=grpc_tokens, args=(stub, started, results))
            client.start()
            started.acquire()
            self.check(*self.drain(server, server.http_port))
            client.join()
        self.assertEqual([MAX_TOKENS], results)
        self.assertEqual(0, server.wait(), server.log())
        self.assertEqual(0, server.get("/health")[0], "nothing listens any more")

    def test_gateway(self):
        server = programs.Server()
        gateway = programs.GatewayProgram(server.grpc_target)
        self.check(*self.drain(gateway, gateway.http_port))
        self.assertEqual(0, gateway.wait(), gateway.log())
        self.assertEqual(0, server.stop())

    def test_what_outlives_the_timeout_is_cut(self):
        server = programs.Server("--shutdown_timeout=500ms")

        async def play():
            async with HttpStream(server.http_port, {**BODY, "max_tokens": 30000}) as stream:
                self.assertEqual(200, await stream.read_head())
                await anext(stream.events())
                server.signal()
                return [event async for event in stream.events()]

        self.assertIn("error", asyncio.run(play())[-1], "the client is told")
        self.assertEqual(0, server.wait(), server.log())

    def test_a_hangup_changes_nothing(self):
        server = programs.Server()
        gateway = programs.GatewayProgram(server.grpc_target)

        async def play():
            async with HttpStream(gateway.http_port, BODY) as stream:
                self.assertEqual(200, await stream.read_head())
                await anext(stream.events())
                for program in (server, gateway):
                    program.signal(signal.SIGHUP)
                async for event in stream.events():
                    self.assertNotIn("error", event)
                return stream

        stream = asyncio.run(play())
        self.assertTrue(stream.done)
        for program in (gateway, server):
            self.assertEqual(200, program.get("/health/ready")[0])
            self.assertEqual(0, program.stop(), program.log())

    def test_an_idle_server_ends_at_once(self):
        server = programs.Server()
        begin = time.monotonic()
        self.assertEqual(0, server.stop())
        self.assertLess(time.monotonic() - begin, 10)


if __name__ == "__main__":
    unittest.main()
