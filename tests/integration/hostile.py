"""What the tests of hostile clients share: bytes as no library would send them, and the ordinary
client that is to be served meanwhile.
"""

import contextlib
import json
import socket
import struct
import threading
import time

GRPC_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


def post(body, path="/v1/completions"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            + data)


def http2_frame(kind, payload, flags=0, stream=0):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream) + payload


def hpack(*fields, prefix=b"\0"):
    """A header block of literals: 0x00 leaves the table of headers alone, 0x40 adds to it."""
    def text(value):
        size = len(value)
        if size < 127:
            return bytes([size]) + value
        size -= 127
        encoded = b"\x7f"
        while size >= 128:
            encoded += bytes([size % 128 + 128])
            size //= 128
        return encoded + bytes([size]) + value

    return b"".join(prefix + text(name) + text(value) for name, value in fields)


def call_headers(method=b"/tidal.v1.Inference/GetModelInfo", *more):
    return hpack((b":method", b"POST"), (b":scheme", b"http"), (b":path", method),
                 (b":authority", b"test"), (b"te", b"trailers"),
                 (b"content-type", b"application/grpc"), *more)


def reset(client):
    """Closes with a TCP reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def read_to_end(client):
    """What comes until the server closes; a reset is an end, too."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := client.recv(65536):
            received += chunk
    return received


class GoodClient:
    """Calls ask() again and again for as long as it is entered, as others do meanwhile."""

    def __init__(self, ask):
        self._ask = ask
        self._stop = threading.Event()
        self.answers, self.seconds = [], []

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.is_set():
            begin = time.monotonic()
            self.answers.append(self._ask())
            self.seconds.append(time.monotonic() - begin)
