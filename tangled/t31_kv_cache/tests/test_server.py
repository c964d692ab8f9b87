# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:9fda242869ad01e7
"""Chapter 31: the scheduler, the endpoint and its command. Loopback, a port of its own, a few seconds."""

import http.client
import json
import queue
import signal
import socket
import threading
import time
from contextlib import contextmanager
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from tangled.t18_rnn.tokens import CharTokenizer
from tangled.t31_kv_cache import Decoder, generate
from tangled.t31_kv_cache.clients import JSON, WRONG, Bad, ask, get, malformed, post, send, with_length
from tangled.t31_kv_cache.draft import NgramDraft
from tangled.t31_kv_cache.level3_memory_efficient import Decoder as Folded
from tangled.t31_kv_cache.measure_server import main as measure
from tangled.t31_kv_cache.measure_server import together
from tangled.t31_kv_cache.scheduler import Busy, Request, Scheduler, choose
from tangled.t31_kv_cache.serve import build, main, parse
from tangled.t31_kv_cache.server import Limits, Reader, Server
from tangled.t31_kv_cache.tests.test_basic import model
from tangled.testing import rng

TOKENS = CharTokenizer("abcdefg")


class Held(Folded):
    """A decoder that waits before each step while `held()` is true, and `patience` seconds at most."""

    held, patience = staticmethod(lambda: False), 20.0

    def extend(self, *args, **options):
        """As it is, ids (B, T), later."""
        wait_for(lambda: not self.held(), self.patience)
        return super().extend(*args, **options)


def wait_for(true, seconds=20.0):
    """Whether it became true in time."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.005)
    return found


def decoder(batch, make=Folded, context=40):
    """Seven letters, a context of 40."""
    weights, heads = model(0, dtype=np.float32, context=context)
    return make(weights, heads, batch)


def request(k, n=None):
    """Number k of many different requests, as a body and as the text that it must get."""
    how = [{}, {"temperature": 0.6}, {"top_k": 2}, {"temperature": 0}][k % 4]
    body = {"prompt": "abcdefg"[:1 + k % 7], "tokens": n or 3 + k % 11, "seed": k, "stream": k % 3 > 0, **how}
    ids = generate(decoder(1), TOKENS.encode(body["prompt"]), body["tokens"], rng=np.random.default_rng(k), **how)
    return body, TOKENS.decode(ids)


@contextmanager
def serving(batch=3, waiting=64, make=decoder, **limits):
    """A server that runs, and is stopped in any case."""
    server = Server(("127.0.0.1", 0), make(batch), TOKENS, waiting, Limits()._replace(**limits))
    server.start()
    try:
        yield server, server.server_address
    finally:
        server.stop(2.0)


@pytest.mark.value
def test_batching_changes_nothing():
    """Twenty requests through three rows, step by step: each gets what it would get alone."""
    scheduler, given = Scheduler(decoder(3)), [request(k) for k in range(20)]
    requests = [scheduler.submit(Request(TOKENS.encode(body["prompt"]), body["tokens"], body.get("temperature", 1.0),
                                         body.get("top_k"), body["seed"])) for body, _ in given]
    steps = 0
    while scheduler.step():
        steps += 1
        assert scheduler.running() <= 3 and steps < 500
        assert scheduler.counts["prompts"] <= steps, "more than one prompt between two tokens of the others"
    for one, (body, text) in zip(requests, given):
        *tokens, reason = one.events(1.0)
        assert (TOKENS.decode(tokens), reason) == (text, "length"), body
    written = sum(body["tokens"] for body, _ in given)
    assert scheduler.counts["tokens"] == written and scheduler.counts["prompts"] == 20
    assert scheduler.counts["steps"] == steps and scheduler.counts["rows stepped"] == written - 20
    assert written - 20 > 2.2 * steps, "rows stood empty"
    assert scheduler.decoder.lengths.tolist() == [0, 0, 0]


@pytest.mark.value
def test_tokens_of_many():
    """Twelve rows, four kinds of options three times each: every row has the token that it would have alone."""
    logits = rng(2).standard_normal((12, 7)).astype(np.float32)
    make = lambda: [Request(np.array([1]), 3, temperature, top_k, seed) for seed, (temperature, top_k) in enumerate(
        3 * [(1.0, None), (0, None), (0.6, None), (1.0, 2)])]
    alone = [choose(logits[k:k + 1], [request])[0] for k, request in enumerate(make())]
    assert choose(logits, make()).tolist() == alone and len(set(alone)) > 3


@pytest.mark.value
def test_nobody_waits_for_the_longest():
    """A short request that comes late is done before a long one that came first."""
    scheduler, done = Scheduler(decoder(2)), []
    long = scheduler.submit(Request(np.array([1]), 30))
    for _ in range(5):
        scheduler.step()
    short = [scheduler.submit(Request(np.array([2, 3]), 3, seed=k)) for k in range(4)]
    while scheduler.step():
        done += [name for name, one in [("long", long), *((k, one) for k, one in enumerate(short))]
                 if one.written == one.n and name not in done]
    assert done == [0, 1, 2, 3, "long"]


@pytest.mark.edge
def test_line_and_cancelling():
    """A full line is Busy; who cancels gives his place away, in the line and in the batch."""
    scheduler = Scheduler(decoder(1), waiting=2)
    first, second = (scheduler.submit(Request(np.array([1]), 30, seed=k)) for k in range(2))
    with pytest.raises(Busy):
        scheduler.submit(Request(np.array([1]), 3))
    scheduler.step()
    third = scheduler.submit(Request(np.array([4]), 2))
    second.cancel()
    first.cancel()
    while scheduler.step():
        pass
    events = [list(one.events(1.0)) for one in (first, second, third)]
    assert [one[-1] for one in events] == ["cancelled", "cancelled", "length"]
    assert events[1] == ["cancelled"], "its prompt was read for nobody"
    scheduler.close()
    with pytest.raises(Busy, match="closing"):
        scheduler.submit(Request(np.array([1]), 3))


@pytest.mark.edge
def test_one_deadline_for_all_tokens(monkeypatch):
    """Ten seconds are for the whole text: after tokens that took four each, two are left, and then nothing."""
    clock, waits = [0.0], []

    def get_(timeout):
        waits.append(timeout)
        if clock[0] > 10:
            raise queue.Empty
        clock[0] += 4.0
        return 5
    monkeypatch.setattr("tangled.t31_kv_cache.scheduler.time", SimpleNamespace(monotonic=lambda: clock[0]))
    request = Request(np.array([1]), 9)
    request.out, found = SimpleNamespace(get=get_), []
    with pytest.raises(TimeoutError, match="not done after"):
        for token in request.events(10.0):
            found.append(token)
    assert found == [5, 5, 5] and waits[:3] == [10.0, 6.0, 2.0] and waits[3] < 0.1


@pytest.mark.edge
def test_a_failure_is_told():
    """A decoder that breaks ends all requests, and nobody waits for it."""
    class Broken:
        """A decoder of two rows that cannot."""

        lengths = np.zeros(2, int)

        def extend(self, ids, counts=None, rows=None):
            """Raise, whatever ids (B, T) are."""
            raise RuntimeError("broken")
    scheduler = Scheduler(Broken())
    requests = [scheduler.submit(Request(np.array([1]), 3)) for _ in range(3)]
    scheduler.start()
    assert [list(one.events(5.0)) for one in requests] == [["error"]] * 3
    with pytest.raises(Busy, match="failed: RuntimeError"):
        scheduler.submit(Request(np.array([1]), 3))
    scheduler.close()


@pytest.mark.value
def test_sixteen_clients():
    """Three rounds of 16 clients at once: nothing lost, mixed up or out of order; metrics add up."""
    given, results = [request(k) for k in range(48)], {}
    with serving(batch=4) as (_, address):
        def client(k):
            results[k] = ask(address, given[k][0], 30.0)
        together(client, range(48), most=16)
        status, text = get(address, "/metrics")
        metrics = dict(line.rsplit(" ", 1) for line in text.splitlines())
        assert get(address, "/health") == (200, '{"status": "ok"}\n')
    for k, (body, wanted) in enumerate(given):
        answer = results[k]
        assert (answer.status, answer.text, answer.reason) == (200, wanted, "length"), body
        assert answer.lines == (body["tokens"] + 1 if body["stream"] else 1)
    assert status == 200 and int(metrics["tokens_total"]) == sum(body["tokens"] for body, _ in given)
    assert int(metrics["ended_length_total"]) == 48 and int(metrics['responses_total{status="200"}']) == 48
    assert metrics["rows_taken"] == metrics["waiting"] == "0" and metrics["rows"] == "4"


def exchange(address, data):
    """What comes back for these bytes: status, headers in small letters, body."""
    with socket.create_connection(address, 30.0) as connection:
        connection.sendall(data)
        pieces = []
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    first, *lines = head.decode().lower().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


@pytest.mark.value
def test_answers():
    """A prompt alone gets 16 tokens at temperature 1 from the seed 0, at once; every field of both kinds of answer."""
    text = TOKENS.decode(generate(decoder(1), TOKENS.encode("ab"), 16, rng=np.random.default_rng(0)))
    with serving() as (_, address):
        status, _, body = exchange(address, with_length(b'{"prompt": "ab"}'))
        assert (status, json.loads(body)) == (200, {"text": text, "reason": "length", "tokens": 16})
        old = with_length(b'{"prompt": "ab", "stream": true}').replace(b"HTTP/1.1", b"HTTP/1.0")
        status, headers, body = exchange(address, old)          # HTTP/1.0 knows no chunks
        full = ("gfedcba" * 6)[:40]
        one = generate(decoder(1), TOKENS.encode(full), 1, rng=np.random.default_rng(0), top_k=1)
        assert ask(address, {"prompt": full, "tokens": 1, "top_k": 1}).text == TOKENS.decode(one), "a full window"
    assert status == 200 and "transfer-encoding" not in headers
    assert [json.loads(line) for line in body.splitlines()] == [
        *({"text": letter} for letter in text), {"done": True, "reason": "length", "tokens": 16}]


@pytest.mark.value
def test_metrics_while_it_works():
    """Two texts being written, one waits, one is refused, one has said nothing: so say the metrics, at that moment."""
    told, answers = threading.Event(), []
    with serving(2, 1, make=lambda batch: decoder(batch, Held)) as (server, address):
        scheduler = server.scheduler
        scheduler.decoder.held = lambda: not told.is_set() and (scheduler.running() == 2 or not scheduler.line)
        ask_for = lambda k: answers.append(ask(address, {"prompt": "ab", "tokens": 25, "seed": k}))
        threads = [threading.Thread(target=ask_for, args=(k,)) for k in range(3)]
        for thread, state in zip(threads, ((1, 0), (2, 0), (2, 1))):
            thread.start()
            assert wait_for(lambda state=state: (scheduler.running(), len(scheduler.line)) == state)
        refused = exchange(address, with_length(b'{"prompt": "a"}'))
        socket.create_connection(address).close()
        assert wait_for(lambda: server.statuses["gone"] == 1 and len(server.connected) == 3)
        assert wait_for(lambda: scheduler.counts["prompts"] == 2)
        status, headers, body = exchange(address, b"GET /metrics HTTP/1.1\r\n\r\n")
        told.set()
        for thread in threads:
            thread.join(30)
    metrics = dict(line.rsplit(" ", 1) for line in body.decode().splitlines())
    expected = {"rows": 2, "rows_taken": 2, "waiting": 1, "connections": 4, "refused_total": 1, "prompts_total": 2,
                'responses_total{status="503"}': 1, 'responses_total{status="gone"}': 1}
    assert {name: int(metrics.get(name, -1)) for name in expected} == expected
    assert status == 200 and headers["content-type"].startswith("text/plain")
    assert refused[0] == 503 and refused[1]["retry-after"] == "1"
    assert [answer.reason for answer in answers] == ["length"] * 3


@pytest.mark.value
def test_streams():
    """Tokens are sent when they are there: nothing is made after the third until the first has arrived."""
    arrived = threading.Event()
    with serving(1, make=lambda batch: decoder(batch, Held)) as (server, address):
        counts = server.scheduler.counts
        server.scheduler.decoder.held = lambda: counts["tokens"] == 3 and not arrived.is_set()
        connection = http.client.HTTPConnection(*address, timeout=60)
        connection.request("POST", "/generate", '{"prompt": "a", "tokens": 12, "stream": true}', JSON)
        response = connection.getresponse()
        first, made = response.readline(), counts["tokens"]
        arrived.set()
        assert b'"text"' in first and made <= 3 and len(response.readlines()) == 12
        connection.close()


@pytest.mark.edge
def test_malformed_requests():
    """200 of them, each with its status; the server answers as before."""
    bad = list(islice(malformed(np.random.default_rng(0), 4.5), 200))
    wrong, lock = [], threading.Lock()
    with serving(reading=3.0) as (server, address):
        def one(item):
            status = send(address, item)
            if status != item.status:
                with lock:
                    wrong.append(f"{item.name}, {item.pieces[0][:60]}: {status} for {item.status}")
        together(one, bad, most=24)
        body, text = request(3)
        assert ask(address, body).text == text
        assert not server.statuses["failed"]
    assert not wrong, "\n".join(wrong)
    assert len({item.name for item in bad}) > 20 and {item.status for item in bad} >= {400, 404, 405, 408, 413, 431}


@pytest.mark.edge
def test_messages():
    """A refusal names the field, what was found and what was expected."""
    with serving() as (_, address):
        for body, said in (({"prompt": "a", "tokens": 41}, "41 tokens; expected at most"),
                           ({"prompt": "xyz"}, "text has 'x'; expected one of"),
                           ({"prompt": "a", "tokens": 0}, "tokens = 0; expected an integer, at least 1"),
                           ({"prompt": "a", "tokns": 3}, "'tokns' is no field; expected"),
                           ({"prompt": "a", "temperature": -1}, "temperature = -1; expected a finite number")):
            answer = ask(address, body)
            assert answer.status == 400 and said in answer.reason, answer
        assert ask(address, {"prompt": "a", "tokens": 40}).reason == "length"
        assert exchange(address, b"GET /generate HTTP/1.1\r\n\r\n")[1]["allow"] == "post"
    assert all(isinstance(body, bytes) for body in WRONG)


@pytest.mark.edge
def test_limits():
    """As many bytes and tokens as are allowed, and one more; the largest seed; an answer that takes too long."""
    with serving(body=90, tokens=5) as (_, address):
        for body, status in ((b'{"prompt": "a", "tokens": 5}', 200), (b'{"prompt": "a", "tokens": 6}', 400),
                             (b'{"prompt": "a", "tokens": 2}'.ljust(90), 200),
                             (b'{"prompt": "a", "tokens": 2}'.ljust(91), 413),
                             (b'{"prompt": "' + b"a" * 40 + b'", "tokens": 1}', 200),
                             (b'{"prompt": "' + b"a" * 41 + b'", "tokens": 1}', 400),
                             (b'{"prompt": "a", "tokens": 1, "seed": 9223372036854775807}', 200),
                             (b'{"prompt": "a", "tokens": 1, "seed": 9223372036854775808}', 400)):
            assert exchange(address, with_length(body))[0] == status, body
    with serving(1, make=lambda batch: decoder(batch, Held), serving=0.2) as (server, address):
        server.scheduler.decoder.held = lambda: not server.statuses["503"]
        status, headers, body = exchange(address, with_length(b'{"prompt": "a", "tokens": 2}'))
        assert status == 503 and headers["retry-after"] == "1" and b"not done in time" in body


@pytest.mark.edge
def test_seconds_to_arrive(monkeypatch):
    """The limit of reading is that of the server, and one for the whole request."""
    seen = []
    monkeypatch.setattr("tangled.t31_kv_cache.server.Reader", lambda *given: (seen.append(given[1]), Reader(*given))[1])
    with serving(reading=7.5) as (_, address):
        assert get(address, "/health")[0] == 200 and seen == [7.5]


@pytest.mark.edge
def test_health_after_a_failure():
    """A decoder that breaks is told to who was being served, to who comes, and to who asks for the health."""
    def breaks():
        raise RuntimeError("broken")
    with serving(1, make=lambda batch: decoder(batch, Held)) as (server, address):
        assert get(address, "/health")[0] == 200
        server.scheduler.decoder.held = breaks
        first, second = (ask(address, {"prompt": "a"}) for _ in range(2))
        assert get(address, "/health")[0] == 503
    assert (first.status, first.reason) == (503, "error")
    assert second.status == 503 and "failed" in second.reason


@pytest.mark.edge
def test_a_full_house():
    """Beyond the line: 503. Beyond the connections: 503 too, from the door."""
    make = lambda batch: decoder(batch, Held)
    statuses, lock = [], threading.Lock()

    def client(address):
        answer = ask(address, {"prompt": "a", "tokens": 20})
        with lock:
            statuses.append(answer.status)
    with serving(1, waiting=1, make=make) as (server, address):
        server.scheduler.decoder.held = lambda: server.statuses["503"] < 4      # one has the row, one waits
        together(client, [address] * 6, most=6)
    assert sorted(set(statuses)) == [200, 503] and statuses.count(200) >= 1
    with serving(1, connections=2, reading=60.0) as (server, address), socket.create_connection(address), \
            socket.create_connection(address):
        assert wait_for(lambda: len(server.connected) == 2)
        assert send(address, Bad("one too many", [with_length(b"{}")], 503)) == 503
        assert server.statuses["503"] == 1


@pytest.mark.edge
def test_who_leaves_gives_the_row_away():
    """A client that hangs up in the middle of a stream: its row is free long before its tokens are made."""
    with serving(1, make=lambda batch: decoder(batch, Held)) as (server, address):
        rows, server.scheduler.decoder.patience = server.scheduler.rows, 0.5    # a token, to find out that he has left
        server.scheduler.decoder.held = lambda: rows[0].n == 40 and not rows[0].cancelled
        with socket.create_connection(address) as connection:
            connection.sendall(with_length(b'{"prompt": "a", "tokens": 40, "stream": true}'))
            connection.recv(100)
        answer = ask(address, {"prompt": "b", "tokens": 2})
        assert answer.reason == "length" and server.scheduler.counts["ended cancelled"] == 1
        assert server.statuses["gone"] == 1
        assert server.scheduler.counts["tokens"] < 30


@pytest.mark.edge
def test_a_client_that_does_not_read():
    """What is sent and not taken waits as long as the limit says; then the row is free and the stream is given up."""
    with serving(reading=60.0, writing=0.2) as (server, address), socket.create_connection(address) as connection:
        server.tokens = SimpleNamespace(encode=TOKENS.encode, decode=lambda ids: "a" * 2 ** 24 * len(ids))
        connection.sendall(with_length(b'{"prompt": "a", "tokens": 3, "stream": true}'))
        assert wait_for(lambda: server.statuses["gone"] == 1 and not server.connected)


@pytest.mark.edge
def test_graceful_end():
    """While it closes, who is being served is served; who comes is told; silent connections do not hold it up."""
    answers, before, told = [], threading.active_count(), threading.Event()
    with serving(2, make=lambda batch: decoder(batch, Held), reading=60.0) as (server, address):
        scheduler = server.scheduler
        scheduler.decoder.held = lambda: not told.is_set() and (scheduler.running() == 2 or not scheduler.line)
        ask_for = lambda k: answers.append(ask(address, {"prompt": "ab", "tokens": 25, "seed": k}))
        threads = [threading.Thread(target=ask_for, args=(k,)) for k in range(3)]          # the third is in line
        for thread in threads:
            thread.start()
        silent = socket.create_connection(address)
        assert wait_for(lambda: scheduler.running() == 2 and len(scheduler.line) == 1)
        closing = threading.Thread(target=server.stop, args=(20.0,))
        closing.start()
        assert wait_for(lambda: not scheduler.open)
        late, health = ask(address, {"prompt": "a", "tokens": 2}), get(address, "/health")
        told.set()
        closing.join(60)
        assert not closing.is_alive()
        for thread in threads:
            thread.join(20)
        silent.close()
        with pytest.raises(OSError):
            socket.create_connection(address, 0.5)
    assert health == (503, '{"status": "closing"}\n')
    assert late.status == 503 and [answer.reason for answer in answers] == ["length"] * 3
    assert threading.active_count() == before


@pytest.mark.edge
@pytest.mark.parametrize("stream", [True, False])
def test_the_deadline_of_the_end(stream):
    """What cannot be finished in time is cancelled, in the line too, and said to be; an answer not begun is none."""
    answers = []
    with serving(1, make=lambda batch: decoder(batch, Held)) as (server, address):
        rows, counts = server.scheduler.rows, server.scheduler.counts
        server.scheduler.decoder.held = lambda: counts["tokens"] == 3 and not rows[0].cancelled
        body = {"prompt": "a", "tokens": 40, "stream": stream}
        threads = [threading.Thread(target=lambda: answers.append(ask(address, body))) for _ in range(2)]
        threads[0].start()
        assert wait_for(lambda: counts["tokens"] == 3)
        threads[1].start()
        assert wait_for(lambda: server.scheduler.line)
        server.stop(0.2)
        for thread in threads:
            thread.join(30)
    assert [(answer.status, answer.reason) for answer in answers] == 2 * [(200 if stream else 503, "cancelled")]
    lengths = sorted(len(answer.text) for answer in answers)
    assert lengths[0] == 0 < lengths[1] < 40


@pytest.mark.value
@pytest.mark.limit(120)
def test_the_command(capsys):
    """The trained network behind a port: it writes what `generate` writes, and ends on SIGTERM."""
    from tangled.t30_mini_gpt.pretrained import load_pretrained
    network, tokens = load_pretrained()
    want = tokens.decode(generate(Decoder(network.state_dict(), network.num_heads), tokens.encode("KING"), 12,
                                  rng=np.random.default_rng(5)))
    found, threads = [], []

    def ready(server):
        def client():
            found.append(ask(server.server_address, {"prompt": "KING", "tokens": 12, "seed": 5}))
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        threads.append(threading.Thread(target=client))
        threads[0].start()
    assert main(["--port", "0", "--batch", "2", "--seconds", "60"], ready) == 0
    threads[0].join(10)
    assert found[0].text == want and "serving on http://127.0.0.1:" in capsys.readouterr().out
    assert main(["--port", "70000"]) == 1 and main(["--batch", "0"]) == 1
    assert measure(["--clients", "0"]) == 1 and measure(["--malformed", "-1"]) == 1


@pytest.mark.value
def test_options_of_the_command():
    """Each is handed on; it ends by itself when its seconds have passed, with the grace that was asked for."""
    server = build(parse(["--port=0", "--batch=3", "--queue=5", "--connections=7", "--reading=1.5", "--serving=9"]))
    server.server_close()
    assert server.server_address[0] == "127.0.0.1" and server.limits == Limits(connections=7, reading=1.5, serving=9)
    assert len(server.scheduler.rows) == 3 and server.scheduler.limit == 5
    given = []

    def ready(server):
        close = server.scheduler.close
        server.scheduler.close = lambda seconds=None: (given.append(seconds), close(seconds or 5.0))
    assert main(["--port", "0", "--seconds", "0.05", "--grace", "2"], ready) == 0 and given == [2.0]


@pytest.mark.value
def test_ngram_draft():
    """Counts by hand; the same whether read at once, in pieces, or after going back."""
    text = rng(1).integers(0, 3, 60)
    draft, ids = NgramDraft(text, 3, 2, 8, prior=2.0), np.array([[0, 1, 2, 2, 0], [1, 1, 0, 2, 1]])
    whole_ = draft.extend(ids)
    one = (np.bincount(text, minlength=3) + 1) / (len(text) + 3)
    after = text[1:][text[:-1] == 1]
    two = (np.bincount(after, minlength=3) + 2 * one) / (len(after) + 2)
    third = text[2:][(text[:-2] == 0) & (text[1:-1] == 1)]
    three = (np.bincount(third, minlength=3) + 2 * two) / (len(third) + 2)
    assert np.allclose(np.exp(whole_[0, 1]), three)
    assert np.allclose(np.exp(whole_).sum(axis=2), 1)
    draft.truncate([2, 3])
    assert np.allclose(draft.extend(np.array([[2, 2], [2, 0]]), np.array([2, 1]), [0, 1])[0], whole_[0, 2:4])
    assert np.allclose(draft.extend(ids[1:, 4:], rows=[1]), whole_[1:, 4:])
    assert draft.lengths.tolist() == [4, 5] and post(b"x", length=1).endswith(b"\r\n\r\nx")
    with pytest.raises(ValueError, match="capacity of 8"):
        draft.extend(ids)
