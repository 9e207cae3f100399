"""Traces of real requests, as a collector gets them: who is whose child, and when what was."""

import http.client
import json
import secrets
import socket
import statistics
import time
import unittest

import grpc

import otlp_collector
import programs
from inference_proto import inference_pb2, inference_pb2_grpc

SMALL = ("--num_threads=1", "--max_model_len=2048", "--kv_cache_bytes=64MiB")
BODY = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
PHASES = ["queue", "prefill", "decode"]
SERVER = 2  # OTLP's number of the kind


def setUpModule():
    global collector, server, gateway
    collector = otlp_collector.Collector()
    server = programs.Server(*SMALL, f"--otlp_endpoint={collector.url}/v1/traces")
    gateway = programs.GatewayProgram(server.grpc_target, f"--otlp_endpoint={collector.url}")


def tearDownModule():
    assert gateway.stop() == 0, gateway.log()
    assert server.stop() == 0, server.log()
    collector.close()


class Caller:
    """The span of a client."""

    def __init__(self, sampled=True):
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.traceparent = f"00-{self.trace_id}-{self.span_id}-{'01' if sampled else '00'}"


def post(program, body, headers, path="/v1/completions"):
    """Status and body; `headers` are pairs, so that a name may come twice."""
    connection = http.client.HTTPConnection("127.0.0.1", program.http_port, timeout=60)
    data = json.dumps(body).encode()
    connection.putrequest("POST", path)
    for name, value in [*headers, ("Content-Length", str(len(data)))]:
        connection.putheader(name, value)
    connection.endheaders(data)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, text


def log_line(words):
    """The fields of the server's log line that has these words; it may come after the reply."""
    for _ in range(100):
        for line in server.log().splitlines():
            if words in line:
                return json.loads(line)
        time.sleep(0.05)
    raise AssertionError(f"no log line has {words}")


class SpansTest(unittest.TestCase):
    def assert_tree(self, spans, root_parent):
        """Each span is inside its parent, in time too."""
        by_id = {span.id: span for span in spans}
        self.assertEqual(len(spans), len(by_id))
        roots = [span for span in spans if span.parent not in by_id]
        self.assertEqual([root_parent], [span.parent for span in roots])
        for span in spans:
            self.assertLess(0, span.start)
            self.assertLessEqual(span.start, span.end, span.name)
            if span.parent in by_id:
                parent = by_id[span.parent]
                self.assertLessEqual(parent.start, span.start, span.name)
                self.assertLessEqual(span.end, parent.end, span.name)
        return roots[0]

    def test_through_the_gateway(self):
        caller = Caller()
        before = time.time_ns()
        status, text = post(gateway, BODY, [("traceparent", caller.traceparent),
                                            ("tracestate", "foo=1,bar=2"),
                                            ("X-Request-Id", "through-the-gateway")])
        after = time.time_ns()
        self.assertEqual(200, status)
        usage = json.loads(text)["usage"]
        spans = collector.wait_for(caller.trace_id, 5)
        root = self.assert_tree(spans, caller.span_id)
        self.assertEqual(("POST /v1/completions", "tidal-gateway", SERVER),
                         (root.name, root.service, root.kind))
        self.assertEqual(200, root.attributes["http.response.status_code"])
        self.assertTrue(before <= root.start <= root.end <= after, "the times are the clock's")
        (request,) = [span for span in spans if span.parent == root.id]
        self.assertEqual(("text_completion tidal-nano", "tidal-server", SERVER),
                         (request.name, request.service, request.kind))
        phases = sorted((span for span in spans if span.parent == request.id),
                        key=lambda span: PHASES.index(span.name))
        self.assertEqual(PHASES, [span.name for span in phases])
        for earlier, later in zip(phases, phases[1:]):
            self.assertEqual(earlier.end, later.start)
        self.assertEqual({"foo=1,bar=2"}, {span.state for span in spans})
        wanted = {"gen_ai.operation.name": "text_completion",
                  "gen_ai.request.model": programs.MODEL,
                  "gen_ai.request.max_tokens": 12,
                  "gen_ai.usage.input_tokens": usage["prompt_tokens"],
                  "gen_ai.usage.output_tokens": usage["completion_tokens"],
                  "gen_ai.response.finish_reasons": ["length"],
                  "gen_ai.response.id": "through-the-gateway",
                  "tidal.attention.mode": usage["attention"]["mode"],
                  "tidal.attention.sparse_steps": usage["attention"]["sparse_steps"],
                  "tidal.attention.dense_steps": usage["attention"]["dense_steps"],
                  "tidal.preemptions": 0}
        self.assertEqual(wanted, {key: request.attributes[key] for key in wanted})
        self.assertEqual(caller.trace_id, log_line("through-the-gateway")["trace_id"])
        self.assertEqual({"/v1/traces"}, collector.paths, "also where the URL has no path")

    def test_streamed_chat_with_two_outputs(self):
        caller = Caller()
        body = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 6, "n": 2,
                "stream": True, "ignore_eos": True}
        status, text = post(server, body, [("traceparent", caller.traceparent)],
                            "/v1/chat/completions")
        self.assertEqual((200, True), (status, text.rstrip().endswith("[DONE]")))
        spans = collector.wait_for(caller.trace_id, 8)
        root = self.assert_tree(spans, caller.span_id)
        self.assertEqual(("POST /v1/chat/completions", "tidal-server"), (root.name, root.service))
        (request,) = [span for span in spans if span.parent == root.id]
        self.assertEqual("chat tidal-nano", request.name)
        self.assertEqual(2, request.attributes["gen_ai.request.choice.count"])
        self.assertEqual([(name, index) for index in (0, 1) for name in sorted(PHASES)],
                         sorted(((span.name, span.attributes["tidal.output.index"])
                                 for span in spans if span.parent == request.id),
                                key=lambda pair: (pair[1], pair[0])))

    def test_grpc_metadata(self):
        caller = Caller()
        with grpc.insecure_channel(server.grpc_target) as channel:
            request = inference_pb2.GenerateRequest(text="Once", n=1)
            request.stopping.max_tokens = 4
            list(inference_pb2_grpc.InferenceStub(channel).Generate(
                request, metadata=[("traceparent", caller.traceparent), ("tracestate", "a=b")]))
        spans = collector.wait_for(caller.trace_id, 4)
        root = self.assert_tree(spans, caller.span_id)
        self.assertEqual(("text_completion tidal-nano", "a=b"), (root.name, root.state))

    def test_refused_requests(self):
        bad_json, too_hot = Caller(), Caller()
        self.assertEqual(400, post(server, [], [("traceparent", bad_json.traceparent)])[0])
        (span,) = collector.wait_for(bad_json.trace_id, 1)
        self.assertEqual((400, ""), (span.attributes["http.response.status_code"], span.error))
        self.assertEqual(400, post(server, {**BODY, "temperature": 3},
                                   [("traceparent", too_hot.traceparent)])[0])
        root, request = sorted(collector.wait_for(too_hot.trace_id, 2),
                               key=lambda span: span.parent != too_hot.span_id)
        self.assertEqual(root.id, request.parent)
        self.assertEqual("INVALID_ARGUMENT", request.error)

    def test_a_client_that_leaves(self):
        caller = Caller()
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps(
            {**BODY, "max_tokens": 2000, "stream": True}), {"traceparent": caller.traceparent})
        self.assertTrue(connection.getresponse().read(1))
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        spans = {span.parent: span for span in collector.wait_for(caller.trace_id, 5)}
        root = spans[caller.span_id]
        self.assertEqual(499, root.attributes["http.response.status_code"])
        self.assertEqual("CANCELLED", spans[root.id].error)
        self.assertEqual(["abort"], spans[root.id].attributes["gen_ai.response.finish_reasons"])

    def test_unsampled_traces_are_left_alone(self):
        silent, marker = Caller(sampled=False), Caller()
        for program in (gateway, server):
            self.assertEqual(200, post(program, BODY, [("traceparent", silent.traceparent),
                                                       ("X-Request-Id", "silent")])[0])
        self.assertEqual(silent.trace_id, log_line("silent")["trace_id"])
        self.assertEqual(200, post(gateway, BODY, [("traceparent", marker.traceparent)])[0])
        collector.wait_for(marker.trace_id, 5)
        self.assertEqual([], collector.spans(silent.trace_id))

    def test_malformed_parents_begin_a_new_trace(self):
        good = Caller()
        other = Caller()
        for number, headers in enumerate((
                [], [("traceparent", good.traceparent.upper())],
                [("traceparent", good.traceparent + "-more")],
                [("traceparent", good.traceparent), ("traceparent", other.traceparent)])):
            name = f"malformed-{number}"
            self.assertEqual(200, post(gateway, BODY, [*headers, ("X-Request-Id", name)])[0])
            trace_id = log_line(f'"{name}"')["trace_id"]
            self.assertNotIn(trace_id, (good.trace_id, other.trace_id))
            self.assert_tree(collector.wait_for(trace_id, 5), "")

    def test_spans_are_counted(self):
        caller = Caller()
        post(server, BODY, [("traceparent", caller.traceparent)])
        collector.wait_for(caller.trace_id, 5)
        time.sleep(0.2)  # the collector has them a moment before the server knows
        exported = server.metric("tidal:spans_exported_total")
        of_server = sum(span.service == "tidal-server" for span in collector.spans())
        self.assertEqual(of_server, exported)
        self.assertIn('tidal:spans_dropped_total{reason="export_failed"} 0',
                      server.get("/metrics")[1])


class OtherSettingsTest(unittest.TestCase):
    def start(self, *arguments, environment=None):
        program = programs.Server(*SMALL, *arguments, environment=environment)
        self.addCleanup(lambda: self.assertEqual(0, program.stop(), program.log()))
        return program

    def test_a_gateway_without_an_endpoint_passes_the_context_on(self):
        through = programs.GatewayProgram(server.grpc_target)
        self.addCleanup(lambda: self.assertEqual(0, through.stop(), through.log()))
        caller = Caller()
        self.assertEqual(200, post(through, BODY, [("traceparent", caller.traceparent)])[0])
        request = [span for span in collector.wait_for(caller.trace_id, 4)
                   if span.name not in PHASES]
        self.assertEqual([caller.span_id], [span.parent for span in request])
        self.assertEqual(200, post(through, BODY, [("X-Request-Id", "no-parent")])[0])
        trace_id = log_line("no-parent")["trace_id"]
        self.assertEqual(4, len(collector.wait_for(trace_id, 4)), "the server began the trace")

    def test_environment_and_ratio(self):
        with_ratio = self.start("--otlp_sample_ratio=0", environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url + "/", "OTEL_SERVICE_NAME": "from-env"})
        caller = Caller()
        for _ in range(5):
            self.assertEqual(200, post(with_ratio, BODY, [])[0])
        self.assertEqual(200, post(with_ratio, BODY, [("traceparent", caller.traceparent)])[0])
        collector.wait_for(caller.trace_id, 5)
        found = [span for span in collector.spans() if span.service == "from-env"]
        self.assertEqual({caller.trace_id}, {span.trace_id for span in found})

    def median_ms(self, program):
        times = []
        for _ in range(25):
            begin = time.perf_counter()
            self.assertEqual(200, post(program, {**BODY, "max_tokens": 4}, [])[0])
            times.append(1000 * (time.perf_counter() - begin))
        return statistics.median(times)

    def test_no_collector_can_slow_a_request(self):
        slow = otlp_collector.Collector(delay=30)
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))  # never listens: connections are refused
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        try:
            plain = self.median_ms(self.start())
            with_slow = self.start(f"--otlp_endpoint={slow.url}")
            with_dead = self.start(f"--otlp_endpoint={dead}")
            medians = {"none": plain, "slow": self.median_ms(with_slow),
                       "dead": self.median_ms(with_dead)}
            print("median of a request by collector, ms:",
                  {name: round(value, 2) for name, value in medians.items()})
            self.assertLess(medians["slow"], 3 * plain + 20, medians)
            self.assertLess(medians["dead"], 3 * plain + 20, medians)
            lost = 'tidal:spans_dropped_total{reason="export_failed"} '
            for _ in range(200):
                lines = [line for line in with_dead.get("/metrics")[1].splitlines()
                         if line.startswith(lost) and not line.endswith(" 0")]
                if lines:
                    return
                time.sleep(0.05)
            self.fail("spans that nobody takes are counted")
        finally:
            closed.close()
            slow.close()


if __name__ == "__main__":
    unittest.main()
