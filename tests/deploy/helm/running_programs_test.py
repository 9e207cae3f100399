"""What the chart says of the programs is true of the built ones: flags, probes, metrics."""

import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import unittest

import chart
import grpc
import yaml

sys.path.append(str(chart.ROOT / "tests/integration"))
import programs  # noqa: E402

SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}


def flags_of_program(name):
    """The names of all flags, as the program's help lists them."""
    text = subprocess.run([programs.BIN_DIR / name, "--helpfull"], capture_output=True,
                          text=True).stdout
    return set(re.findall(r"^ +--(\w+) \(", text, re.MULTILINE))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class LocalProgram(programs.Program):
    """The program of a rendered Deployment, with its own command line made to fit this machine."""

    def __init__(self, release, deployment, ready_message, folder, **other_flags):
        container = chart.container_of(deployment)
        (name,) = container["command"]
        flags = chart.flags_of(container)
        self.ports = {port: free_port() for port in chart.ports_of(container)
                      if f"{port}_port" in flags}
        flags |= {f"{port}_port": number for port, number in self.ports.items()}
        flags |= {"host": "127.0.0.1", **other_flags}
        config = chart.config_of(release, deployment)
        if "config" in flags:
            flags["config"] = pathlib.Path(folder) / f"{name}.yaml"
            flags["config"].write_text(yaml.safe_dump(config))
        else:
            flags |= config
        super().__init__(name, ready_message, [f"--{flag}={value}" for flag, value in flags.items()])

    def probe(self, get):
        """Status of an httpGet probe."""
        port = self.ports.get(get["port"], self.ports["http"])
        self.url = f"http://127.0.0.1:{port}"
        return self.get(get["path"])[0]


def grpc_health(port, service):
    """What a gRPC probe of Kubernetes gets."""
    request = b"\x0a" + bytes([len(service)]) + service.encode() if service else b""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        return check(request, timeout=10)


class FlagsTest(unittest.TestCase):
    def test_flags_exist(self):
        known = {name: flags_of_program(name) for name in ("tidal-server", "tidal-gateway")}
        for values_name, values in chart.good_values().items():
            release = chart.Release(values)
            for deployment in release.deployments():
                container = chart.container_of(deployment)
                (program,) = container["command"]
                used = chart.flags_of(container).keys() | chart.config_of(release, deployment)
                self.assertLessEqual(used, known[program], f"{values_name}: {program}")

    def test_refused_flags_are_real(self):
        """Flags that the chart sets itself and refuses in the config are spelled right."""
        text = (chart.CHART / "templates/_validate.tpl").read_text()
        (names,) = re.findall(r"range \$flag := list ((?:\"\w+\" ?)+)", text)
        known = flags_of_program("tidal-server") | flags_of_program("tidal-gateway")
        self.assertLessEqual(set(names.replace('"', "").split()), known)


class ProbesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        release = chart.Release({})
        gateway, server = sorted(release.deployments(), key=lambda each: each["metadata"]["name"])
        cls.containers = [chart.container_of(each) for each in (server, gateway)]
        cls.server = LocalProgram(release, server, '"ready"', cls.folder.name,
                                  model=chart.ROOT / "models/tidal-nano")
        cls.gateway = LocalProgram(
            release, gateway, "gateway listens", cls.folder.name,
            grpc_target=f"dns:///localhost:{cls.server.ports['grpc']}")

    @classmethod
    def tearDownClass(cls):
        cls.gateway.stop()
        cls.server.stop()
        cls.folder.cleanup()

    def test_http_probes_are_answered(self):
        for program, container in zip((self.server, self.gateway), self.containers):
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                if name not in container:
                    continue
                get = container[name]["httpGet"]
                self.assertEqual(200, program.probe(get), get)

    def test_grpc_probes_are_answered(self):
        container = chart.container_of(chart.Release(
            {"server": {"probes": {"type": "grpc"}}}).deployments()[1])
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            service = container[name]["grpc"]["service"]
            self.assertEqual(SERVING, grpc_health(self.server.ports["grpc"], service))

    def test_metrics_of_the_autoscaler_exist(self):
        (scaled,) = chart.Release(chart.good_values()["gpu"]).of_kind("ScaledObject")
        self.server.url = f"http://127.0.0.1:{self.server.ports['http']}"
        for trigger in scaled["spec"]["triggers"]:
            (metric,) = re.findall(r"\((vllm:\w+)\{", trigger["metadata"]["query"])
            self.assertEqual(0, self.server.metric(metric))

    def test_labels_for_routers_promise_the_metrics_that_exist(self):
        """Routers of the Gateway API read these from engines with the label vllm."""
        self.server.url = f"http://127.0.0.1:{self.server.ports['http']}"
        for metric in ("vllm:num_requests_waiting", "vllm:num_requests_running",
                       "vllm:kv_cache_usage_perc", "vllm:cache_config_info"):
            self.server.metric(metric)


class RanksTest(unittest.TestCase):
    def test_a_server_of_two_ranks_starts(self):
        release = chart.Release({"gateway": {"enabled": False}, "server": {
            "tensorParallelSize": 2, "config": {"kv_cache_bytes": "256MiB"}}})
        (deployment,) = release.deployments()
        with tempfile.TemporaryDirectory() as folder:
            server = LocalProgram(release, deployment, '"ready"', folder,
                                  model=chart.ROOT / "models/tidal-nano")
            self.addCleanup(server.stop)
            get = chart.container_of(deployment)["livenessProbe"]["httpGet"]
            self.assertEqual(200, server.probe(get))
            _, metrics = server.get("/metrics")
            ranks = re.findall(r'^tidal:device_memory_bytes\{.*rank="(\d+)"', metrics, re.MULTILINE)
            self.assertEqual({"0", "1"}, set(ranks))


if __name__ == "__main__":
    unittest.main()
