#!/usr/bin/env python3
"""Starts the programs of an unpacked image by chroot, as user 65532, and asks them for completions.

    deploy/docker/ask_image.py ROOT

ROOT must be mounted read-only, with /proc and /dev. Prints how long the server took to be ready;
ends with an error when anything is not as it should be.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

USER = 65532
START_TIMEOUT_S = 120
# As the Dockerfile sets it, and nothing from this machine.
ENVIRONMENT = {"PATH": "/tidalserve/bin"}
PROMPT = {"model": "tidal-nano", "prompt": "Once upon a time", "max_tokens": 16, "temperature": 0}


class Program:
    """A program of the image that runs until the block ends, by SIGTERM and with exit code 0."""

    def __init__(self, root, name, arguments, ready_message):
        def enter_image():
            os.chroot(root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)

        self._began = time.monotonic()
        self._process = subprocess.Popen([name, "--http_port=0", *arguments], env=ENVIRONMENT,
                                         executable=f"/tidalserve/bin/{name}", text=True,
                                         stderr=subprocess.PIPE, preexec_fn=enter_image)
        self._ready_message = ready_message
        self.name = name
        self.seconds_to_start = None

    def __enter__(self):
        for line in self._process.stderr:
            if self._ready_message in line:
                self.seconds_to_start = time.monotonic() - self._began
                self.fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
                return self
            sys.stderr.write(line)
        raise SystemExit(f"ask_image: {self.name} ended with {self._process.wait()}")

    def __exit__(self, *error):
        self._process.send_signal(signal.SIGTERM)
        _, log = self._process.communicate(timeout=START_TIMEOUT_S)
        if not any(error) and self._process.returncode != 0:
            sys.stderr.write(log)
            raise SystemExit(f"ask_image: {self.name} ended with {self._process.returncode}")

    def complete(self):
        request = urllib.request.Request(self.fields["http"].strip('"') + "/v1/completions",
                                         json.dumps(PROMPT).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=START_TIMEOUT_S) as reply:
            return json.load(reply)["choices"][0]["text"]


def check_read_only(root):
    try:
        open(os.path.join(root, "written"), "w").close()
    except OSError:
        return
    raise SystemExit(f"ask_image: {root} can be written")


def main():
    (root,) = sys.argv[1:]
    check_read_only(root)
    arguments = ["--grpc_port=0", "--device=cpu", "--kv_cache_bytes=256MiB"]
    with Program(root, "tidal-server", arguments, "ready") as server:
        print(f"ask_image: tidal-server is ready after {server.seconds_to_start:.2f} s")
        direct = server.complete()
        print(f"ask_image: it completes {PROMPT['prompt']!r} with {direct!r}")
        target = "--grpc_target=" + server.fields["grpc"].strip('"')
        with Program(root, "tidal-gateway", [target], "gateway listens") as gateway:
            through_gateway = gateway.complete()
    if not direct or through_gateway != direct:
        raise SystemExit(f"ask_image: through the gateway it was {through_gateway!r}")
    print("ask_image: the same through tidal-gateway; both ended by SIGTERM with exit code 0")


if __name__ == "__main__":
    main()
