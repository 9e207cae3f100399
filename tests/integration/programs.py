"""Starts the built programs for a test, on free ports, and ends them with it."""

import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = pathlib.Path(os.environ.get("TIDAL_BIN_DIR", ROOT / "build/release/bin"))
MODEL = "tidal-nano"
DEVICE = os.environ.get("TIDAL_TEST_DEVICE", "cpu")
START_TIMEOUT_S = 120
# Whether times and memory are the programs' own: under a sanitizer they are not.
MEASURES = os.environ.get("TIDAL_TEST_MEASURES", "1") != "0"


def environment():
    """This process's environment without TIDAL_ variables: to the programs they are flags."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TIDAL_")}


class Program:
    """A running program whose log is read as JSON lines until the one that says it is ready."""

    def __init__(self, name, ready_message, arguments, variables=None):
        self._lines = []
        self._ready = threading.Event()
        self._ready_message = ready_message
        self.ready_fields = {}
        self.process = subprocess.Popen([BIN_DIR / name, *arguments], stderr=subprocess.PIPE,
                                        text=True, cwd=ROOT,
                                        env={**environment(), **(variables or {})})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_TIMEOUT_S) or not self.ready_fields:
            self.process.kill()
            self.wait()
            raise RuntimeError(f"{name} did not start:\n" + "".join(self._lines))
        self.url = self.ready_fields["http"]
        self.http_port = int(self.url.rsplit(":", 1)[1])

    def _read(self):
        for line in self.process.stderr:
            self._lines.append(line)
            if self._ready_message in line:
                self.ready_fields = fields_of(line)
                self._ready.set()
        self._ready.set()

    def log(self):
        return "".join(self._lines)

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=60):
        code = self.process.wait(timeout)
        self._reader.join()
        self.process.stderr.close()
        return code

    def stop(self):
        """Ends the program as an operator does; returns its exit code."""
        if self.process.poll() is None:
            self.signal()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def get(self, path):
        """Status and body of a GET; 0 and the reason where nothing answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def post(self, path, body):
        """Status and JSON of a POST of `body`: bytes as they are, else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data,
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def metric(self, name):
        """The value of a metric with one series."""
        _, text = self.get("/metrics")
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        if len(values) != 1:
            raise KeyError(f"{name}: {len(values)} series in /metrics")
        return float(values[0])

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def fields_of(line):
    """The fields of a log line, JSON or text (key=value)."""
    if line.startswith("{"):
        return json.loads(line)
    return {key: value.strip('"') for key, value in re.findall(r"(\w+)=(\S+)", line)}


class Server(Program):
    """tidal-server with the project's own model."""

    def __init__(self, *arguments, environment=None):
        super().__init__("tidal-server", '"ready"', [
            f"--model={ROOT / 'models' / MODEL}", "--http_port=0", "--grpc_port=0",
            "--kv_cache_bytes=512MiB", "--log_format=json", f"--device={DEVICE}", *arguments],
            environment)
        self.grpc_target = self.ready_fields["grpc"]


class GatewayProgram(Program):
    """tidal-gateway in front of a server."""

    def __init__(self, grpc_target, *arguments):
        super().__init__("tidal-gateway", "gateway listens",
                         [f"--grpc_target={grpc_target}", "--http_port=0", *arguments])
