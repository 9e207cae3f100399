"""API keys, TLS and mTLS on both ports, of the server and of the gateway; all of it reloaded."""

import contextlib
import http.client
import json
import pathlib
import socket
import ssl
import tempfile
import time
import unittest

import grpc

import programs
from certificates import Authority, SwingingFolder
from inference_proto import health_pb2, health_pb2_grpc, inference_pb2, inference_pb2_grpc

SMALL = ("--num_threads=1", "--max_model_len=2048", "--kv_cache_bytes=64MiB")
BODY = {"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}
# More than a block of it is in the prefix cache after the first request.
LONG = {"prompt": "The little boat sailed over the sea to the far island. " * 8, "max_tokens": 1}
# What must never be in a log.
MARKER = "MARKER-OF-WHAT-A-CLIENT-SAID"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def eventually(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true")
        time.sleep(0.1)
    return result


class Client:
    """Requests over HTTP, plain or through TLS, with a key or without."""

    def __init__(self, port, tls=None, key=None):
        self._port, self._tls = port, tls
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def connect(self):
        if self._tls is None:
            return http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=30, context=self._tls)

    def call(self, method, path, body=None, **headers):
        """The status, the headers and the text of the reply."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = self.connect()
        with contextlib.closing(connection):
            connection.request(method, path, data, {**self._headers, **headers})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read().decode()

    def status(self, method, path, body=None):
        return self.call(method, path, body)[0]

    def cached_tokens(self, body):
        _, _, text = self.call("POST", "/v1/completions", body)
        return json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]


def trust(authority, identity=None):
    context = ssl.create_default_context(cafile=authority.ca)
    if identity is not None:
        context.load_cert_chain(*identity)
    return context


def generate(target, credentials=None, key=None, server_name=None):
    """The status code of one generation over gRPC on a channel of its own."""
    # Without a pool of its own a new channel would take over another's connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    channel = grpc.secure_channel(target, credentials, options) if credentials else \
        grpc.insecure_channel(target, options)
    with channel:
        return generate_on(channel, key)


def generate_on(channel, key=None):
    request = inference_pb2.GenerateRequest(text="Once upon a time")
    request.stopping.max_tokens = 2
    metadata = [("authorization", f"Bearer {key}")] if key else None
    try:
        list(inference_pb2_grpc.InferenceStub(channel).Generate(
            request, metadata=metadata, timeout=30))
        return grpc.StatusCode.OK
    except grpc.RpcError as error:
        return error.code()


def channel_credentials(authority, identity=None):
    cert, key = (path.read_bytes() for path in identity) if identity else (None, None)
    return grpc.ssl_channel_credentials(authority.ca.read_bytes(), key, cert)


class SecurityTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_program(self, program):
        self.addCleanup(lambda: self.assertEqual(0, program.stop(), program.log()))
        return program

    def server(self, *arguments):
        return self.run_program(programs.Server(*SMALL, *arguments))

    def gateway(self, target, *arguments):
        return self.run_program(programs.GatewayProgram(target, *arguments))


class ApiKeyTest(SecurityTest):
    def setUp(self):
        super().setUp()
        self.secret = SwingingFolder(self.folder / "secret")
        self.secret.put(keys="alice: alice-key\nbob: bob-key\n")

    def start(self):
        return self.server("--api_key=listed-key", f"--api_key_file={self.secret.path}/keys")

    def test_both_ports_ask(self):
        server = self.start()
        gateway = self.gateway(server.grpc_target)
        for port in (server.http_port, gateway.http_port):
            for key in ("alice-key", "bob-key", "listed-key"):
                self.assertEqual(200, Client(port, key=key).status("POST", "/v1/completions", BODY))
                self.assertEqual(200, Client(port, key=key).status("GET", "/v1/models"))
            for key in (None, "wrong", "alice-key2", "alice", "alice: alice-key"):
                status, headers, text = Client(port, key=key).call("POST", "/v1/completions", BODY)
                self.assertEqual((401, "Bearer"), (status, headers["WWW-Authenticate"]))
                self.assertEqual("invalid_api_key", json.loads(text)["error"]["code"])
            self.assertEqual(401, Client(port).status("POST", "/tokenize", {"prompt": "Hi"}))
            for path in ("/health", "/health/live", "/metrics", "/version"):
                self.assertEqual(200, Client(port).status("GET", path), path)
        self.assertEqual(grpc.StatusCode.OK, generate(server.grpc_target, key="bob-key"))
        self.assertEqual(grpc.StatusCode.UNAUTHENTICATED, generate(server.grpc_target))
        self.assertEqual(grpc.StatusCode.UNAUTHENTICATED, generate(server.grpc_target, key="x"))
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            self.assertEqual(health_pb2.HealthCheckResponse.SERVING,
                             stub.Check(health_pb2.HealthCheckRequest()).status)
        # 6 at the server's own HTTP port, 6 through the gateway, 2 over gRPC.
        self.assertEqual(14, server.metric("tidal:unauthorized_requests_total"))

    def test_a_gateway_with_keys_refuses_early(self):
        gateway = self.gateway("127.0.0.1:1", f"--api_key_file={self.secret.path}/keys")
        self.assertEqual(401, Client(gateway.http_port).status("POST", "/v1/completions", BODY))
        known = Client(gateway.http_port, key="alice-key")
        self.assertEqual(503, known.status("POST", "/v1/completions", BODY), "there is no server")
        self.assertEqual(1, gateway.metric("tidal:unauthorized_requests_total"))

    def test_keys_change_while_it_runs(self):
        server = self.start()
        alice, carol = (Client(server.http_port, key=f"{name}-key") for name in ("alice", "carol"))
        self.assertEqual((200, 401), (alice.status("GET", "/v1/models"),
                                      carol.status("GET", "/v1/models")))
        self.secret.put(keys="carol: carol-key\n")
        eventually(lambda: carol.status("GET", "/v1/models") == 200)
        self.assertEqual(401, alice.status("GET", "/v1/models"))
        self.assertEqual(grpc.StatusCode.UNAUTHENTICATED,
                         generate(server.grpc_target, key="alice-key"))
        self.secret.put(keys="carol: a key with spaces\n")
        eventually(lambda: "could not be read again" in server.log())
        self.assertEqual(200, carol.status("GET", "/v1/models"))
        self.assertNotIn("with spaces", server.log())
        self.assertNotIn("-key", server.log())

    def test_tenants_share_no_cached_prompts(self):
        server = self.start()
        alice, bob = (Client(server.http_port, key=f"{name}-key") for name in ("alice", "bob"))
        self.assertEqual(0, alice.cached_tokens(LONG))
        self.assertGreater(alice.cached_tokens(LONG), 16)
        self.assertEqual(0, bob.cached_tokens(LONG))
        self.assertGreater(bob.cached_tokens(LONG), 16)
        salted = {**LONG, "cache_salt": "another user of alice's"}
        self.assertEqual(0, alice.cached_tokens(salted))
        self.assertGreater(alice.cached_tokens(salted), 16)

    def test_salts_divide_where_there_are_no_keys(self):
        server = self.server("--prefix_cache_scope=server")
        client = Client(server.http_port)
        self.assertEqual(0, client.cached_tokens(LONG))
        self.assertGreater(client.cached_tokens(LONG), 16)
        self.assertEqual(0, client.cached_tokens({**LONG, "cache_salt": "x"}))

    def test_start_errors_name_the_flag(self):
        for argument, words in (("--api_key=a b", "api_key: must be keys"),
                                ("--api_key_file=/no/such", "api_key_file: /no/such: must be"),
                                ("--tls_client_ca_file=x", "tls_client_ca_file: must be given"),
                                ("--tls_key_file=x", "tls_key_file: must be given together")):
            with self.assertRaises(RuntimeError) as caught:
                programs.Server(*SMALL, argument)
            self.assertIn(words, str(caught.exception))
            with self.assertRaises(RuntimeError) as caught:
                programs.GatewayProgram("127.0.0.1:1", argument)
            self.assertIn(words, str(caught.exception))


class TlsTest(SecurityTest):
    def setUp(self):
        super().setUp()
        self.authority = Authority(self.folder, "authority")
        self.stranger = Authority(self.folder, "stranger")
        self.first = self.authority.issue("first")
        self.client = self.authority.issue("client")
        self.secret = SwingingFolder(self.folder / "secret")
        self.put(self.first)

    def put(self, identity, ca=None):
        cert, key = identity
        self.secret.put(tls_crt=cert, tls_key=key, ca_crt=(ca or self.authority).ca)

    def flags(self, mutual):
        flags = [f"--tls_cert_file={self.secret.path}/tls.crt",
                 f"--tls_key_file={self.secret.path}/tls.key"]
        return flags + [f"--tls_client_ca_file={self.secret.path}/ca.crt"] * mutual

    def refused(self, call):
        """The client is not let in: by an alert, or by a closed connection."""
        with self.assertRaises((ssl.SSLError, OSError, http.client.HTTPException)):
            call()

    def test_tls(self):
        server = self.server(*self.flags(mutual=False))
        self.assertTrue(server.url.startswith("https://"))
        client = Client(server.http_port, trust(self.authority))
        self.assertEqual(200, client.status("POST", "/v1/completions", BODY))
        connection = client.connect()
        connection.connect()
        self.assertIn(connection.sock.version(), ("TLSv1.2", "TLSv1.3"))
        for _ in range(3):  # the connection is kept
            connection.request("GET", "/v1/models")
            self.assertEqual(200, connection.getresponse().read() and 200)
        connection.close()
        distrusting = Client(server.http_port, trust(self.stranger))
        self.refused(lambda: distrusting.status("GET", "/health"))
        self.refused(lambda: Client(server.http_port).status("GET", "/health"))
        target = server.grpc_target
        self.assertEqual(grpc.StatusCode.OK, generate(target, channel_credentials(self.authority)))
        self.assertEqual(grpc.StatusCode.UNAVAILABLE,
                         generate(target, channel_credentials(self.stranger)))
        self.assertEqual(grpc.StatusCode.UNAVAILABLE, generate(target))

    def test_a_large_reply_and_its_end_arrive(self):
        server = self.server(*self.flags(mutual=False))
        client = Client(server.http_port, trust(self.authority))
        text = "word " * 200_000
        status, _, reply = client.call("POST", "/tokenize", {"prompt": text},
                                       Connection="close")
        self.assertEqual(200, status)
        self.assertGreater(json.loads(reply)["count"], 100_000)
        # The end of an HTTP/1.0 stream is the end of the connection: TLS must say so.
        with trust(self.authority).wrap_socket(
                socket.create_connection(("127.0.0.1", server.http_port)),
                server_hostname="localhost") as raw:
            data = json.dumps({**BODY, "stream": True}).encode()
            raw.sendall(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(data)
                        + data)
            received = b""
            while chunk := raw.recv(65536):  # raises where the end is not announced
                received += chunk
            self.assertIn(b"[DONE]", received)
        # A body over the limit: the reply arrives though the rest of the body is not read.
        status, _, _ = client.call("POST", "/v1/completions", b"x" * (17 << 20))
        self.assertEqual(413, status)

    def test_protocols(self):
        server = self.server(*self.flags(mutual=False))

        def handshake(change):
            context = trust(self.authority)
            change(context)
            with socket.create_connection(("127.0.0.1", server.http_port), 30) as raw:
                with context.wrap_socket(raw, server_hostname="localhost") as tls:
                    return tls.version(), tls.selected_alpn_protocol()

        def limit(context, version):
            context.maximum_version = version

        self.assertEqual("TLSv1.2",
                         handshake(lambda c: limit(c, ssl.TLSVersion.TLSv1_2))[0])
        self.assertEqual("http/1.1",
                         handshake(lambda c: c.set_alpn_protocols(["h2", "http/1.1"]))[1])
        self.refused(lambda: handshake(lambda c: c.set_alpn_protocols(["h2"])))

    def test_mutual_tls_and_the_health_port(self):
        health_port = free_port()
        server = self.server(*self.flags(mutual=True), f"--health_port={health_port}",
                             "--api_key=key")
        known = trust(self.authority, self.client)
        self.assertEqual(200, Client(server.http_port, known, "key").status(
            "POST", "/v1/completions", BODY))
        self.assertEqual(401, Client(server.http_port, known).status("GET", "/v1/models"))
        other = self.stranger.issue("other")
        for context in (trust(self.authority), trust(self.authority, other)):
            self.refused(lambda: Client(server.http_port, context).status("GET", "/health"))
        target = server.grpc_target
        credentials = channel_credentials(self.authority, self.client)
        self.assertEqual(grpc.StatusCode.OK, generate(target, credentials, "key"))
        self.assertEqual(grpc.StatusCode.UNAUTHENTICATED, generate(target, credentials))
        for identity in (None, other):
            self.assertEqual(grpc.StatusCode.UNAVAILABLE, generate(
                target, channel_credentials(self.authority, identity), "key"))
        probe = Client(health_port)
        for path in ("/health", "/health/live", "/health/ready", "/metrics", "/version"):
            self.assertEqual(200, probe.status("GET", path), path)
        for path in ("/v1/models", "/v1/completions", "/tokenize"):
            self.assertEqual(404, probe.status("POST", path, BODY), path)

    def test_gateway_to_servers_with_mutual_tls(self):
        named = self.authority.issue("named", "DNS:server.tidal.test")
        self.put(named)
        server = self.server(*self.flags(mutual=True), "--api_key=key")
        cert, key = self.client
        to_server = [f"--grpc_ca_file={self.authority.ca}", f"--grpc_cert_file={cert}",
                     f"--grpc_key_file={key}", "--grpc_server_name=server.tidal.test"]
        gateway = self.gateway(server.grpc_target, *to_server, *self.flags(mutual=False))
        client = Client(gateway.http_port, trust(self.authority), "key")
        # The gateway's own certificate has the other name.
        client._tls.check_hostname = False
        self.assertEqual(200, client.status("POST", "/v1/completions", BODY))
        stranger = self.gateway(server.grpc_target, *to_server[:1], to_server[3])
        self.assertEqual(503, Client(stranger.http_port, key="key").status(
            "POST", "/v1/completions", BODY), "it has no certificate")
        wrong_name = self.gateway(server.grpc_target, *to_server[:3])
        self.assertEqual(503, Client(wrong_name.http_port, key="key").status(
            "POST", "/v1/completions", BODY))

    def serial_of(self, port):
        """What tells the certificate of a new connection."""
        context = trust(self.authority, self.client)
        with socket.create_connection(("127.0.0.1", port), 30) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as tls:
                return tls.getpeercert()["subject"]

    def test_certificates_change_while_it_runs(self):
        server = self.server(*self.flags(mutual=True))
        port, target = server.http_port, server.grpc_target
        kept = Client(port, trust(self.authority, self.client)).connect()
        kept.request("GET", "/v1/models")
        kept.getresponse().read()
        credentials = channel_credentials(self.authority, self.client)
        with grpc.secure_channel(target, credentials) as kept_channel:
            self.assertEqual(grpc.StatusCode.OK, generate_on(kept_channel))
            # A new server certificate, of the same authority.
            before = self.serial_of(port)
            self.put(self.authority.issue("second"))
            eventually(lambda: self.serial_of(port) != before)
            # Files that do not go together: connections get what was there before.
            self.put((self.first[0], self.client[1]))
            eventually(lambda: "could not be read again" in server.log())
            self.assertNotEqual(before, self.serial_of(port))
            # Another authority: its clients come in, the old one's do not.
            stranger = self.stranger.issue("third"), self.stranger.issue("its-client")
            self.put(stranger[0], self.stranger)
            new = Client(port, trust(self.stranger, stranger[1]))
            eventually(lambda: self.works(new))
            self.refused(lambda: Client(port, trust(self.stranger, self.client)).status(
                "GET", "/health"))
            new_credentials = channel_credentials(self.stranger, stranger[1])
            eventually(lambda: generate(target, new_credentials) == grpc.StatusCode.OK)
            self.assertEqual(grpc.StatusCode.UNAVAILABLE, generate(target, credentials))
            # Whoever was in stays in.
            self.assertEqual(grpc.StatusCode.OK, generate_on(kept_channel))
        kept.request("GET", "/v1/models")
        self.assertEqual(200, kept.getresponse().status)
        kept.close()

    def works(self, client):
        try:
            return client.status("GET", "/health") == 200
        except OSError:
            return False


class LogTest(SecurityTest):
    def test_nothing_a_client_said_is_logged(self):
        server = self.server("--api_key=only-known-here", "--log_level=debug")
        gateway = self.gateway(server.grpc_target)
        field = f'{{"prompt": "{MARKER}", "max_tokens": 2'
        bodies = [field + "}", field + ', "stream": true}', field + ', "n": 1000}',
                  field + f', "model": "{MARKER}"}}', field + f', "{MARKER}": 1}}',
                  field + f', "temperature": "{MARKER}"}}', field + ', "temperature": 99}',
                  field + f', "stop": "{MARKER}"}}', field + f', "user": "{MARKER}"}}',
                  field + f', "cache_salt": "{MARKER * 20}"}}', field, MARKER,
                  f'{{"prompt": "{MARKER * 3000}"}}']
        for port in (server.http_port, gateway.http_port):
            for key in ("only-known-here", MARKER):
                client = Client(port, key=key)
                for body in bodies:
                    client.call("POST", "/v1/completions", body.encode())
                    client.call("POST", "/v1/chat/completions", body.replace(
                        '"prompt": ', '"messages": ').encode())
                for path in (f"/{MARKER}", f"/v1/models/{MARKER}"):
                    client.call("GET", path)
                client.call("POST", "/tokenize", {"prompt": MARKER})
                client.call("POST", "/detokenize", {"tokens": MARKER})
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = inference_pb2_grpc.InferenceStub(channel)
            known = [("authorization", "Bearer only-known-here")]
            for request in (inference_pb2.GenerateRequest(text=MARKER, n=1000),
                            inference_pb2.GenerateRequest(text=MARKER, model=MARKER)):
                with self.assertRaises(grpc.RpcError):
                    list(stub.Generate(request, metadata=known))
        for program in (server, gateway):
            self.assertNotIn(MARKER, program.log())
            self.assertNotIn("only-known-here", program.log())

    def test_the_id_of_a_request_cannot_break_a_log_line(self):
        server = self.server()
        client = Client(server.http_port)
        client.call("POST", "/v1/completions", BODY, **{"X-Request-Id": "i" * 5000})
        client.call("POST", "/v1/completions", {**BODY, "request_id": 'a"\n{"level":"forged"}'})
        with grpc.insecure_channel(server.grpc_target) as channel:
            request = inference_pb2.GenerateRequest(text="Hi", request_id='b"\n\x1b[31mforged')
            request.stopping.max_tokens = 1
            list(inference_pb2_grpc.InferenceStub(channel).Generate(request))
            request.request_id = "j" * 5000
            with self.assertRaises(grpc.RpcError):
                list(inference_pb2_grpc.InferenceStub(channel).Generate(request))
        eventually(lambda: server.log().count('"message":"request') == 4)
        for line in server.log().splitlines():
            self.assertLess(len(line), 1000)
            self.assertNotIn("forged", json.loads(line)["level"])
        self.assertNotIn("\x1b", server.log())


if __name__ == "__main__":
    unittest.main()
