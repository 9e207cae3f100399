"""Clients of the gRPC port that mean harm, plain and through TLS, while others are served."""

import contextlib
import pathlib
import re
import socket
import ssl
import statistics
import tempfile
import threading
import time
import unittest
import urllib.request

import grpc

import programs
from certificates import Authority
from hostile import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GRPC_PREFACE, HEADERS, PING,
                     RST_STREAM, SETTINGS, WINDOW_UPDATE, GoodClient, call_headers, hpack,
                     http2_frame, read_to_end, reset)
from inference_proto import inference_pb2, inference_pb2_grpc

MIB = 1 << 20
OPENING = GRPC_PREFACE + http2_frame(SETTINGS, b"")
PROMPT = "Once upon a time"


class HostileGrpcTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.authority = Authority(pathlib.Path(folder.name), "authority")
        cert, key = cls.authority.issue("server")
        small = ("--num_threads=1", "--max_model_len=2048", "--kv_cache_bytes=64MiB",
                 "--max_header_bytes=16KiB")
        cls.plain = programs.Server(*small)
        cls.secure = programs.Server(*small, f"--tls_cert_file={cert}", f"--tls_key_file={key}")
        cls.servers = {"plain": cls.plain, "TLS": cls.secure}

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers.values():
            assert server.stop() == 0, server.log()

    def setUp(self):
        self.files = contextlib.ExitStack()
        self.addCleanup(self.files.close)

    def connect(self, server):
        port = int(server.grpc_target.rsplit(":", 1)[1])
        client = self.files.enter_context(socket.create_connection(("127.0.0.1", port), 30))
        if server is self.plain:
            return client
        context = ssl.create_default_context(cafile=self.authority.ca)
        context.set_alpn_protocols(["h2"])
        return self.files.enter_context(context.wrap_socket(client, server_hostname="localhost"))

    def channel(self, server):
        options = [("grpc.use_local_subchannel_pool", 1)]
        if server is self.plain:
            return grpc.insecure_channel(server.grpc_target, options)
        roots = grpc.ssl_channel_credentials(self.authority.ca.read_bytes())
        return grpc.secure_channel(server.grpc_target, roots,
                                   [*options, ("grpc.ssl_target_name_override", "localhost")])

    def generate(self, channel, tokens=4, **call):
        request = inference_pb2.GenerateRequest(text=PROMPT)
        request.stopping.max_tokens = tokens
        request.stopping.ignore_eos = True
        request.sampling.temperature = 0
        events = list(inference_pb2_grpc.InferenceStub(channel).Generate(
            request, timeout=60, **call))
        return "".join(event.delta.text for event in events)

    @contextlib.contextmanager
    def others_are_served(self, server):
        """Meanwhile others get what they got before, on a connection that stays."""
        with self.channel(server) as channel:
            wanted = self.generate(channel, 32)
            with GoodClient(lambda: self.generate(channel, 32)) as good:
                yield
                count = len(good.answers)
                while len(good.answers) < count + 3:
                    time.sleep(0.01)
        self.assertEqual({wanted}, set(good.answers))
        print(f"{self.id().split('.')[-1]}: others' calls {len(good.seconds)}, median "
              f"{statistics.median(good.seconds) * 1e3:.0f} ms, most {max(good.seconds) * 1e3:.0f}")
        self.files.close()
        self.assertIsNone(server.process.poll())
        deadline = time.monotonic() + 30
        while self.metric(server, "tidal:grpc_connections") != 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def metric(self, server, name, reason=None):
        """The value of one series, whose label, if it has any, is `reason`."""
        context = ssl.create_default_context(cafile=self.authority.ca)
        with urllib.request.urlopen(server.url + "/metrics", timeout=30,
                                    context=context if server is self.secure else None) as reply:
            text = reply.read().decode()
        label = "" if reason is None else f'{{reason="{reason}"}}'
        return float(re.search(rf"^{name}{re.escape(label)} (\S+)$", text, re.MULTILINE).group(1))

    def cut(self, server, reason):
        return self.metric(server, "tidal:grpc_connections_cut_total", reason)

    def test_headers_without_an_end(self):
        frame = http2_frame(CONTINUATION, b"\x00" * 16_000, 0, 1)
        for name, server in self.servers.items():
            with self.subTest(name):
                with self.channel(server) as channel:
                    self.generate(channel)
                memory, most = server.resident_bytes(), []
                cut = self.cut(server, "header_too_large")
                sent = [0] * 10

                def attack(index):
                    client = self.connect(server)
                    with contextlib.suppress(OSError):
                        client.sendall(OPENING + http2_frame(HEADERS, call_headers(), 0, 1))
                        while sent[index] < 100 * MIB:
                            client.sendall(frame)
                            sent[index] += len(frame)

                with self.others_are_served(server):
                    threads = [threading.Thread(target=attack, args=(i,)) for i in range(10)]
                    for thread in threads:
                        thread.start()
                    while any(thread.is_alive() for thread in threads):
                        most.append(server.resident_bytes())
                        time.sleep(0.01)
                    most.append(server.resident_bytes())
                # What was sent is what the sockets took before they were closed.
                print(f"{name}: {max(most) - memory >> 10} KiB more resident; the most one could "
                      f"send: {max(sent) >> 10} KiB")
                self.assertLess(max(sent), 16 * MIB)
                if programs.MEASURES:
                    self.assertLess(max(most) - memory, 32 * MIB)
                self.assertEqual(cut + 10, self.cut(server, "header_too_large"))

    def test_a_header_that_is_too_large_is_refused(self):
        for name, server in self.servers.items():
            with self.subTest(name), self.channel(server) as channel:
                self.assertTrue(self.generate(channel, metadata=[("x-large", "x" * 12_000)]))
                for size in (20_000, 200_000):
                    with self.assertRaises(grpc.RpcError) as caught:
                        self.generate(channel, metadata=[("x-large", "x" * size)])
                    self.assertIn(caught.exception.code(), (grpc.StatusCode.RESOURCE_EXHAUSTED,
                                                            grpc.StatusCode.UNAVAILABLE))
                    print(f"{name}, {size}: {caught.exception.details()}")
                self.assertTrue(self.generate(channel, wait_for_ready=True))

    def test_headers_that_unpack_to_much(self):
        # An entry of 4 KB in the table of headers, named by a byte each.
        bomb = hpack((b"x", b"y" * 4000), prefix=b"\x40") + b"\xbe" * 12_000
        for name, server in self.servers.items():
            with self.subTest(name):
                with self.channel(server) as channel:
                    self.generate(channel)
                memory = server.resident_bytes()
                with self.others_are_served(server):
                    for _ in range(10):
                        client = self.connect(server)
                        client.sendall(OPENING)
                        for stream in range(1, 21, 2):
                            headers = call_headers() + bomb
                            block = [headers[i:i + 8_000] for i in range(0, len(headers), 8_000)]
                            with contextlib.suppress(OSError):
                                client.sendall(http2_frame(HEADERS, block[0], 0, stream))
                                for part in block[1:-1]:
                                    client.sendall(http2_frame(CONTINUATION, part, 0, stream))
                                client.sendall(http2_frame(CONTINUATION, block[-1], END_HEADERS,
                                                           stream))
                    more = server.resident_bytes() - memory
                print(f"{name}: {more >> 10} KiB more resident")
                if programs.MEASURES:
                    self.assertLess(more, 32 * MIB)

    def test_frames_that_carry_nothing(self):
        floods = {"SETTINGS": http2_frame(SETTINGS, b""), "PING": http2_frame(PING, b"12345678"),
                  "WINDOW_UPDATE": http2_frame(WINDOW_UPDATE, b"\0\0\0\1"),
                  "RST_STREAM": http2_frame(RST_STREAM, b"\0\0\0\x08", 0, 1),
                  "PRIORITY": http2_frame(2, b"\0\0\0\0\0", 0, 1),
                  "unknown": http2_frame(0x42, b"")}
        with self.others_are_served(self.plain):
            for name, frame in floods.items():
                with self.subTest(name):
                    client = self.connect(self.plain)
                    reader = threading.Thread(target=read_to_end, args=(client,))
                    reader.start()
                    sent, limit = 0, 100 * MIB
                    with contextlib.suppress(OSError):
                        client.sendall(OPENING + http2_frame(
                            HEADERS, call_headers(), END_HEADERS, 1))
                        while sent < limit:
                            client.sendall(frame * 1000)
                            sent += len(frame) * 1000
                    reader.join()
                    self.assertLess(sent, limit)

    def test_rapid_resets(self):
        for name, server in self.servers.items():
            with self.subTest(name), self.others_are_served(server):
                cut = self.cut(server, "idle_frames")
                client = self.connect(server)
                client.sendall(OPENING)
                reader = threading.Thread(target=read_to_end, args=(client,))
                reader.start()
                request = inference_pb2.GenerateRequest(text=PROMPT).SerializeToString()
                message = b"\0" + len(request).to_bytes(4, "big") + request
                headers = call_headers(b"/tidal.v1.Inference/Generate")
                for stream in range(1, 10_001, 2):
                    client.sendall(http2_frame(HEADERS, headers, END_HEADERS, stream)
                                   + http2_frame(DATA, message, END_STREAM, stream)
                                   + http2_frame(RST_STREAM, b"\0\0\0\x08", 0, stream))
                client.sendall(http2_frame(PING, b"are you?"))
                client.shutdown(socket.SHUT_WR)
                reader.join()
                # So many at once are allowed; they are what a client may do that gives up.
                self.assertEqual(cut, self.cut(server, "idle_frames"))
        self.assertEqual(0, self.plain.metric("vllm:num_requests_running"))

    def test_a_thousand_connections(self):
        with self.others_are_served(self.plain):
            clients = [self.connect(self.plain) for _ in range(1000)]
            for client in clients:
                client.sendall(OPENING)
            for client in clients:
                self.assertTrue(client.recv(9))  # the server's settings
            memory = self.plain.resident_bytes()
            print(f"resident with a thousand connections: {memory >> 20} MiB")
            self.assertGreaterEqual(self.metric(self.plain, "tidal:grpc_connections"), 1000)
            for client in clients[::2]:
                reset(client)

    def test_clients_that_leave_at_any_moment(self):
        request = inference_pb2.GenerateRequest(text=PROMPT)
        request.stopping.max_tokens = 500
        body = request.SerializeToString()
        whole = (OPENING + http2_frame(HEADERS, call_headers(b"/tidal.v1.Inference/Generate"),
                                       END_HEADERS, 1)
                 + http2_frame(DATA, b"\0" + len(body).to_bytes(4, "big") + body, END_STREAM, 1))
        for name, server in self.servers.items():
            with self.subTest(name), self.others_are_served(server):
                for size in range(1, len(whole) + 1, 7):
                    client = self.connect(server)
                    client.sendall(whole[:size])
                    reset(client) if size % 2 else client.close()
                client = self.connect(server)
                client.sendall(whole)
                client.recv(200)
                reset(client)

    def test_another_protocol_is_told_so(self):
        client = self.connect(self.plain)
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        self.assertIn(b"This port speaks gRPC", read_to_end(client))


if __name__ == "__main__":
    unittest.main()
