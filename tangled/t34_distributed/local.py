# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:fa37d3fbf2222e12
"""Chapter 34: `spawn` runs a function as several processes, and ends every one of them."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from itertools import combinations, pairwise
from pathlib import Path

MOST, GRACE, ROOT = 8, 0.6, Path(__file__).resolve().parents[2]
SLOT = 1 << 18                                                 # bytes of common memory for a piece
WAYS = "memory", "sockets", "gloo"


class WorkerError(RuntimeError):
    """A run has ended early: one line that names the rank and the reason.

    Attributes
    ----------
    rank : int
    reason : str
    """

    def __init__(self, rank, reason):
        super().__init__(f"rank {rank} {reason}")
        self.rank, self.reason = rank, reason


def cause(workers, seconds, hurry):
    """(rank, reason) of the first cause, as far as it is known, or None."""
    for worker in workers:
        if "raised" in worker.last:
            return worker.rank, f"raised {worker.last['raised']}"
    for worker in workers:
        if worker.silent:
            return worker.rank, worker.death()
    for worker in workers:
        if hurry and "late" in worker.last:
            return blamed(worker.rank, workers, f"has waited for it for {seconds:g} s")
    for worker in workers:
        if hurry and "lost" in worker.last:
            return blamed(worker.rank, workers, "has lost it")
    return None


def blamed(rank, workers, how):
    """Follow who waits for whom to the one who waits for nobody."""
    waits = {w.rank: w.last.get("late", w.last.get("lost", w.waits)) for w in workers}
    path = [rank]
    while (peer := waits[path[-1]]) is not None and peer not in path:
        path.append(peer)
    if peer is not None:
        circle = [*path[path.index(peer):], peer]
        return peer, "is in a deadlock: " + ", ".join(
            f"{a} waits for {b}" for a, b in pairwise(circle))
    if "done" in workers[path[-1]].last:
        return path[-1], f"has ended: rank {path[-2]} still waits for it"
    return path[-1], f"has stalled: rank {path[-2]} {how}"


class Worker:
    """A started process, the socket to it, and what it has told."""

    def __init__(self, rank, process, link, errors):
        self.rank, self.process, self.link, self.errors = rank, process, link, errors
        self.rest, self.last, self.waits, self.silent = bytearray(), {}, None, False

    def read(self):
        """Take in its notes; a socket that ends before a last one makes it silent."""
        data = self.link.recv(1 << 16)
        self.rest += data
        *lines, self.rest = self.rest.split(b"\n") if b"\n" in data else [self.rest]
        for note in map(json.loads, lines):
            if "waits" in note:
                self.waits = note["waits"]
            else:
                self.last = note
        if not data:
            self.silent = not self.last
            return False
        return True

    def death(self):
        """Why it said nothing more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        code = self.process.returncode
        if code is not None and code < 0:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().split("\n")
        return f"ended with exit status {code}: {lines[-1][:200]}".removesuffix(": ")


def spawn(size, target, arguments=None, seconds=20.0, limit=120.0, way="memory"):
    """Run a function as `size` processes: [its result on each rank].

    Parameters
    ----------
    size : int, 1 to 8
    target : str, "package.module:function"; it is called as function(group, **arguments)
    arguments : dict of plain values; so is the result: all of it travels as JSON
    seconds : float, the longest wait of a rank for another
    limit : float, seconds for the whole run
    way : "memory", "sockets" or "gloo"

    Raises
    ------
    WorkerError : in one line, the rank and the reason; no process is left then
    """
    if "TANGLED_RANK" in os.environ:
        raise RuntimeError("a worker must not start workers")
    if not 1 <= size <= MOST or way not in WAYS:
        raise ValueError(f"size = {size}, way = {way!r}; expected 1 to {MOST} and one of {', '.join(WAYS)}")
    with contextlib.ExitStack() as stack:
        workers = start(stack, size, {"target": target, "arguments": arguments or {}, "seconds": seconds, "way": way})
        return attend(workers, seconds, limit)


def start(stack, size, given):
    """Start all workers; the stack ends them, and closes what they are joined by."""
    links = {rank: {} for rank in range(size)}
    for a, b in combinations(range(size), 2):
        links[a][b], links[b][a] = (stack.enter_context(end) for end in socket.socketpair())
    fast = "/dev/shm" if os.path.isdir("/dev/shm") else None
    memory = unnamed(stack, fast)                               # it has no name from the start
    if given["way"] == "memory":                                # gloo's ranks meet in it: it is empty then
        memory.truncate(2 * size * size * SLOT)
    given = given | {"size": size, "starter": os.getpid()}
    workers = []
    stack.callback(end_all, workers)
    for rank in range(size):
        mine, its = (stack.enter_context(end) for end in socket.socketpair())
        errors = unnamed(stack)
        handed = {"rank": rank, "links": {p: end.fileno() for p, end in links[rank].items()},
                  "parent": its.fileno(), "memory": memory.fileno(), **given}
        inherited = [its.fileno(), memory.fileno(), *handed["links"].values()]
        environment = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
        environment |= {"TANGLED_RANK": str(rank), "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        process = subprocess.Popen(
            [sys.executable, "-m", "tangled.t34_distributed.worker", json.dumps(handed)], pass_fds=inherited,
            stdin=subprocess.DEVNULL, stdout=None if rank == 0 else subprocess.DEVNULL, stderr=errors,
            env=environment)
        workers.append(Worker(rank, process, mine, errors))
        its.close()
    for ends in links.values():
        for end in ends.values():
            end.close()                                         # or a dead worker would never be missed
    return workers


def unnamed(stack, folder=None):
    """A temporary file without a name; the stack closes it."""
    return stack.enter_context(tempfile.TemporaryFile(dir=folder))


def end_all(workers):
    """Kill whoever lives, and wait for all."""
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.wait()


def attend(workers, seconds, limit):
    """Listen to the workers until all are done, or one cause to end the run is known."""
    deadline, doubt, open_ = time.monotonic() + limit, None, {w.link: w for w in workers}
    while not all("done" in worker.last for worker in workers):
        for link in select.select(list(open_), [], [], 0.05)[0]:
            if not open_[link].read():
                del open_[link]
        now = time.monotonic()
        if doubt is None and any({"late", "lost"} & worker.last.keys() for worker in workers):
            doubt = now + GRACE                                 # for others to tell what they know
        found = cause(workers, seconds, doubt is not None and now > doubt)
        if not found and now > deadline:
            busy = next((w for w in workers if not w.last and w.waits is None), None)
            waiting = next((w for w in workers if "done" not in w.last), None)
            found = (busy.rank, f"is at work after {limit:g} s, the limit of the run") if busy else blamed(
                waiting.rank, workers, f"waits for it after {limit:g} s, the limit of the run")
        if found:
            raise WorkerError(*found)
    return [worker.last["done"] for worker in workers]
