"""Two servers behind a gateway: restarted one after the other under load, and killed.

A rolling restart fails no stream and cuts none. A kill ends the killed server's streams with an
error event at once; the other server has the rest, and the killed one has its share again when it
is back.
"""

import asyncio
import itertools
import os
import signal
import time
import unittest

import programs
from http_stream import HttpStream

STREAMS = int(os.environ.get("TIDAL_RESTART_STREAMS", "2000"))  # at least
CLIENTS = 24
RESTARTS = 4  # at least; of one server after the other
PROMPTS = [f"{opening} number {i}" for opening in ("Once upon a time", "The little dog", "One day")
           for i in range(4)]
TOKENS = 16  # of a short answer
SMALL = ("--num_threads=1", "--max_model_len=4096", "--kv_cache_bytes=128MiB")
SOON_S = 30  # for what should take a moment, on a machine that does other things too


def body(prompt, max_tokens=TOKENS):
    return {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}


WHOLE = ("length", TOKENS)  # how a short stream ends, and the tokens the server counted


async def stream(port, request):
    """Why one stream finished and its number of tokens, or what went wrong."""
    reason, tokens = None, None
    try:
        request = {**request, "stream_options": {"include_usage": True}}
        async with HttpStream(port, request) as reply:
            if (status := await reply.read_head()) != 200:
                return f"status {status}"
            async for event in reply.events():
                if "error" in event:
                    return f"error {event['error']}"
                for choice in event["choices"]:
                    reason = choice["finish_reason"] or reason
                if event.get("usage"):
                    tokens = event["usage"]["completion_tokens"]
            return (reason, tokens) if reply.done and reply.text else "cut short"
    except (OSError, EOFError) as error:
        return f"broken: {error!r}"


async def eventually(condition):
    deadline = time.monotonic() + SOON_S
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise TimeoutError("the servers did not come to what the test waits for")
        await asyncio.sleep(0.02)


def served(server):
    """Requests it has finished."""
    return server.metric("vllm:e2e_request_latency_seconds_count")


class RollingRestartTest(unittest.TestCase):
    def setUp(self):
        self.servers = [programs.Server(*SMALL) for _ in range(2)]
        self.ports = [server.grpc_target.rsplit(":", 1)[1] for server in self.servers]
        targets = ",".join(server.grpc_target for server in self.servers)
        self.gateway = programs.GatewayProgram(f"ipv4:{targets}")
        for i in range(2):
            asyncio.run(eventually(lambda: self.has_its_share(i)))

    def tearDown(self):
        for program in (self.gateway, *self.servers):
            self.assertEqual(0, program.stop(), program.log())

    def has_its_share(self, i):
        """Is server i one of those that take turns, after a request of ours?"""
        status, _ = self.gateway.post("/v1/completions", body("Hi", 1))
        return status == 200 and served(self.servers[i]) > 0

    def start_again(self, i):
        """Server i on its old gRPC port, after its end."""
        self.servers[i] = programs.Server(*SMALL, f"--grpc_port={self.ports[i]}")

    def restart(self, i):
        """As a rollout does it: the next server is not touched before this one has requests."""
        self.servers[i].signal()
        self.assertEqual(0, self.servers[i].wait(), self.servers[i].log())
        self.start_again(i)

    def test_a_rolling_restart_loses_nothing(self):
        failures = []
        restarts, streams, done = 0, 0, False

        async def client(prompts):
            nonlocal streams
            while not done:
                ending = await stream(self.gateway.http_port, body(next(prompts)))
                streams += 1
                if ending != WHOLE:
                    failures.append(ending)

        async def operator():
            nonlocal restarts, done
            for i in itertools.cycle(range(2)):
                if streams >= STREAMS and restarts >= RESTARTS:
                    break
                await asyncio.to_thread(self.restart, i)
                await eventually(lambda: served(self.servers[i]) > 0)
                restarts += 1
            done = True

        async def play():
            prompts = itertools.cycle(PROMPTS)
            await asyncio.gather(operator(), *(client(prompts) for _ in range(CLIENTS)))

        asyncio.run(play())
        print(f"{streams} streams over {restarts} restarts, {len(failures)} failed", flush=True)
        self.assertEqual([], failures[:5])
        self.assertGreaterEqual(streams, STREAMS)
        self.assertGreaterEqual(restarts, RESTARTS)

    def test_a_killed_server_is_missed_for_a_moment(self):
        victim, other = self.servers
        long = {**body("Once upon a time", max_tokens=3000)}

        async def watch(reply):
            """How the stream ended, and when."""
            async for event in reply.events():
                if "error" in event:
                    return "error", event["error"], time.monotonic()
            return "done" if reply.done else "cut short", None, time.monotonic()

        async def play():
            replies = [HttpStream(self.gateway.http_port, long) for _ in range(8)]
            for reply in replies:
                await reply.__aenter__()
                self.assertEqual(200, await reply.read_head())
                await anext(reply.events())
            on_victim = int(victim.metric("vllm:num_requests_running"))
            on_other = int(other.metric("vllm:num_requests_running"))
            self.assertEqual(8, on_victim + on_other)
            self.assertGreater(min(on_victim, on_other), 0, "they have taken turns")
            killed = time.monotonic()
            victim.signal(signal.SIGKILL)
            endings = asyncio.gather(*(watch(reply) for reply in replies))
            fresh = await asyncio.gather(*(stream(self.gateway.http_port, body(PROMPTS[0]))
                                           for _ in range(20)))
            endings = await endings
            for reply in replies:
                await reply.__aexit__()
            return killed, on_victim, fresh, endings

        killed, on_victim, fresh, endings = asyncio.run(play())
        victim.wait()
        lost = [(error, when - killed) for how, error, when in endings if how == "error"]
        self.assertEqual(["done"] * (8 - on_victim) + ["error"] * on_victim,
                         sorted(how for how, _, _ in endings))
        first_done = min(when for how, _, when in endings if how == "done") - killed
        print(f"told after {max(after for _, after in lost):.3f} s of the kill: {lost[0][0]}",
              flush=True)
        self.assertLess(max(after for _, after in lost), min(SOON_S, first_done))
        self.assertEqual({"server_error"}, {error["type"] for error, _ in lost})
        self.assertIn("cut short", lost[0][0]["message"])
        self.assertEqual([WHOLE] * len(fresh), fresh)

        self.start_again(0)
        asyncio.run(eventually(lambda: self.has_its_share(0)))

    def test_a_whole_reply_survives_a_kill(self):
        """Nothing of it was sent, so the other server can give it."""
        victim, other = self.servers
        request = body("Once upon a time", max_tokens=1500)

        async def play():
            calls = asyncio.gather(*(asyncio.to_thread(self.gateway.post, "/v1/completions",
                                                       request) for _ in range(4)))
            running = [lambda server=server: server.metric("vllm:num_requests_running")
                       for server in (victim, other)]
            await eventually(lambda: sum(count() for count in running) == 4)
            self.assertGreater(running[0](), 0)
            victim.signal(signal.SIGKILL)
            return await calls

        replies = asyncio.run(play())
        victim.wait()
        self.assertEqual([200] * 4, [status for status, _ in replies])
        self.assertEqual({1500}, {reply["usage"]["completion_tokens"] for _, reply in replies})
        self.start_again(0)

    def test_no_server_is_told_at_once_and_forgiven(self):
        for server in self.servers:
            self.assertEqual(0, server.stop())
        status, reply = self.gateway.post("/v1/completions", body("Hi", 1))
        self.assertEqual((503, "server_error"), (status, reply["error"]["type"]))
        self.assertEqual(503, self.gateway.get("/health/ready")[0])
        self.assertEqual(200, self.gateway.get("/health/live")[0])
        for i in range(2):
            self.start_again(i)
        asyncio.run(eventually(lambda: self.gateway.get("/health/ready")[0] == 200))
        self.assertEqual(200, self.gateway.post("/v1/completions", body("Hi", 1))[0])


if __name__ == "__main__":
    unittest.main()
