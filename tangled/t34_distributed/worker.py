# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:f3ed4ab884f5b3ff
"""Chapter 34: a worker, started by `spawn`: python -m tangled.t34_distributed.worker '{"rank": ...}'"""

import contextlib
import ctypes
import importlib
import json
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections import deque

import numpy as np

from tangled.t34_distributed.group import Group, Late, Lost
from tangled.t34_distributed.local import SLOT

NOTICE, START = 0.2, 60.0                                       # seconds: of a wait worth a note, to load Python
HEAD = 8                                                        # bytes: of a length


def as_bytes(x):
    """The bytes of an array of any shape without gaps, as a view."""
    return memoryview(x.reshape(-1).view(np.uint8)) if x.size else memoryview(bytearray())


class LocalGroup(Group):
    """A rank among processes of one machine.

    Parameters
    ----------
    rank, size : int
    ways : dict from rank to Stream or Slots
    seconds : float, the longest wait for a neighbour
    tell : callable (dict), a note to the parent
    """

    def __init__(self, rank, size, ways, seconds, tell):
        self.rank, self.size, self.ways, self.seconds, self.tell = (
            rank, size, ways, seconds, tell)

    def send(self, x, to):
        """As `Group.send`, x of any shape."""
        sending = Sending(self, to, x)
        self.ways[to].queue.append(sending)
        self.ways[to].push()
        return sending

    def recv(self, out, source):
        """As `Group.recv`; raises Lost or Late where the array does not come."""
        room = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
        way = self.ways[source]
        way.expect(as_bytes(room))
        self.until(way.pull, source, receives=True)
        if room is not out:
            out[...] = room

    def until(self, ready, peer, receives=False):
        """Push what is queued until ready(); the parent is told of a long wait."""
        begun, told = time.monotonic(), False
        while not ready():
            waited = time.monotonic() - begun
            if waited > self.seconds:
                raise Late(peer)
            if waited > NOTICE and not told:
                told = not self.tell({"waits": peer})
            heard = [way.link for p, way in self.ways.items()
                     if way.listens(receives and p == peer)]
            pushed = [way.link for way in self.ways.values() if way.writes()]
            select.select(heard, pushed, [], 0.05)
            for way in self.ways.values():
                way.push()
        if told:
            self.tell({"waits": None})


class Sending:
    """An array of any shape under way, its bytes and how many of them are gone."""

    def __init__(self, group, to, x):
        self.group, self.to, self.bytes, self.sent = group, to, as_bytes(np.ascontiguousarray(x)), -HEAD
        self.done = False

    def wait(self):
        """Return when the array may be changed."""
        self.group.until(lambda: self.done, self.to)


class Stream:
    """Arrays through a socket: eight bytes of length, then the array."""

    def __init__(self, peer, link):
        self.peer, self.link, self.queue = peer, link, deque()
        link.setblocking(False)

    def listens(self, receives):
        """Is there something to read for?"""
        return receives

    def writes(self):
        """Is there something to write?"""
        return bool(self.queue)

    def push(self):
        """Write as much as the socket takes."""
        while self.queue:
            each = self.queue[0]
            head = len(each.bytes).to_bytes(HEAD, "little")
            try:
                each.sent += self.link.send(head[HEAD + each.sent:] if each.sent < 0 else each.bytes[each.sent:])
            except BlockingIOError:
                return
            except OSError:
                raise Lost(self.peer) from None
            if each.sent == len(each.bytes):
                each.done = True
                self.queue.popleft()

    def expect(self, room):
        """The next array goes into `room`, bytes."""
        self.head, self.room, self.got = bytearray(), room, 0

    def pull(self):
        """Read what is there; True when the array is complete."""
        try:
            while len(self.head) < HEAD:
                self.head += self._some(self.link.recv(HEAD - len(self.head)))
                agree(self.peer, self.head, self.room)
            while self.got < len(self.room):
                self.got += self._some(self.link.recv_into(self.room[self.got:]))
        except BlockingIOError:
            return False
        except ConnectionResetError:                            # it died before it had read all
            raise Lost(self.peer) from None
        return True

    def _some(self, found):
        if not found:
            raise Lost(self.peer)
        return found


def agree(peer, head, room):
    """A ValueError where an array of other length comes than `room` is for."""
    if len(head) == HEAD and (length := int.from_bytes(head, "little")) != len(room):
        raise ValueError(f"rank {peer} sent {length} bytes; expected {len(room)}")


class Slots:
    """Arrays through two slots of a common memory; the socket says R, it is there, and A, I have it."""

    def __init__(self, peer, link, memory, mine, size):
        self.peer, self.link, self.queue = peer, link, deque()
        place = lambda source, to: [(2 * (source * size + to) + k) * SLOT for k in range(2)]
        self.out, self.into = place(mine, peer), place(peer, mine)
        self.memory, self.free, self.ready, self.ended, self.pushed, self.pulled = memory, 2, 0, False, 0, 0
        link.setblocking(False)

    def listens(self, receives):
        """Is there something to read for?"""
        return receives or bool(self.queue)

    def writes(self):
        """The socket takes a byte at any time: no."""
        return False

    def hear(self):
        """Count the signals that have come."""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while said := self.link.recv(64):
                self.ready += said.count(b"R")
                self.free += said.count(b"A")
            self.ended = True

    def say(self, signal):
        """One byte to the neighbour; if it is gone, its own end of the socket tells."""
        with contextlib.suppress(OSError):
            self.link.send(signal)

    def push(self):
        """Fill what slots are free."""
        if self.queue:
            self.hear()
        while self.queue and self.free:
            each, at = self.queue[0], self.out[self.pushed % 2]
            each.sent = max(each.sent, 0)
            piece = each.bytes[each.sent:each.sent + SLOT - HEAD]
            self.memory[at:at + HEAD] = len(each.bytes).to_bytes(HEAD, "little")
            self.memory[at + HEAD:at + HEAD + len(piece)] = piece
            self.free, self.pushed, each.sent = self.free - 1, self.pushed + 1, each.sent + len(piece)
            self.say(b"R")
            if each.sent == len(each.bytes):
                each.done = True
                self.queue.popleft()
        if self.queue and self.ended:
            raise Lost(self.peer)

    def expect(self, room):
        """The next array goes into `room`, bytes."""
        self.room, self.got, self.begun = room, 0, False

    def pull(self):
        """Empty what slots are full; True when the array is complete."""
        self.hear()
        while self.ready and not (self.begun and self.got == len(self.room)):
            at, self.begun = self.into[self.pulled % 2], True
            agree(self.peer, self.memory[at:at + HEAD], self.room)
            stop = min(len(self.room), self.got + SLOT - HEAD)
            self.room[self.got:stop] = memoryview(self.memory)[at + HEAD:at + HEAD + stop - self.got]
            self.ready, self.pulled, self.got = self.ready - 1, self.pulled + 1, stop
            self.say(b"A")
        if self.begun and self.got == len(self.room):
            return True
        if self.ended:
            raise Lost(self.peer)
        return False


def group_of(given, tell):
    """The Group that a worker is part of."""
    rank, size, seconds = given["rank"], given["size"], max(START, given["seconds"])
    if given["way"] == "gloo":
        from tangled.t34_distributed.engines import GlooGroup
        return GlooGroup(rank, size, f"/dev/fd/{given['memory']}", seconds, tell)
    links = {int(peer): socket.socket(fileno=fd) for peer, fd in given["links"].items()}
    if given["way"] == "sockets":
        ways = {peer: Stream(peer, link) for peer, link in links.items()}
    else:
        memory = mmap.mmap(given["memory"], 2 * size * size * SLOT)
        ways = {peer: Slots(peer, link, memory, rank, size) for peer, link in links.items()}
    return LocalGroup(rank, size, ways, seconds, tell)


def die_with_parent(parent):
    """Ask the kernel to end this process when its parent ends (Linux); end now if it already has."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the parent has ended")


def main(argv):
    """Do what the parent asks, and tell it what came of it; the exit status."""
    given = json.loads(argv[0])
    die_with_parent(given["starter"])
    parent = socket.socket(fileno=given["parent"])
    tell = lambda note: parent.sendall(json.dumps(note).encode() + b"\n")
    try:
        module, _, name = given["target"].partition(":")
        function, group = getattr(importlib.import_module(module), name), group_of(given, tell)
        group.barrier()                                         # whoever has loaded all waits for the others
        group.seconds = given["seconds"]
        tell({"done": function(group, **given["arguments"])})
    except Lost as error:
        tell({"late" if isinstance(error, Late) else "lost": error.peer})
        return 1
    except BaseException as error:
        said = f"{type(error).__name__}: {error}".split("\n")[0]
        tell({"raised": said.removesuffix(": ")})
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
