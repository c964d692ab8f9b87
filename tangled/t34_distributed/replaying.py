# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:cf2e2298d18004f2
"""Chapter 34: simulated ranks where no thread can be started, each run again from its start when it can go on."""

import sys
from collections import defaultdict

import numpy as np

from tangled.t34_distributed.group import MOST, Deadlock, Group
from tangled.t34_distributed.group import simulate as by_threads


class GivenUp(BaseException):
    """A rank has to wait: it is run again when `ready()` holds."""

    def __init__(self, ready, what):
        super().__init__(what)
        self.ready, self.what = ready, what


class Kept:
    """An array of any shape under way; once it has been received, what was received."""

    def __init__(self, x):
        self.x, self.taken = x, False

    def take(self, out):
        """Put it into `out`, of that size; later changes of the sender's array do not reach it."""
        if not self.taken:
            self.x, self.taken = np.array(self.x), True
        out[...] = self.x.reshape(out.shape)


class Sent:
    """What a rank waits with, for one message of one of its runs."""

    def __init__(self, group, message, to):
        self.group, self.message, self.to = group, message, to

    def wait(self):
        """Return when the receiver has it."""
        self.group.until(lambda: self.message.taken, f"for rank {self.to} to take its message")


class Replayed(Group):
    """One run of a rank, in which the first `past` of its waits are over; in drawn orders it gets to the next one."""

    def __init__(self, rank, size, mail, past, drawn):
        self.rank, self.size, self.mail, self.past = rank, size, mail, past
        self.waits, self.most = 0, past + 1 if drawn else None
        self.given, self.received = defaultdict(int), defaultdict(int)

    def until(self, ready, what):
        """Go on if ready() holds, or did in an earlier run."""
        if self.waits >= self.past and (self.waits == self.most or not ready()):
            raise GivenUp(ready, what)
        self.waits += 1

    def send(self, x, to):
        """As `Group.send`; x of any shape stays where it is until it is received."""
        sent, place = self.mail[self.rank, to], self.given[to]
        self.given[to] += 1
        if place == len(sent):
            sent.append(Kept(x))
        elif not sent[place].taken:
            sent[place].x = x                                   # of this run
        if self.most is not None:
            self.until(lambda: True, "for its turn")
        return Sent(self, sent[place], to)

    def recv(self, out, source):
        """As `Group.recv`; a ValueError where sizes or dtypes of the arrays differ."""
        sent, place = self.mail[source, self.rank], self.received[source]
        self.until(lambda: len(sent) > place, f"for rank {source} to send")
        self.received[source] += 1
        x = sent[place].x
        if (x.size, x.dtype) != (out.size, out.dtype):
            raise ValueError(f"rank {self.rank} expected {out.size} numbers of {out.dtype} from rank {source}; "
                             f"found {x.size} of {x.dtype}")
        sent[place].take(out)


def replay(size, f, order=None):
    """As `simulate`, without threads; `f(group)` must begin anew each time that it is called."""
    if not 1 <= size <= MOST:
        raise ValueError(f"size = {size}; expected 1 to {MOST} ranks")
    rng, mail, results = None if order is None else np.random.default_rng(order), defaultdict(list), [None] * size
    waits, past = {rank: GivenUp(lambda: True, "to begin") for rank in range(size)}, [0] * size
    while waits:
        able = [rank for rank, wait in waits.items() if wait.ready()]
        if not able:
            said = "; ".join(f"rank {rank} waits {wait.what}" for rank, wait in sorted(waits.items()))
            raise Deadlock(f"deadlock: {said}")
        rank = able[0 if rng is None else rng.integers(len(able))]
        group = Replayed(rank, size, mail, past[rank], rng is not None)
        try:
            results[rank] = f(group)
            del waits[rank]
        except GivenUp as wait:
            waits[rank], past[rank] = wait, group.waits
    return results


simulate = replay if sys.platform == "emscripten" else by_threads
