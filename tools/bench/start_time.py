#!/usr/bin/env python3
"""Time from the execution of tidal-server to the first 200 of /health/ready.

    tools/bench/start_time.py [--starts=20] [--bin_dir=build/release/bin] [flags of tidal-server]

Prints fastest, median and slowest of so many starts; of the same starts what the server says of
itself, and the processor time of all its threads until then, which a busy machine changes least.
The probe asks every 2 ms.
"""

import argparse
import http.client
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE_EVERY_S = 0.002
TIMEOUT_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def cpu_seconds(pid):
    """Of all threads, as proc(5) has it."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(bin_dir, arguments):
    """Seconds until a server is ready, those that it counts itself, those of the processor."""
    port = free_port()
    command = [bin_dir / "tidal-server", f"--http_port={port}", "--grpc_port=0",
               "--log_format=json", *arguments]
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        while not is_ready(port):
            if server.poll() is not None or time.monotonic() > began + TIMEOUT_S:
                server.kill()
                raise SystemExit(f"start_time: no start:\n{server.stderr.read()}")
            time.sleep(PROBE_EVERY_S)
        took, processor = time.monotonic() - began, cpu_seconds(server.pid)
        server.send_signal(signal.SIGTERM)
        log = server.stderr.read()
    (own,) = re.findall(r'"start_ms":(\d+)', log)
    return took, int(own) / 1000, processor


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--bin_dir", type=pathlib.Path, default=ROOT / "build/release/bin")
    options, arguments = parser.parse_known_args()
    times = [start(options.bin_dir.resolve(), arguments) for _ in range(options.starts)]
    for name, values in zip(("execution to ready", "by the log", "processor time"), zip(*times)):
        print(f"{name}: fastest {min(values):.3f} s, median {statistics.median(values):.3f} s, "
              f"slowest {max(values):.3f} s, of {len(values)}")


if __name__ == "__main__":
    main()
