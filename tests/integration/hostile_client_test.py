"""Clients that mean harm, on bare sockets: slow, deaf, broken, or far too many.

While each attacks, others are served; afterwards nothing of it is left in the server.
"""

import contextlib
import resource
import socket
import ssl
import statistics
import tempfile
import threading
import time
import unittest

import programs
from certificates import Authority
from hostile import GRPC_PREFACE, GoodClient, http2_frame, post, read_to_end, reset

# Seconds. Short, so that the tests are.
HEADER_TIMEOUT, BODY_TIMEOUT, WRITE_TIMEOUT = 2, 3, 3
MAX_CONNECTIONS = 4096
LONG_STREAM = {"prompt": "Once upon a time", "max_tokens": 1900, "ignore_eos": True,
               "stream": True, "temperature": 0}
SHORT = {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, "ignore_eos": True}


class HostileClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        cls.connections = min(MAX_CONNECTIONS, hard - 1024)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.authority = Authority(folder.name, "authority")
        cert, key = cls.authority.issue("server")
        limits = (f"--http_header_timeout={HEADER_TIMEOUT}s", f"--http_body_timeout={BODY_TIMEOUT}s",
                  f"--http_write_timeout={WRITE_TIMEOUT}s", f"--max_connections={cls.connections}",
                  "--max_request_bytes=2MiB", "--max_held_request_bytes=16MiB")
        cls.server = programs.Server("--num_threads=1", "--max_model_len=2048",
                                     "--kv_cache_bytes=64MiB", *limits)
        cls.gateway = programs.GatewayProgram(cls.server.grpc_target, *limits,
                                              f"--tls_cert_file={cert}", f"--tls_key_file={key}")
        cls.port = cls.server.http_port
        cls.grpc_port = int(cls.server.grpc_target.rsplit(":", 1)[1])
        cls.server.post("/v1/completions", SHORT)  # the first allocations of everything
        cls.idle_kv_usage = cls.server.metric("vllm:kv_cache_usage_perc")

    @classmethod
    def tearDownClass(cls):
        assert cls.gateway.stop() == 0, cls.gateway.log()
        assert cls.server.stop() == 0, cls.server.log()

    def setUp(self):
        self.files = contextlib.ExitStack()
        self.addCleanup(self.files.close)

    def connect(self, port=None):
        client = socket.create_connection(("127.0.0.1", port or self.port), 30)
        return self.files.enter_context(client)

    @contextlib.contextmanager
    def others_are_served(self):
        """Meanwhile others get answers; afterwards nothing is left."""
        with GoodClient(lambda: self.server.post("/v1/completions", SHORT)[0]) as good:
            yield
            count = len(good.answers)
            while len(good.answers) < count + 3:  # also at the end of the attack
                time.sleep(0.01)
        self.assertEqual({200}, set(good.answers))
        self.assertLess(max(good.seconds), 10)
        print(f"{self.id().split('.')[-1]}: others' requests {len(good.seconds)}, median "
              f"{statistics.median(good.seconds) * 1e3:.0f} ms, most {max(good.seconds) * 1e3:.0f}")
        self.files.close()
        self.nothing_is_left()

    def nothing_is_left(self):
        wanted = {"vllm:num_requests_running": 0, "vllm:num_requests_waiting": 0,
                  "vllm:kv_cache_usage_perc": self.idle_kv_usage,
                  "tidal:http_connections": 1, "tidal:http_requests_in_flight": 1}  # this one
        deadline = time.monotonic() + 30
        while True:
            now = {name: self.server.metric(name) for name in wanted}
            if now == wanted:
                break
            self.assertLess(time.monotonic(), deadline, now)
            time.sleep(0.05)
        self.assertIsNone(self.server.process.poll())
        self.assertIsNone(self.gateway.process.poll())

    def trickle(self, clients, text, until):
        """A byte a tenth of a second to each, as long as it takes them."""
        begin = time.monotonic()
        at = 0
        while time.monotonic() < begin + until:
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(text[at:at + 1])
            at += 1
            time.sleep(0.1)

    def test_slow_headers(self):
        clients = [self.connect() for _ in range(50)]
        with self.others_are_served():
            self.trickle(clients, b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nA: " + b"x" * 1000,
                         HEADER_TIMEOUT + 1)
            for client in clients:
                self.assertIn(b" 408 ", read_to_end(client))

    def test_slow_bodies(self):
        clients = [self.connect() for _ in range(50)]
        for client in clients:
            client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n")
        with self.others_are_served():
            self.trickle(clients, b"{" + b" " * 1000, BODY_TIMEOUT + 1)
            for client in clients:
                self.assertIn(b" 408 ", read_to_end(client))

    def test_large_bodies_that_never_end(self):
        clients = [self.connect() for _ in range(40)]
        with self.others_are_served():
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000"
                                   b"\r\n\r\n" + b" " * 1_900_000)
            self.assertLess(self.server.metric("tidal:http_request_bytes_held"), 17 << 20)
            replies = [read_to_end(client) for client in clients]
        self.assertTrue(any(b" 503 " in reply for reply in replies))
        self.assertTrue(any(b" 408 " in reply for reply in replies))

    def test_readers_that_never_read(self):
        readers = 10
        with self.others_are_served():
            for _ in range(readers):
                client = socket.socket()
                self.files.enter_context(client)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(("127.0.0.1", self.port))
                client.sendall(post({**LONG_STREAM, "max_tokens": 900, "n": 2, "logprobs": 5}))
            self.wait_for("vllm:num_requests_running", lambda count: count > readers)
            # What they do not take does not hold up the model, and then they are cut: their sockets
            # are still open here.
            self.wait_for("vllm:num_requests_running", lambda count: count <= 1, 90)
            self.wait_for("tidal:http_connections", lambda count: count <= 2, WRITE_TIMEOUT + 10)

    def wait_for(self, metric, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition(self.server.metric(metric)):
            self.assertLess(time.monotonic(), deadline, metric)
            time.sleep(0.05)

    def test_half_closed_sockets(self):
        with self.others_are_served():
            # A client that has sent all it wants is not gone; nor is one that reads no more.
            for body in (SHORT, LONG_STREAM):
                client = self.connect()
                client.sendall(post(body))
                client.shutdown(socket.SHUT_WR)
                read_to_end(client)
            client = self.connect()
            client.sendall(post(SHORT)[:-5])
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(b"", read_to_end(client))

    def test_resets_in_the_middle_of_streams(self):
        with self.others_are_served():
            for _ in range(30):
                client = self.connect()
                client.sendall(post(LONG_STREAM))
                client.recv(1000)
                reset(client)
            for _ in range(30):  # before there is a reply, and in the middle of a request
                client = self.connect()
                client.sendall(post(LONG_STREAM))
                reset(client)
                client = self.connect()
                client.sendall(post(LONG_STREAM)[:-10])
                reset(client)

    def test_pipelined_garbage(self):
        with self.others_are_served():
            for garbage in (b"\0" * 100_000, b"\xff\xfe" * 5000, b"GET / HTTP/9.9\r\n\r\n",
                            b"\r\n" * 50_000, b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n"
                            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                            b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                            b"GET /health HTTP/1.1\r\nHost: test\r\n" + b"A: b\r\n" * 20_000 + b"\r\n"):
                client = self.connect()
                with contextlib.suppress(OSError):
                    client.sendall(post(SHORT) + garbage)
                    client.shutdown(socket.SHUT_WR)
                read_to_end(client)
            # More requests at once than are held: they wait in the socket, and all are answered.
            client = self.connect()
            sender = threading.Thread(target=lambda: client.sendall(
                b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n" * 5000))
            sender.start()
            received = b""
            while received.count(b"HTTP/1.1 200") < 5000:
                chunk = client.recv(65536)
                self.assertTrue(chunk)
                received += chunk
            sender.join()

    def test_handshakes_that_never_finish(self):
        gateway = self.gateway.http_port
        with self.others_are_served():
            silent = [self.connect(gateway) for _ in range(50)]
            half = [self.connect(gateway) for _ in range(50)]
            for client in half:
                client.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # the start of a ClientHello
            garbage = self.connect(gateway)
            garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
            read_to_end(garbage)
            context = ssl.create_default_context(cafile=self.authority.ca)
            with socket.create_connection(("127.0.0.1", gateway), 30) as raw:
                with context.wrap_socket(raw, server_hostname="localhost") as good:
                    good.sendall(b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                    self.assertIn(b" 200 ", read_to_end(good))
            begin = time.monotonic()
            for client in silent + half:
                self.assertEqual(b"", read_to_end(client))
            self.assertLess(time.monotonic() - begin, HEADER_TIMEOUT + 2)

    def test_corrupt_http2_frames(self):
        settings = http2_frame(4, b"")
        attacks = [b"\0" * 1000, b"GET / HTTP/1.1\r\n\r\n", GRPC_PREFACE[:10],
                   GRPC_PREFACE + b"\xff" * 1000,
                   GRPC_PREFACE + settings + http2_frame(1, b"\xff" * 500, 4, 1),
                   GRPC_PREFACE + settings + http2_frame(0, b"x" * 100, 0, 7),
                   GRPC_PREFACE + settings + http2_frame(9, b"x" * 100, 0, 1),
                   GRPC_PREFACE + settings + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
                   GRPC_PREFACE + settings + http2_frame(6, b"12345678") * 10_000,
                   GRPC_PREFACE + settings + http2_frame(4, b"\0\4\xff\xff\xff\xff"),
                   GRPC_PREFACE + settings + http2_frame(8, b"\0\0\0\0") * 100]
        with self.others_are_served():
            for attack in attacks:
                client = self.connect(self.grpc_port)
                with contextlib.suppress(OSError):
                    client.sendall(attack)
                    client.shutdown(socket.SHUT_WR)
                read_to_end(client)
            silent = [self.connect(self.grpc_port) for _ in range(50)]
            begin = time.monotonic()
            for client in silent:
                read_to_end(client)  # what comes before the server gives up waiting: its settings
            self.assertLess(time.monotonic() - begin, 15)

    def test_thousands_of_idle_connections(self):
        memory = self.server.resident_bytes()
        idle = [self.connect() for _ in range(self.connections)]
        self.wait_for_refusal()
        used = (self.server.resident_bytes() - memory) / self.connections
        print(f"an idle connection takes {used / 1024:.1f} KiB, {self.connections} of them")
        self.assertLess(used, 64 << 10)
        extra = self.connect()
        extra.sendall(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
        self.assertIn(b" 503 ", read_to_end(extra))
        # Those that are in are served.
        idle[7].sendall(post(SHORT))
        self.assertIn(b" 200 ", idle[7].recv(65536))
        self.files.close()
        deadline = time.monotonic() + 30
        while self.server.get("/health/live")[0] != 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.nothing_is_left()

    def wait_for_refusal(self):
        """Until the server has accepted all connections that were made."""
        deadline = time.monotonic() + 30
        while self.server.get("/health/live")[0] == 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_limits_of_a_request(self):
        for change, field in (({"n": 129}, "n: "), ({"n": 2**31}, "n: "),
                              ({"prompt": [7] * 2048}, "prompt: "),
                              ({"prompt": "word " * 300_000}, "prompt: "),
                              ({"stop": ["x"] * 17}, "stop"), ({"logprobs": 1000}, "logprobs"),
                              ({"cache_salt": "x" * 257}, "cache_salt: ")):
            status, reply = self.server.post("/v1/completions", {**SHORT, **change})
            self.assertEqual(400, status, change.keys())
            self.assertIn(field, reply["error"]["message"])
        status, reply = self.server.post("/v1/completions", b" " * (3 << 20))
        self.assertEqual((413, "body"), (status, reply["error"]["message"].split(":")[0]))
        deep = b'{"prompt": ' + b"[" * 1_000_000
        self.assertEqual(400, self.server.post("/v1/completions", deep)[0])
        self.nothing_is_left()


if __name__ == "__main__":
    unittest.main()
