"""What surrounds one test: a time limit, and for a learner's file limits on memory, printing and leaving."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager

PRINTED = 10_000                       # characters kept of what one test prints
MEMORY = 4 << 30                       # bytes that a learner's file may take beyond what is there already


class TimeLimit(BaseException):
    """The test took too long. No Exception, so that `except Exception` in the tested code lets it pass."""


class Quit(BaseException):
    """The code under test called os._exit or the like."""


@contextmanager
def time_limit(seconds: float):
    """Raise TimeLimit in the block after so many seconds, and again each second while it is swallowed."""
    if seconds <= 0 or threading.current_thread() is not threading.main_thread():
        yield
    elif hasattr(signal, "setitimer"):
        yield from by_signal(seconds)
    else:
        yield from by_thread(seconds)


def by_signal(seconds: float):
    """The limit by SIGALRM; what was set before is set again."""
    def ring(number, frame):
        raise TimeLimit(seconds)
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def by_thread(seconds: float):
    """The limit by a second thread that raises TimeLimit in this one: for systems without SIGALRM."""
    me, done = threading.get_ident(), threading.Event()

    def watch():
        wait = seconds
        while not done.wait(wait):
            wait = 1.0
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(me), ctypes.py_object(TimeLimit))
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


class Limited:
    """A stream that passes on its first characters and counts the rest."""

    def __init__(self, stream, room: int = PRINTED):
        self.stream, self.room, self.dropped = stream, room, 0

    def write(self, text) -> int:
        if self.room > 0:
            self.stream.write(text[:self.room])
        self.dropped += max(0, len(text) - max(self.room, 0))
        self.room -= len(text)
        return len(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)


@contextmanager
def limited_output():
    """Keep the first 10,000 characters of what the block prints."""
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams = Limited(kept[0]), Limited(kept[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept
        for limited, stream in zip(streams, kept):
            if limited.dropped:
                stream.write(f"\n(and {limited.dropped:,} characters more, which are not shown)\n")


@contextmanager
def no_exit():
    """`os._exit` and `os.abort` raise Quit in the block instead of ending the process."""
    kept = os._exit, os.abort

    def refuse(status=1):
        raise Quit("os._exit")
    os._exit = os.abort = refuse
    try:
        yield
    finally:
        os._exit, os.abort = kept


def limit_memory(size: int = MEMORY) -> None:
    """Let this process take so many more bytes, where the system can be asked for that."""
    try:
        import resource
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (now + size, hard))
    except (ImportError, OSError, ValueError):
        pass


@contextmanager
def guarded(seconds: float, learner: bool):
    """All of these around one phase of a test."""
    with ExitStack() as stack:
        if learner:
            stack.enter_context(limited_output())
            stack.enter_context(no_exit())
        stack.enter_context(time_limit(seconds))
        yield
