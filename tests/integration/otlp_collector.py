"""An OpenTelemetry collector for tests: takes OTLP/HTTP JSON and keeps the spans."""

import http.server
import json
import threading
import time


def plain(value):
    """A value of OTLP's JSON as Python's own."""
    if "arrayValue" in value:
        return [plain(element) for element in value["arrayValue"]["values"]]
    if "intValue" in value:
        return int(value["intValue"])
    return value.get("stringValue", value.get("doubleValue"))


def plain_attributes(attributes):
    return {attribute["key"]: plain(attribute["value"]) for attribute in attributes}


class Span:
    def __init__(self, span, resource):
        self.trace_id, self.id = span["traceId"], span["spanId"]
        self.parent = span.get("parentSpanId", "")
        self.name, self.kind = span["name"], span["kind"]
        self.start, self.end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
        self.state = span.get("traceState", "")
        self.attributes = plain_attributes(span["attributes"])
        self.error = span.get("status", {}).get("message", "")
        self.service = resource["service.name"]


class Collector:
    """Listens on a free port. `delay` seconds pass before each answer."""

    def __init__(self, delay=0):
        self._lock = threading.Lock()
        self._spans = []
        self.paths = set()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(delay)
                collector._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _take(self, path, body):
        with self._lock:
            self.paths.add(path)
            for of_resource in body["resourceSpans"]:
                resource = plain_attributes(of_resource["resource"]["attributes"])
                for of_scope in of_resource["scopeSpans"]:
                    self._spans += [Span(span, resource) for span in of_scope["spans"]]

    def spans(self, trace_id=None):
        with self._lock:
            return [span for span in self._spans if trace_id in (None, span.trace_id)]

    def wait_for(self, trace_id, count, timeout=20):
        """The spans of a trace, once there are so many."""
        deadline = time.monotonic() + timeout
        while len(self.spans(trace_id)) < count:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{count} spans awaited, got {[span.name for span in self.spans(trace_id)]}")
            time.sleep(0.05)
        return self.spans(trace_id)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
