# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:c985ec336511f334
"""Chapter 31: many requests in one batch, which is formed anew for every token."""

import queue
import threading
import time
from collections import Counter, deque

import numpy as np

import tangled.t31_kv_cache.checks as check
from tangled.t30_mini_gpt.level3_memory_efficient import filter_logits


class Busy(RuntimeError):
    """The queue is full, or closed."""


class Request:
    """One text to be written. Its tokens come out of `events`, as they are made.

    Parameters
    ----------
    ids : ndarray of shape (T,), integers, the prompt
    n : int, tokens to write
    temperature, top_k : as for `filter_logits`
    seed : int, of the request's own generator: what it gets does not depend on who else is there
    """

    def __init__(self, ids, n, temperature=1.0, top_k=None, seed=0):
        self.ids, self.n, self.how = ids, n, (temperature, top_k, None, None)
        self.rng, self.written, self.last = np.random.default_rng(seed), 0, None
        self.out, self.cancelled, self.since = queue.SimpleQueue(), False, time.monotonic()

    def events(self, seconds):
        """Tokens (int), then the reason of the end (str); TimeoutError after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            try:
                event = self.out.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                raise TimeoutError(f"not done after {seconds} seconds") from None
            yield event
            if isinstance(event, str):
                return

    def cancel(self):
        """Nobody listens any more: its row is given away before the next step."""
        self.cancelled = True


def choose(logits, requests):
    """One token for each row of logits (n, V), by each request's own options and generator: (n,)."""
    out, groups = np.empty(len(requests), np.int64), {}
    for k, request in enumerate(requests):
        groups.setdefault(request.how, []).append(k)
    for how, rows in groups.items():                            # rows alike are filtered together
        if how[0] == 0:
            out[rows] = logits[rows].argmax(axis=1)
            continue
        z = filter_logits(logits[rows], *how).astype(np.float64)
        up_to = np.exp(z - z.max(axis=1, keepdims=True)).cumsum(axis=1)
        draws = np.array([requests[k].rng.random() for k in rows])[:, None] * up_to[:, -1:]
        out[rows] = np.minimum((up_to <= draws).sum(axis=1), z.shape[1] - 1)
    return out


class Scheduler:
    """Runs requests on the rows of one decoder.

    Parameters
    ----------
    decoder : Decoder, whose rows are the places in the batch
    waiting : int, how many requests may stand in line
    """

    def __init__(self, decoder, waiting=64):
        self.decoder, self.limit = decoder, check.whole("waiting", waiting)
        self.rows, self.line, self.changed = [None] * len(decoder.lengths), deque(), threading.Condition()
        self.counts, self.open, self.failed, self.thread = Counter(), True, "", None

    def submit(self, request):
        """Stand in line; Busy if it is too long, or the house is closing."""
        with self.changed:
            if not self.open or self.failed or len(self.line) >= self.limit:
                self.counts["refused"] += 1
                raise Busy("closing" if not self.open else self.failed or f"{len(self.line)} requests are waiting")
            self.line.append(request)
            self.changed.notify_all()
        return request

    def running(self):
        """How many rows are taken."""
        return sum(request is not None for request in self.rows)

    def step(self):
        """One prompt at most, then one token for everybody; whether there was anything to do."""
        for row, request in enumerate(self.rows):
            if request is not None and request.cancelled:
                self._end(row, "cancelled")
        self._admit()
        rows = [row for row, request in enumerate(self.rows) if request is not None]
        if not rows:
            return False
        requests = [self.rows[row] for row in rows]
        logits = self.decoder.extend(np.array([[request.last] for request in requests]), rows=rows)[:, 0]
        self.counts["steps"] += 1
        self.counts["rows stepped"] += len(rows)
        self._hand_out(rows, choose(logits, requests))
        return True

    def _admit(self):
        """Whoever has waited longest, if a row is free."""
        if None not in self.rows:
            return
        with self.changed:
            while self.line and self.line[0].cancelled:
                self.line.popleft().out.put("cancelled")
            if not self.line:
                return
            row, request = self.rows.index(None), self.line.popleft()
            self.rows[row] = request
        self.counts["prompts"] += 1
        logits = self.decoder.extend(request.ids[None], rows=[row])[:, -1]
        self._hand_out([row], choose(logits, [request]))

    def _hand_out(self, rows, tokens):
        for row, token in zip(rows, tokens.tolist()):
            request = self.rows[row]
            request.last, request.written = token, request.written + 1
            self.counts["tokens"] += 1
            request.out.put(token)
            if request.written == request.n:
                self._end(row, "length")

    def _end(self, row, reason):
        """Give the row away."""
        request, self.rows[row] = self.rows[row], None
        self.decoder.truncate([0], [row])
        self.counts["ended " + reason] += 1
        request.out.put(reason)
        with self.changed:
            self.changed.notify_all()

    def start(self):
        """Run in a thread of its own until `close`."""
        self.thread = threading.Thread(target=self._run, name="scheduler")
        self.thread.start()

    def _run(self):
        try:
            while self.open or self.line or self.running():
                if not self.step():
                    with self.changed:
                        if self.open and not self.line:
                            self.changed.wait(0.5)
        except Exception as error:                              # nobody may wait for a thread that is gone
            self.failed = f"the scheduler failed: {type(error).__name__}"
            self._abandon("error")

    def _abandon(self, reason):
        with self.changed:
            left = [*self.rows, *self.line]
            self.line.clear()
        for request in left:
            if request is not None:
                request.out.put(reason)

    def close(self, seconds=5.0):
        """Take nobody in; finish who is here, for so many seconds; then end them, and the thread."""
        with self.changed:
            self.open = False
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.failed or not (self.line or self.running()), seconds)
            for request in [*self.rows, *self.line]:
                if request is not None:
                    request.cancelled = True
            self.changed.notify_all()
        if self.thread is not None:
            self.thread.join()
