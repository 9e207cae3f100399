"""Certificates, keys and authorities rewritten in place under load: empty, half, and in any order."""

import json
import pathlib
import random
import socket
import ssl
import tempfile
import threading
import time
import unittest
import urllib.request

import grpc

import programs
from certificates import Authority
from hostile import GoodClient
from inference_proto import inference_pb2, inference_pb2_grpc

REWRITES = 1000
CHECK_EVERY = 100
SECONDS_TO_TAKE_NEW_FILES = 2
NAMES = ("tls.crt", "tls.key", "ca.crt")
BODY = {"prompt": "Once upon a time", "max_tokens": 2, "temperature": 0}


class TlsRewriteTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        folder = pathlib.Path(folder.name)
        self.authority = Authority(folder, "authority")
        self.identities = [self.contents(self.authority.issue(f"identity-{i}"))
                           for i in range(REWRITES // CHECK_EVERY + 1)]
        self.client = self.authority.issue("client")
        self.secret = folder / "secret"
        self.secret.mkdir()
        self.write_all(self.identities[0])
        files = {name: f"{self.secret}/{name}" for name in NAMES}
        door = (f"--tls_cert_file={files['tls.crt']}", f"--tls_key_file={files['tls.key']}",
                f"--tls_client_ca_file={files['ca.crt']}")
        self.server = programs.Server("--num_threads=1", "--max_model_len=2048",
                                      "--kv_cache_bytes=64MiB", *door)
        self.addCleanup(lambda: self.assertEqual(0, self.server.stop(), self.server.log()))
        self.gateway = programs.GatewayProgram(
            self.server.grpc_target, *door, f"--grpc_ca_file={files['ca.crt']}",
            f"--grpc_cert_file={files['tls.crt']}", f"--grpc_key_file={files['tls.key']}")
        self.addCleanup(lambda: self.assertEqual(0, self.gateway.stop(), self.gateway.log()))

    def contents(self, identity):
        cert, key = identity
        return dict(zip(NAMES, (cert.read_bytes(), key.read_bytes(),
                                self.authority.ca.read_bytes())))

    def write_all(self, contents):
        for name, content in contents.items():
            (self.secret / name).write_bytes(content)

    def context(self):
        context = ssl.create_default_context(cafile=self.authority.ca)
        context.load_cert_chain(*self.client)
        return context

    def certificate(self, port, protocol):
        """What a new connection is shown."""
        context = self.context()
        context.set_alpn_protocols([protocol])
        with socket.create_connection(("127.0.0.1", port), 30) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as tls:
                return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True)).encode()

    def ports(self):
        return {"gateway": (self.gateway.http_port, "http/1.1"),
                "server, HTTP": (self.server.http_port, "http/1.1"),
                "server, gRPC": (int(self.server.grpc_target.rsplit(":", 1)[1]), "h2")}

    def complete_over_a_new_connection(self):
        request = urllib.request.Request(f"https://localhost:{self.gateway.http_port}"
                                         "/v1/completions", json.dumps(BODY).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60, context=self.context()) as reply:
            return reply.status

    def stream(self):
        """A long reply over gRPC, from the first token to the last."""
        cert, key = (path.read_bytes() for path in self.client)
        credentials = grpc.ssl_channel_credentials(self.authority.ca.read_bytes(), key, cert)
        options = [("grpc.use_local_subchannel_pool", 1),
                   ("grpc.ssl_target_name_override", "localhost")]
        request = inference_pb2.GenerateRequest(text="Once upon a time")
        request.stopping.max_tokens = 200
        request.stopping.ignore_eos = True
        with grpc.secure_channel(self.server.grpc_target, credentials, options) as channel:
            events = list(inference_pb2_grpc.InferenceStub(channel).Generate(request, timeout=60))
        return sum(event.delta.num_tokens for event in events)

    def wait_for_error(self, program, words):
        deadline = time.monotonic() + 30
        while not any("could not be read again" in line and words in line
                      for line in program.log().splitlines()):
            self.assertLess(time.monotonic(), deadline, program.log())
            time.sleep(0.05)

    def test_rewrites_in_place(self):
        chance = random.Random(7)
        slowest = 0
        with GoodClient(self.complete_over_a_new_connection) as good, \
                GoodClient(self.stream) as streams:
            for rewrite in range(1, REWRITES + 1):
                if rewrite % CHECK_EVERY:
                    name = chance.choice(NAMES)
                    content = chance.choice(self.identities)[name]
                    size = chance.choice((0, len(content) // 2, len(content)))
                    (self.secret / name).write_bytes(content[:size])
                    time.sleep(chance.choice((0, 0.002, 0.02)))
                    continue
                wanted = self.identities[rewrite // CHECK_EVERY]
                order = list(wanted)
                chance.shuffle(order)
                self.write_all({name: wanted[name] for name in order})
                begin = time.monotonic()
                for port, (number, protocol) in self.ports().items():
                    while self.certificate(number, protocol).strip() != wanted["tls.crt"].strip():
                        self.assertLess(time.monotonic() - begin, 30, port)
                        time.sleep(0.02)
                    seconds = time.monotonic() - begin
                    slowest = max(slowest, seconds)
                    if programs.MEASURES:
                        self.assertLess(seconds, SECONDS_TO_TAKE_NEW_FILES, port)
            # Files that stay bad for as long as it takes to be noticed.
            for name in NAMES:
                (self.secret / name).write_bytes(b"")
            for program, words in ((self.server, '"gRPC"'), (self.gateway, "for the servers")):
                self.wait_for_error(program, words)
            for port, (number, protocol) in self.ports().items():
                self.assertEqual(wanted["tls.crt"].strip(),
                                 self.certificate(number, protocol).strip(), port)
            self.assertIsNone(self.server.process.poll())
            self.assertIsNone(self.gateway.process.poll())
        print(f"{REWRITES} rewrites, meanwhile {len(good.answers)} requests over new connections "
              f"and {len(streams.answers)} streams; new files taken within {slowest:.2f} s")
        self.assertEqual({200}, set(good.answers))
        self.assertEqual({200}, set(streams.answers))


if __name__ == "__main__":
    unittest.main()
