"""What surrounds one test: a time limit, and for a learner's file limits on printing and leaving."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import time
import unittest
from contextlib import ExitStack, contextmanager

import pytest

from scripts.grading.processes import PATIENCE, children_of

PRINTED = 10_000                       # characters kept of what one test prints
OURS: set[int] = set()                 # threads that watch a time limit


class TimeLimit(BaseException):
    """The test took too long. No Exception, so that `except Exception` in the tested code lets it pass."""


class Quit(BaseException):
    """The code under test called os._exit or the like."""


class LeftOver(AssertionError):
    """A thread or a process outlived the test that started it, or a function of NumPy was replaced."""


class NotMeasured(pytest.skip.Exception):
    """The machine is too busy for a measurement: neither passed nor failed. Raised by the harness alone."""


LEAVES = {pytest.skip.Exception: "pytest.skip()", pytest.xfail.Exception: "pytest.xfail()",
          pytest.exit.Exception: "pytest.exit()", unittest.SkipTest: "raise unittest.SkipTest",
          KeyboardInterrupt: "raise KeyboardInterrupt", GeneratorExit: "raise GeneratorExit"}


OPTIONAL = re.compile(r"could not import '(torch|sacrebleu|gensim|tiktoken)\b")          # what tests may do without


def leaving(error: BaseException) -> str:
    """`pytest.skip()`, where an exception would end a test or the run without a failure; else ""."""
    absent = isinstance(error, pytest.skip.Exception) and OPTIONAL.match(str(error))
    if isinstance(error, NotMeasured) or absent:      # the harness's own, and a test's importorskip
        return ""
    return next((said for kind, said in LEAVES.items() if isinstance(error, kind)), "")


@contextmanager
def time_limit(seconds: float):
    """Raise TimeLimit in the block after so many seconds, and again each second while it is swallowed."""
    if seconds <= 0 or threading.current_thread() is not threading.main_thread():
        yield
    elif hasattr(signal, "setitimer"):
        yield from by_signal(seconds)
    elif sys.platform == "emscripten":                  # in a page: it ends the whole worker instead
        yield
    else:
        yield from by_thread(seconds)


def by_signal(seconds: float):
    """The limit by SIGALRM; what was set before is set again."""
    began, used = time.monotonic(), time.process_time()

    def ring(number, frame):
        share = (time.process_time() - used) / seconds
        if 0.05 < share < 0.7 and time.monotonic() - began < PATIENCE * seconds:
            return                              # the machine is busy: this process had little of it
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
    OURS.add(watcher.ident)
    try:
        yield
    finally:
        done.set()
        watcher.join()
        OURS.discard(watcher.ident)


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




def threads() -> set[int]:
    """The threads that run Python code, however they were started, but for the one that keeps the time."""
    return set(sys._current_frames()) - OURS


def left_over(known: set[int], patience: float = 0.5) -> str:
    """A line about a thread or a child process that the code under test left behind, or ""."""
    end = time.monotonic() + patience
    while (new := threads() - known) and time.monotonic() < end:
        time.sleep(0.01)
    if new:
        names = [t.name for t in threading.enumerate() if t.ident in new] or ["started by _thread"]
        known |= new
        return f"left {'a thread' if len(new) == 1 else f'{len(new)} threads'} running: {', '.join(sorted(names)[:3])}"
    child = children_left()
    return f"left a child process running ({child})" if child else ""


def children_left() -> str:
    """Ends this process's children, and says how many there were; multiprocessing's own helpers may stay."""
    helpers = {getattr(sys.modules.get(f"multiprocessing.{module}"), name, None) for module, name in (
        ("resource_tracker", "_resource_tracker"), ("forkserver", "_forkserver"))}
    spared = {getattr(h, "_pid", None) or getattr(h, "_forkserver_pid", None) for h in helpers} - {None}
    found = [pid for pid in children_of(os.getpid()) if pid not in spared]
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return f"process {found[0]}" if len(found) == 1 else f"{len(found)} processes" if found else ""



@contextmanager
def at_breakpoint(pause):
    """`breakpoint()` in the block calls `pause` (the limits end) and waits at the terminal; without one it fails."""
    kept = sys.breakpointhook

    def wait(*_, **__):
        if sys.__stdin__ is None or not sys.__stdin__.isatty():
            raise Quit("breakpoint")
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        pause()
        from _pytest.debugging import pytestPDB
        debugger = pytestPDB._init_pdb("set_trace")
        debugger.stdout = sys.__stdout__
        debugger.set_trace(sys._getframe(1))
    sys.breakpointhook = wait
    try:
        yield
    finally:
        sys.breakpointhook = kept


@contextmanager
def guarded(seconds: float, learner: bool, pause=lambda: None):
    """All of these around one phase of a test."""
    with ExitStack() as stack:
        stack.enter_context(at_breakpoint(pause))
        if learner:
            stack.enter_context(limited_output())
            stack.enter_context(no_exit())
        stack.enter_context(time_limit(seconds))
        yield
