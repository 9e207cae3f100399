"""The log, or what a program prints, goes where nothing can be written: /dev/full."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import unittest
import urllib.request

import programs

REQUESTS = 5


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    """Of all threads, as proc(5) has it."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Running:
    """A program whose log nobody reads: its port is chosen here, its probe tells when it is ready."""

    def __init__(self, name, *arguments, **streams):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.process = subprocess.Popen(
            [programs.BIN_DIR / name, f"--http_port={port}", *arguments], cwd=programs.ROOT,
            env=programs.environment(), **streams)
        deadline = time.monotonic() + programs.START_TIMEOUT_S
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"{name} did not start: {self.process.wait()}")
            time.sleep(0.05)

    def _is_ready(self):
        try:
            return "ready" in self.get("/health/ready")
        except OSError:
            return False

    def get(self, path, body=None):
        request = urllib.request.Request(self.url + path, body,
                                         {"Content-Type": "application/json"} if body else {})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.read().decode()

    def dropped_lines(self):
        return int(re.search(r"^tidal:log_lines_dropped_total (\d+)$", self.get("/metrics"),
                             re.MULTILINE)[1])

    def complete(self):
        self.get("/v1/completions", b'{"prompt": "Once", "max_tokens": 2, "temperature": 0}')

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class FullDiskTest(unittest.TestCase):
    def serve(self, **streams):
        grpc_port = free_port()
        server = Running("tidal-server", f"--grpc_port={grpc_port}", "--kv_cache_bytes=256MiB",
                         f"--device={programs.DEVICE}", **streams)
        self.addCleanup(server.process.kill)
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        return server, grpc_port

    def test_a_server_serves_without_a_log(self):
        with open("/dev/full", "w") as full:
            server, grpc_port = self.serve(stderr=full)
            gateway = Running("tidal-gateway", f"--grpc_target=127.0.0.1:{grpc_port}", stderr=full)
        self.addCleanup(gateway.process.kill)
        at_start = server.dropped_lines()
        self.assertGreater(at_start, 0)
        for _ in range(REQUESTS):
            gateway.complete()
        # A line for each request, and no more: nothing is tried again.
        self.assertEqual(at_start + REQUESTS, server.dropped_lines())
        self.assertGreater(gateway.dropped_lines(), 0)
        self.assertEqual(0, gateway.stop())
        self.assertEqual(0, server.stop())

    def test_an_idle_server_without_a_log_rests(self):
        with open("/dev/full", "w") as full:
            server, _ = self.serve(stderr=full)
        server.complete()
        before = server.dropped_lines(), cpu_seconds(server.process.pid)
        time.sleep(2)
        self.assertEqual(before[0], server.dropped_lines())
        # A thread that spins takes 2 s; the health monitor's looks take some hundredths.
        self.assertLess(cpu_seconds(server.process.pid) - before[1], 1)

    def test_a_server_does_not_mind_where_its_output_goes(self):
        with open("/dev/full", "w") as full:
            server, _ = self.serve(stdout=full, stderr=subprocess.DEVNULL)
        server.complete()
        self.assertEqual(0, server.dropped_lines())
        self.assertEqual(0, server.stop())

    def test_no_socket_takes_the_place_of_a_closed_stream(self):
        server, _ = self.serve(preexec_fn=lambda: [os.close(file) for file in (0, 1, 2)])
        server.complete()
        for file in (1, 2):  # gRPC takes 0 before main() begins, for a file of no harm
            self.assertEqual("/dev/null", os.readlink(f"/proc/{server.process.pid}/fd/{file}"))
        self.assertEqual(0, server.stop())

    def test_what_cannot_be_printed_is_an_error(self):
        for program, arguments, message in (
                ("tidal-server", ["--print_config"], "print_config: cannot be written: "),
                ("tidal-gateway", ["--print_config"], "print_config: cannot be written: "),
                ("tidal-generate", ["--max_tokens=2", "--device=cpu", "Once"],
                 "tidal-generate: the output could not all be written")):
            with open("/dev/full", "w") as full:
                done = subprocess.run([programs.BIN_DIR / program, *arguments], stdout=full,
                                      stderr=subprocess.PIPE, text=True, cwd=programs.ROOT,
                                      env=programs.environment(), timeout=60)
            self.assertEqual(1, done.returncode, program)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    unittest.main()
