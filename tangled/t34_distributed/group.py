# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:0c0f0ca403a49bdc
"""Chapter 34: what a rank knows of the others, and ranks that take turns in one process."""

import contextlib
import threading
from collections import defaultdict, deque

import numpy as np

MOST = 64                               # simulated ranks: each is a thread


class Lost(RuntimeError):
    """The connection to a rank has ended."""

    def __init__(self, peer):
        super().__init__(f"lost rank {peer}")
        self.peer = peer


class Late(Lost):
    """A rank did not come within the time limit."""


class Group:
    """One rank's view of `size` ranks.

    Attributes
    ----------
    rank, size : int
    """

    rank, size = 0, 1

    def send(self, x, to):
        """Begin to send x (any shape) to a rank; x must stay until `.wait()` returns."""
        raise NotImplementedError

    def recv(self, out, source):
        """Wait for the next array of a rank; put it into `out`, of that size and dtype."""
        raise NotImplementedError

    def barrier(self):
        """Wait until every rank is here: in round k each sends a byte 2^k places on."""
        distance = 1
        while distance < self.size:
            sent = self.send(np.zeros(1, np.uint8), (self.rank + distance) % self.size)
            self.recv(np.zeros(1, np.uint8), (self.rank - distance) % self.size)
            sent.wait()
            distance *= 2


class Deadlock(RuntimeError):
    """All ranks wait, and none can go on."""


class Ended(RuntimeError):
    """Another rank has failed; this one is ended."""


class Message:
    """An array of any shape under way: not copied before it is received."""

    def __init__(self, group, x, to):
        self.group, self.x, self.to, self.taken = group, x, to, False

    def wait(self):
        """Return when the receiver has it."""
        self.group.until(lambda: self.taken, f"for rank {self.to} to take its message")


class Turns:
    """What the ranks of a simulated group share: whose turn it is, messages, whatever else."""

    def __init__(self, size, order):
        self.size, self.lock, self.turn, self.failed = size, threading.RLock(), None, None
        self.rng = None if order is None else np.random.default_rng(order)
        self.wakes = [threading.Condition(self.lock) for _ in range(size)]
        self.waits = {rank: (lambda: True, "to begin") for rank in range(size)}
        self.mail, self.common = defaultdict(deque), {}

    def hand_over(self, mine=None):
        """Choose who goes on: the rank itself while it can, or anybody by the seed."""
        able = [rank for rank, (ready, _) in self.waits.items() if ready and ready()]
        if not able:
            self.turn = None
            if self.waits and not any(ready is None for ready, _ in self.waits.values()):
                said = "; ".join(f"rank {rank} waits {what}" for rank, (_, what) in sorted(self.waits.items()))
                self.fail(Deadlock(f"deadlock: {said}"))
        elif self.rng is not None:
            self.turn = able[self.rng.integers(len(able))]
        else:
            self.turn = mine if mine in able else able[0]
        if self.turn not in (None, mine):
            self.wakes[self.turn].notify()

    def fail(self, error):
        """End all ranks, for the first reason that there was."""
        self.failed = self.failed or error
        for wake in self.wakes:
            wake.notify_all()

    def await_turn(self, rank):
        """Sleep until it is the rank's turn, or another rank has failed."""
        self.wakes[rank].wait_for(lambda: self.turn == rank or self.failed)


class Simulated(Group):
    """A rank among others that take turns in this process."""

    def __init__(self, turns, rank):
        self.turns, self.rank, self.size = turns, rank, turns.size

    def until(self, ready, what):
        """Let others go on until ready() holds and it is this rank's turn."""
        turns = self.turns
        with turns.lock:
            turns.waits[self.rank] = ready, what
            turns.hand_over(self.rank)
            turns.await_turn(self.rank)
            if turns.failed:
                raise Ended from turns.failed

    def send(self, x, to):
        """As `Group.send`; x of any shape stays where it is until it is received."""
        message = Message(self, x, to)
        self.turns.mail[self.rank, to].append(message)
        if self.turns.rng is not None:
            self.until(lambda: True, "for its turn")
        return message

    def recv(self, out, source):
        """As `Group.recv`; a ValueError where sizes or dtypes of the arrays differ."""
        waiting = self.turns.mail[source, self.rank]
        self.until(lambda: waiting, f"for rank {source} to send")
        message = waiting.popleft()
        if (message.x.size, message.x.dtype) != (out.size, out.dtype):
            raise ValueError(f"rank {self.rank} expected {out.size} numbers of {out.dtype} from rank {source}; "
                             f"found {message.x.size} of {message.x.dtype}")
        out[...] = message.x.reshape(out.shape)
        message.taken = True

    @contextlib.contextmanager
    def outside(self):
        """Within the block this rank waits for something that is not of the group's; the others go on."""
        turns = self.turns
        with turns.lock:
            turns.waits[self.rank] = None, "outside"
            turns.hand_over()
        try:
            yield
        finally:
            with turns.lock:
                turns.waits[self.rank] = (lambda: True), "to come back"
                if turns.turn is None:
                    turns.hand_over(self.rank)
                turns.await_turn(self.rank)

    def common(self, name, make):
        """One object for all ranks: made by the first that asks for it."""
        with self.turns.lock:
            if name not in self.turns.common:
                self.turns.common[name] = make()
            return self.turns.common[name]


def simulate(size, f, order=None):
    """[f(group)] for each rank of a group of `size`, in this process, one running at a time.

    `order`: a seed by which it is drawn, at every message, who goes on. Raises what a rank raised first, or
    a Deadlock that says who waits for whom.
    """
    if not 1 <= size <= MOST:
        raise ValueError(f"size = {size}; expected 1 to {MOST} ranks")
    turns, results = Turns(size, order), [None] * size

    def run(rank):
        group = Simulated(turns, rank)
        try:
            with turns.lock:
                turns.await_turn(rank)
            results[rank] = None if turns.failed else f(group)
        except Ended:
            pass
        except BaseException as error:
            with turns.lock:
                turns.fail(error)
        finally:
            with turns.lock:
                del turns.waits[rank]
                if turns.turn == rank:
                    turns.hand_over()
    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    with turns.lock:
        for thread in threads:
            thread.start()
        turns.hand_over()
    for thread in threads:
        thread.join()
    if turns.failed:
        raise turns.failed
    return results
