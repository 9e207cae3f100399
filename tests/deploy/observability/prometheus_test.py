"""A real Prometheus scrapes running programs: every query of ours returns data, and the numbers are
those that the clients saw."""

import json
import math
import re
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import yaml

import deployed
import programs
import traffic

# promtool's advice that vLLM's names, and ours which follow them, do not take.
TOLERATED_ADVICE = re.compile(r"metric names should not contain ':'$|"
                              r'^vllm:iteration_tokens_total non-counter metrics should not have "')


ROUNDS = 3  # of traffic


class Prometheus:
    """The server, with our configuration but for the addresses and the interval."""

    def __init__(self, folder, targets):
        config = yaml.safe_load((deployed.PROMETHEUS / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(deployed.RULES)]
        for scrape in config["scrape_configs"]:
            scrape["static_configs"] = [{"targets": [targets.pop(scrape["job_name"])]}]
        assert not targets, f"jobs that are not scraped: {targets}"
        with open(f"{folder}/prometheus.yaml", "w") as file:
            yaml.safe_dump(config, file)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self._url = f"http://{address}/api/v1/"
        self._log = open(f"{folder}/log", "w+")
        self._process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yaml",
             f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"],
            stdout=self._log, stderr=subprocess.STDOUT)

    def get(self, path, **parameters):
        url = self._url + path + "?" + urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {json.load(error)['error']}") from error

    def query(self, expression):
        return self.get("query", query=expression)["result"]

    def wait_for(self, expression, timeout=60):
        """Waits until a query returns something."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                if self.query(expression):
                    return
            except OSError:
                pass  # it still starts
            if time.monotonic() > deadline:
                self._log.seek(0)
                raise AssertionError(f"{expression} has no data\n{self._log.read()}")
            time.sleep(0.2)

    def stop(self):
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


def families(text):
    """Type by family of a program's metrics."""
    return dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))


def samples(text):
    """Value by series, with its labels, but for those that all series of a server have."""
    found = {}
    for name, labels, value in re.findall(r"^([\w:]+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
        kept = [label for label in labels.split(",")
                if label and not label.startswith(("engine=", "model_name="))]
        found[f"{name}{{{','.join(kept)}}}" if kept else name] = float(value)
    return found


def setUpModule():
    global server, gateway, prometheus, folder, seen, before, after, types
    folder = tempfile.TemporaryDirectory()
    server = programs.Server("--num_threads=1", "--max_model_len=2048", "--kv_cache_bytes=64MiB")
    gateway = programs.GatewayProgram(server.grpc_target)
    before = samples(server.get("/metrics")[1])
    prometheus = Prometheus(folder.name, {"tidal-server": f"127.0.0.1:{server.http_port}",
                                          "tidal-gateway": f"127.0.0.1:{gateway.http_port}"})
    prometheus.wait_for("count(up == 1) == 2")
    seen = traffic.Seen()
    for _ in range(ROUNDS):  # spread over some scrapes, so that rates see it
        traffic.run([server, gateway], seen)
        time.sleep(1.5)
    text = server.get("/metrics")[1]
    after = samples(text)
    types = {**families(text), **families(gateway.get("/metrics")[1]), "up": "gauge"}
    prometheus.wait_for(f"vllm:generation_tokens_total == "
                        f"{after['vllm:generation_tokens_total']:.0f}")
    time.sleep(2)  # the rules see it too


def tearDownModule():
    prometheus.stop()
    assert gateway.stop() == 0 and server.stop() == 0
    folder.cleanup()


def family_of(name):
    """The family that a series belongs to: a histogram has three kinds of them."""
    if name in types:
        return name
    return re.sub(r"_(bucket|sum|count)$", "", name)


class QueriesTest(unittest.TestCase):
    def assert_data(self, where, query):
        result = prometheus.query(query)
        self.assertTrue(result, f"{where} has no data: {query}")
        values = [float(series["value"][1]) for series in result]
        self.assertTrue(any(math.isfinite(value) for value in values), f"{where}: {query}")

    def test_every_panel_shows_data(self):
        queries = deployed.dashboard_queries()
        self.assertGreater(len(queries), 50)
        for where, query in queries:
            with self.subTest(where):
                self.assert_data(where, query)

    def test_every_variable_has_values(self):
        for name, metric, label in deployed.variable_queries():
            with self.subTest(name):
                values = {series["metric"][label] for series in prometheus.query(metric)}
                self.assertTrue(values)

    def test_every_recorded_series_has_data(self):
        for rule in deployed.rules():
            if "record" in rule:
                with self.subTest(rule["record"]):
                    self.assert_data(rule["record"], rule["record"])

    def test_what_alerts_look_at_is_there(self):
        """An alert is silent when all is well, so its parts are looked at, not its whole."""
        for alert in deployed.alerts():
            for _, name, _ in deployed.metrics_of(alert["expr"]):
                with self.subTest(alert["alert"]):
                    self.assert_data(alert["alert"], name)

    def test_rules_are_evaluated_and_all_is_well(self):
        groups = prometheus.get("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        self.assertEqual(len(deployed.rules()), len(found))
        for rule in found:
            self.assertEqual(("ok", ""), (rule["health"], rule.get("lastError", "")), rule["name"])
            self.assertEqual("inactive", rule.get("state", "inactive"), rule["name"])

    def test_queries_fit_the_types_of_their_metrics(self):
        for where, query in deployed.all_queries():
            metrics = deployed.metrics_of(query)
            self.assertTrue(metrics, f"{where}: no metric in {query}")
            for function, name, is_range in metrics:
                if name in deployed.recorded_names():
                    continue
                kind = types.get(family_of(name))
                self.assertIsNotNone(kind, f"{where}: nothing exports {name}")
                is_rate = is_range and function in deployed.COUNTER_FUNCTIONS
                is_count = kind == "counter" or (kind == "histogram" and name != family_of(name))
                self.assertEqual(is_count, is_rate, f"{where}: {name} is a {kind}: {query}")
            if "histogram_quantile" in query:
                self.assertRegex(query, r"by \([^)]*\ble\b[^)]*\)", where)
                self.assertIn("_bucket", query, where)

    def test_promtool_likes_the_metrics(self):
        for program in (server, gateway):
            run = subprocess.run(["promtool", "check", "metrics"], capture_output=True, text=True,
                                 input=program.get("/metrics")[1], timeout=60)
            advice = [line for line in (run.stdout + run.stderr).splitlines()
                      if line.strip() and not TOLERATED_ADVICE.search(line)]
            self.assertEqual([], advice)


class TruthTest(unittest.TestCase):
    """The server's numbers are those that its clients saw."""

    def grown(self, series):
        return after[series] - before.get(series, 0)

    def test_counts(self):
        self.assertGreater(seen.sparse_steps, 0)
        self.assertGreater(seen.cached_tokens, 0)
        self.assertGreater(min(seen.finished.values()), 0)
        outputs, tokens = seen.outputs, seen.completion_tokens
        expected = {
            "vllm:prompt_tokens_total": seen.prompt_tokens,
            "vllm:generation_tokens_total": tokens,
            'vllm:request_success_total{finished_reason="stop"}': seen.finished["stop"],
            'vllm:request_success_total{finished_reason="length"}': seen.finished["length"],
            'vllm:request_success_total{finished_reason="abort"}': 0,
            'vllm:request_success_total{finished_reason="error"}': 0,
            "vllm:num_preemptions_total": 0,
            "vllm:time_to_first_token_seconds_count": outputs,
            "vllm:inter_token_latency_seconds_count": tokens - outputs,
            "vllm:e2e_request_latency_seconds_count": outputs,
            "vllm:request_queue_time_seconds_count": outputs,
            "vllm:request_prefill_time_seconds_count": outputs,
            "vllm:request_decode_time_seconds_count": outputs,
            "vllm:request_prompt_tokens_count": outputs,
            "vllm:request_prompt_tokens_sum": seen.prompt_tokens,
            "vllm:request_generation_tokens_sum": tokens,
            "vllm:request_params_max_tokens_sum": seen.max_tokens,
            "vllm:request_params_n_count": seen.requests,
            "vllm:request_params_n_sum": outputs,
            "tidal:sparse_decode_steps_total": seen.sparse_steps,
            "tidal:dense_decode_steps_total": seen.dense_steps,
            "vllm:iteration_tokens_total_sum":
                tokens + seen.prompt_tokens - self.grown("vllm:prompt_tokens_cached_total"),
        }
        self.assertEqual(expected, {series: self.grown(series) for series in expected})
        # Of several outputs of one request the reply tells the cached tokens of the first.
        self.assertGreaterEqual(self.grown("vllm:prompt_tokens_cached_total"), seen.cached_tokens)

    def test_times(self):
        """A client's clock starts before the server's and stops after it."""
        slack = 0.1 * seen.requests
        server_seconds = self.grown("vllm:e2e_request_latency_seconds_sum")
        self.assertGreater(server_seconds, 0)
        # The two outputs of a request run at the same time.
        both = 2 * seen.seconds
        self.assertLess(server_seconds, both)
        self.assertGreater(server_seconds, seen.seconds - slack)
        self.assertLess(self.grown("vllm:time_to_first_token_seconds_sum"), server_seconds)
        phases = [self.grown(f"vllm:request_{phase}_time_seconds_sum")
                  for phase in ("queue", "prefill", "decode")]
        self.assertAlmostEqual(server_seconds, sum(phases), delta=0.01 * server_seconds)

    def test_http(self):
        """Half of the requests went through the gateway; of each round two were bad."""
        counted = samples(gateway.get("/metrics")[1])
        good, bad = seen.requests // 2, 2 * ROUNDS
        codes = {200: 0, 400: 0}
        for series, value in counted.items():
            match = re.fullmatch(r'tidal:http_requests_total\{handler="/v1/.*",code="(\d+)"\}',
                                 series)
            if match:
                codes[int(match.group(1))] = codes.get(int(match.group(1)), 0) + value
        self.assertEqual((good, bad), (codes[200], codes[400]))

    def test_prometheus_has_the_same_numbers(self):
        for series in ("vllm:generation_tokens_total", "vllm:prompt_tokens_total",
                       "vllm:e2e_request_latency_seconds_count",
                       "tidal:sparse_decode_steps_total"):
            (found,) = prometheus.query(series)
            self.assertEqual(after[series], float(found["value"][1]), series)


if __name__ == "__main__":
    deployed.need_programs("prometheus", "promtool")
    unittest.main()
