"""Streams of completions over bare asyncio sockets: many at once, and breakable anywhere."""

import asyncio
import json


class HttpStream:
    """One streamed completion on a connection of its own."""

    def __init__(self, port, body):
        self._port = port
        self._body = json.dumps({**body, "stream": True}).encode()
        self.text = ""
        self.done = False  # [DONE] has come

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                           b"Content-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(self._body) + self._body)
        await self._writer.drain()
        return self

    async def __aexit__(self, *_):
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass

    async def read_head(self):
        """The status of the reply."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])

    async def events(self):
        """The JSON of each event; fills in text and done."""
        async for line in self._reader:
            if not line.startswith(b"data: "):
                continue  # chunk sizes and empty lines
            data = line[len(b"data: "):].strip()
            if data == b"[DONE]":
                self.done = True
                continue
            event = json.loads(data)
            for choice in event.get("choices", []):
                self.text += choice["text"]
            yield event
