# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:a141be42054cbc6c
"""Chapter 31: the endpoint, on http.server. One request a connection; everything is bounded."""

import contextlib
import io
import json
import re
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tangled.t31_kv_cache import checks as check
from tangled.t31_kv_cache.scheduler import Busy, Request, Scheduler

ROUTES = {"/generate": "POST", "/health": "GET", "/metrics": "GET"}
FIELDS = {"prompt", "tokens", "temperature", "top_k", "seed", "stream"}


class Limits(NamedTuple):
    """Bytes of a body, tokens of a request, connections, and seconds: to be read, written, and served."""

    body: int = 16_384
    tokens: int = 256
    connections: int = 128
    reading: float = 5.0
    writing: float = 10.0
    serving: float = 60.0


class Refusal(Exception):
    """A status and a line that says why; headers to go with it."""

    def __init__(self, status, why, **headers):
        super().__init__(why)
        self.status, self.why, self.headers = status, why, headers


class Reader(io.RawIOBase):
    """A socket as a file, with one deadline for all that is read."""

    def __init__(self, connection, seconds):
        self.connection, self.end = connection, time.monotonic() + seconds

    def readable(self):
        """Yes."""
        return True

    def readinto(self, room):
        """Bytes read into `room`, of any shape (n,); TimeoutError when the deadline has passed."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self.connection.settimeout(left)
        return self.connection.recv_into(room)


class Writer(io.BufferedIOBase):
    """A socket as a file to write to; what is written is sent, all of it."""

    def __init__(self, connection):
        self.connection = connection

    def writable(self):
        """Yes."""
        return True

    def write(self, data):
        """Bytes of the shape (n,), sent: n."""
        self.connection.sendall(data)
        return len(data)


class Lines(io.BufferedReader):
    """Remembers the last line, to tell the end of a head from the end of what came."""

    last = b""

    def readline(self, size=-1):
        """A line, as bytes."""
        self.last = super().readline(size)
        return self.last


def unique(pairs):
    """An object of JSON whose names are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def refuse_constant(name):
    """NaN and Infinity are not JSON."""
    raise ValueError(f"{name} is no number")


def parse(body, tokens, capacity, limits):
    """A Request from the bytes of a body, and whether to stream; Refusal, naming what is wrong."""
    try:
        asked = json.loads(body.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"body is not JSON in UTF-8: {str(error)[:80]}") from None
    if not isinstance(asked, dict):
        raise Refusal(400, f"body is a {type(asked).__name__}; expected an object")
    if odd := sorted(asked.keys() - FIELDS):
        raise Refusal(400, f"{odd[0][:40]!r} is no field; expected {', '.join(sorted(FIELDS))}")
    prompt, stream, seed = asked.get("prompt"), asked.get("stream", False), asked.get("seed", 0)
    if not isinstance(prompt, str) or not prompt:
        raise Refusal(400, "prompt is missing or empty; expected text")
    if not isinstance(stream, bool):
        raise Refusal(400, "stream is no truth value; expected true or false")
    try:
        n, ids = check.whole("tokens", asked.get("tokens", 16)), tokens.encode(prompt[:capacity + 1])
        how = check.choice(asked.get("temperature", 1.0), asked.get("top_k"), None, None)
        if check.whole("seed", seed, 0) >= 1 << 63:
            raise ValueError("seed is too large; expected less than 2 ** 63")
    except (ValueError, OverflowError) as error:
        raise Refusal(400, str(error)[:200]) from None
    if n > limits.tokens or len(prompt) + n - 1 > capacity:
        raise Refusal(400, f"a prompt of {len(prompt)} symbols and {str(n)[:20]} tokens; expected at most "
                           f"{limits.tokens} tokens, and {capacity + 1} together")
    return Request(ids, n, how.temperature, how.top_k, seed), stream


class Handler(BaseHTTPRequestHandler):
    """One request, from the first byte to the last."""

    server_version, sys_version, protocol_version = "tangled", "", "HTTP/1.1"
    default_request_version = "HTTP/1.0"                        # of a line without one: it gets a status, too

    def setup(self):
        """Read by a deadline, write by another."""
        self.connection, self.begun = self.request, False
        self.rfile = Lines(Reader(self.connection, self.server.limits.reading), 1 << 16)
        self.wfile = Writer(self.connection)

    def handle(self):
        """Answer, or refuse."""
        try:
            self._read_head()
            self._answer()
        except Refusal as refusal:
            self._refuse(refusal)
        except TimeoutError:
            self._refuse(Refusal(408, "the request took too long"))
        except ConnectionError:
            self.server.statuses["gone"] += 1

    def send_error(self, code, message=None, explain=None):
        """What `parse_request` of the standard library refuses, in our form."""
        raise Refusal(int(code), str(message or explain or "refused")[:200])

    def _read_head(self):
        self.command, self.request_version, self.requestline = "", self.default_request_version, ""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            raise ConnectionError("nothing was said")
        if len(self.raw_requestline) > 65536:
            raise Refusal(414, "the request line is longer than 65536 bytes")
        if not self.raw_requestline.endswith(b"\n") or len(self.raw_requestline.split()) != 3:
            raise Refusal(400, "the request line is not a method, a path and a version")
        if not self.parse_request():
            raise Refusal(400, "the request cannot be read")
        if self.request_version == "HTTP/0.9":
            raise Refusal(505, "HTTP/0.9 has no status lines; expected HTTP/1.1")
        if self.rfile.last not in (b"\r\n", b"\n"):
            raise Refusal(400, "the head ends before its blank line")
        if self.headers.defects:
            raise Refusal(400, "the head has lines that are no headers")

    def _answer(self):
        path = self.raw_requestline.split()[1].decode("latin-1")        # as it came, nothing resolved
        if path not in ROUTES:
            raise Refusal(404, f"there is no such path; expected one of {', '.join(ROUTES)}")
        if self.command != ROUTES[path]:
            raise Refusal(405, f"{path} takes {ROUTES[path]}", Allow=ROUTES[path])
        if path == "/generate":
            self._generate()
        elif path == "/health":
            healthy = not self.server.scheduler.failed and not self.server.closing
            self._send(200 if healthy else 503, json.dumps({"status": "ok" if healthy else "closing"}) + "\n")
        else:
            self._send(200, self.server.metrics(), "text/plain; version=0.0.4")

    def _body(self):
        """The bytes of the body."""
        if "Transfer-Encoding" in self.headers:
            raise Refusal(501, "Transfer-Encoding is not supported; expected Content-Length")
        lengths = self.headers.get_all("Content-Length") or []
        if not lengths:
            raise Refusal(411, "Content-Length is missing")
        if len(lengths) > 1 or not re.fullmatch("[0-9]{1,15}", lengths[0]):
            raise Refusal(400, "Content-Length is not one number")
        if int(lengths[0]) > self.server.limits.body:
            raise Refusal(413, f"the body has {lengths[0]} bytes; expected at most {self.server.limits.body}")
        if self.headers.get_content_type() != "application/json" or "Content-Type" not in self.headers:
            raise Refusal(415, "expected Content-Type: application/json")
        body = self.rfile.read(int(lengths[0]))
        if len(body) < int(lengths[0]):
            raise Refusal(400, f"the body ends after {len(body)} of {lengths[0]} bytes")
        return body

    def _generate(self):
        server = self.server
        request, stream = parse(self._body(), server.tokens, server.scheduler.decoder.capacity, server.limits)
        try:
            server.scheduler.submit(request)
        except Busy as busy:
            raise Refusal(503, str(busy), **{"Retry-After": "1"}) from None
        try:
            self._tell(request, stream)
        except (TimeoutError, OSError):
            if not self.begun:
                raise Refusal(503, "not done in time", **{"Retry-After": "1"}) from None
            server.statuses["gone"] += 1
        finally:
            request.cancel()                                    # if it is done, nothing happens

    def _tell(self, request, stream):
        """Send what the request gets: a line a token, or all at the end."""
        written, reason = [], ""
        chunked = stream and self.request_version == "HTTP/1.1"
        if stream:
            self._head(200, "application/x-ndjson", {"Transfer-Encoding": "chunked"} if chunked else {})
        for event in request.events(self.server.limits.serving):
            if isinstance(event, str):
                reason = event
                line = {"done": True, "reason": reason, "tokens": len(written)}
            else:
                written.append(event)
                line = {"text": self.server.tokens.decode([event])}
            if stream:
                data = (json.dumps(line) + "\n").encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        if not stream:
            text = self.server.tokens.decode(written)
            status = 200 if reason == "length" else 503
            self._send(status, json.dumps({"text": text, "reason": reason, "tokens": len(written)}) + "\n")

    def _head(self, status, kind, headers):
        """Everything up to the body."""
        self.begun = True
        if self.request_version == "HTTP/0.9":
            self.request_version = "HTTP/1.0"                   # or the status line would be left out
        self.server.statuses[str(status)] += 1
        self.connection.settimeout(self.server.limits.writing)
        self.send_response_only(status)
        for name, value in {"Content-Type": kind, "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status, text, kind="application/json", **headers):
        """A whole answer."""
        data = text.encode()
        self._head(status, kind, {"Content-Length": str(len(data)), **headers})
        self.wfile.write(data)

    def _refuse(self, refusal):
        if self.begun:                                          # too late for a status: the stream just ends
            return
        try:
            self._send(refusal.status, json.dumps({"error": refusal.why}) + "\n", **refusal.headers)
        except OSError:
            self.server.statuses["gone"] += 1


class Server(ThreadingHTTPServer):
    """Accepts connections, gives each a thread, and ends in good order.

    Parameters
    ----------
    address : (str, int), host and port; port 0 takes any
    decoder : Decoder, whose rows are the places in the batch
    tokens : CharTokenizer, or what has its `encode` and `decode`
    waiting : int, requests in line
    limits : Limits
    """

    daemon_threads, block_on_close, request_queue_size = False, True, 128

    def __init__(self, address, decoder, tokens, waiting=64, limits=None):
        self.scheduler, self.tokens = Scheduler(decoder, waiting), tokens
        self.limits, self.closing, self.thread = limits or Limits(), False, None
        self.statuses, self.places, self.connected = Counter(), threading.Semaphore(self.limits.connections), set()
        super().__init__(address, Handler)

    def start(self):
        """Serve from two threads, until `stop`."""
        self.scheduler.start()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="accepting")
        self.thread.start()

    def process_request(self, request, client_address):
        """A thread for the connection; 503 from here if there are too many."""
        if not self.places.acquire(blocking=False):
            self.statuses["503"] += 1
            with contextlib.suppress(OSError):
                request.settimeout(0.05)
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                                b"Connection: close\r\n\r\n")
                request.shutdown(socket.SHUT_WR)
                request.recv(1 << 16)
            self.close_request(request)
            return
        self.connected.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        """In the connection's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connected.discard(request)
            self.places.release()

    def shutdown_request(self, request):
        """Say that nothing more comes, and let the client read in peace: a second, a megabyte."""
        end, left = time.monotonic() + 1.0, 1 << 20
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            while left > 0 and (seconds := end - time.monotonic()) > 0 and not self.closing:
                request.settimeout(seconds)
                found = len(request.recv(1 << 16))
                left = left - found if found else 0
        self.close_request(request)

    def handle_error(self, request, client_address):
        """Count what should not happen, rather than print it."""
        self.statuses["failed"] += 1

    def metrics(self):
        """Counters as text, a line each."""
        s = self.scheduler
        lines = [f'responses_total{{status="{status}"}} {n}' for status, n in sorted(self.statuses.copy().items())]
        lines += [f"{name.replace(' ', '_')}_total {n}" for name, n in sorted(s.counts.copy().items())]
        lines += [f"rows {len(s.rows)}", f"rows_taken {s.running()}", f"waiting {len(s.line)}",
                  f"connections {len(self.connected)}"]
        return "\n".join(lines) + "\n"

    def stop(self, seconds=5.0):
        """Take nobody in, finish who is here for so many seconds, then close; all threads have ended after it."""
        self.closing = True
        self.scheduler.close(seconds)
        if self.thread is not None:
            self.shutdown()
            self.thread.join()
        for request in list(self.connected):                    # who has said nothing so far, will not
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RD)
        self.server_close()                                     # waits for the connections' threads
