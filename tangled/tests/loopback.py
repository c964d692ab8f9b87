# Tangled from chapters/b-data.qmd; edit the chapter, then run make tangle. sha256:8894c85b8e57ee14
"""A web server on this machine that does, request by request, what a test tells it to."""

import http.server
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Answer:
    """What the server does with one request."""

    body: bytes = b""
    status: int = 200
    etag: str = '"1"'
    ranges: bool = True          # honour Range (if If-Range matches the ETag)
    cut: int | None = None       # hang up after so many bytes of the body
    stall: int | None = None     # fall silent after so many bytes, until the server closes
    pace: float = 0.0            # seconds between pieces of 20,000 bytes
    length: bool = True          # announce Content-Length
    headers: dict = field(default_factory=dict)


class Loopback(http.server.ThreadingHTTPServer):
    """Answers in order, the last one for ever; `asked` lists (path, Range, If-Range)."""

    daemon_threads = True

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.closed = list(answers), [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/set.bin"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closed.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """Clients that hang up are no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, (self.headers.get("Range"), self.headers.get("If-Range"))
        server.asked.append((self.path, *asked))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        start = 0
        if answer.ranges and asked[0] and asked[1] in (answer.etag, None):
            start = int(asked[0].removeprefix("bytes=").rstrip("-"))
        self.send_head(answer, start)
        self.send_body(answer, start)

    def send_head(self, answer, start):
        size = len(answer.body)
        self.send_response(206 if start and answer.status == 200 else answer.status)
        fields = {
            "Content-Range": f"bytes {start}-{size - 1}/{size}" if start else "",
            "Content-Length": str(size - start) if answer.length else "", "ETag": answer.etag}
        for name, value in {**fields, **answer.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def send_body(self, answer, start):
        end = min(x for x in (answer.cut, answer.stall, len(answer.body)) if x is not None)
        for at in range(start, end, 20_000):
            self.wfile.write(answer.body[at:min(at + 20_000, end)])
            time.sleep(answer.pace)
        if answer.stall is not None:
            self.wfile.flush()
            self.server.closed.wait(10)
        self.close_connection = True

    def log_message(self, *_):
        """Quiet."""
