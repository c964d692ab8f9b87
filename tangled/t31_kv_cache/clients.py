# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:0f31ffdecffd210a
"""Chapter 31: clients for the endpoint, polite ones and others."""

import http.client
import json
import select
import socket
import time
from typing import NamedTuple

JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """What came back: status, text, reason of the end, lines of a stream, seconds to the first and to the last."""

    status: int
    text: str
    reason: str
    lines: int
    first: float
    seconds: float


def ask(address, body, timeout=60.0):
    """POST /generate, read as it comes: an Answer."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request("POST", "/generate", json.dumps(body), JSON)
        response = connection.getresponse()
        if response.status != 200 or not body.get("stream"):
            found = json.loads(response.read())
            end = time.monotonic() - begin
            reason = found.get("reason", found.get("error", ""))
            return Answer(response.status, found.get("text", ""), reason, 1, end, end)
        text, reason, lines, first = [], "", 0, 0.0
        while line := response.readline():
            found, lines = json.loads(line), lines + 1
            first = first or time.monotonic() - begin
            text.append(found.get("text", ""))
            reason = found.get("reason", reason)
        return Answer(200, "".join(text), reason, lines, first, time.monotonic() - begin)
    finally:
        connection.close()


def get(address, path, timeout=10.0):
    """GET a path: status and text."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Bad(NamedTuple):
    """A request that must be refused: bytes to send in pieces, with a pause between them, and the status."""

    name: str
    pieces: list
    status: int
    pause: float = 0.0
    ends: bool = True                                           # say that nothing more comes


def post(body, headers=(), length=None):
    """The bytes of a POST to /generate."""
    lines = ["POST /generate HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    lines += [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def with_length(body):
    """The same, with its true length."""
    return post(body, length=len(body))


WRONG = [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe{}", b"[" * 5000, b'{"prompt": 7}', b'{"prompt": ""}',
         b'{"prompt": "a", "prompt": "b"}', b'{"prompt": "a", "tokens": "7"}', b'{"prompt": "a", "tokens": 0}',
         b'{"prompt": "a", "tokens": -1}', b'{"prompt": "a", "tokens": 1.5}', b'{"prompt": "a", "tokens": true}',
         b'{"prompt": "a", "tokens": 1e99}', b'{"prompt": "a", "tokens": 9' + b"9" * 5000 + b"}",
         b'{"prompt": "a", "tokens": 100}', b'{"prompt": "a", "temperature": NaN}',
         b'{"prompt": "a", "temperature": -1}',
         b'{"prompt": "a", "temperature": "hot"}', b'{"prompt": "a", "temperature": 1' + b"0" * 400 + b"}",
         b'{"prompt": "a", "top_k": 0}', b'{"prompt": "a", "top_k": [1]}',
         b'{"prompt": "a", "seed": -1}', b'{"prompt": "a", "seed": 99999999999999999999}',
         b'{"prompt": "a", "seed": null}',
         b'{"prompt": "a", "stream": 1}', b'{"prompt": "a", "file": "/etc/passwd"}', b'{"prompt": "\\u0000"}',
         b'{"prompt": "\\ud800"}', '{"prompt": "日本"}'.encode(), b'{"prompt": "' + b"a" * 5000 + b'"}']
PATHS = ["/", "/generate/", "//generate", "/generate?x=1", "/generate%00", "/../generate", "/generate/../metrics",
         "/%67enerate", "/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/static/%2e%2e/secret", "/GENERATE",
         "http://127.0.0.1/generate", "*", "/metrics;x", "\\generate", "/metrics#x", "/." * 500]


def malformed(rng, slow):
    """Bad requests of all kinds, without end; `slow` is longer than the server waits for one."""
    good = with_length(b'{"prompt": "a", "tokens": 2}')
    while True:
        for body in WRONG:
            yield Bad("wrong body", [with_length(body)], 400)
        for path in PATHS:
            yield Bad("path", [f"POST {path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode()], 404)
            yield Bad("path", [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()], 404)
        for n in rng.integers(1, len(good) - 1, 12).tolist():
            yield Bad("truncated", [good[:n]], 400)
        for n in rng.integers(2, 400, 10).tolist():
            yield Bad("binary", [bytes(rng.integers(128, 256, n, "uint8").tolist()) + b"\r\n\r\n"], 400)
        yield Bad("binary", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"], 400)
        yield Bad("empty line", [b"\r\n\r\n"], 400)
        yield Bad("no version", [b"GET /health\r\n\r\n"], 400)
        yield Bad("version", [b"GET /health HTTP/0.9\r\n\r\n"], 505)
        yield Bad("version", [b"GET /health HTTP/3.0\r\n\r\n"], 505)
        yield Bad("version", [b"GET /health HTTP/1.1.1\r\n\r\n"], 400)
        yield Bad("version", [b"GET /health FTP/1.1\r\n\r\n"], 400)
        for method in ("GET", "PUT", "DELETE", "HEAD", "BREW"):
            yield Bad("method", [f"{method} /generate HTTP/1.1\r\nHost: x\r\n\r\n".encode()], 405)
        yield Bad("method", [b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n"], 405)
        yield Bad("no length", [post(b"{}")], 411)
        for length in ("-1", "+5", "5, 5", "0x10", "", "1e3", "9" * 30, "٣"):
            yield Bad("length", [post(b"{}", length=length)], 400)
        yield Bad("two lengths", [post(b"{}", ["Content-Length: 2"], length=2)], 400)
        yield Bad("chunked", [post(b"2\r\n{}\r\n0\r\n\r\n", ["Transfer-Encoding: chunked"])], 501)
        yield Bad("chunked", [post(b"{}", ["Transfer-Encoding: chunked"], length=2)], 501)
        yield Bad("oversized body", [post(b"x" * 100, length=16_385)], 413)
        yield Bad("oversized body", [post(b"x" * 60_000, length=60_000)], 413)
        yield Bad("oversized body", [post(b"", length=10 ** 12)], 413)
        yield Bad("long line", [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"], 414)
        yield Bad("long head", [b"GET /health HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"], 431)
        yield Bad("many lines", [b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n"], 431)
        yield Bad("no header", [b"GET /health HTTP/1.1\r\nthis is none\r\n\r\n"], 400)
        yield Bad("type", [good.replace(b"application/json", b"text/plain")], 415)
        yield Bad("type", [good.replace(b"Content-Type: application/json\r\n", b"")], 415)
        yield Bad("says nothing more", [good[:30]], 408, slow, False)
        yield Bad("slow body", [good[:-5], good[-5:-3]], 408, slow, False)
        yield Bad("a byte now and then", [good[k:k + 1] for k in range(len(good))], 408, slow / 12, False)


def send(address, bad, timeout=10.0):
    """Send a bad request: the status that came back, or 0."""
    with socket.create_connection(address, timeout) as connection:
        try:
            for piece in bad.pieces:
                connection.sendall(piece)
                if bad.pause and select.select([connection], [], [], bad.pause)[0]:
                    break                                       # there is an answer already
            if bad.ends:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass                                                # refused before it was all sent
        try:
            head = b""
            while b"\r\n" not in head and (found := connection.recv(4096)):
                head += found
        except OSError:
            return 0
    words = head.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1].isdigit() else 0
