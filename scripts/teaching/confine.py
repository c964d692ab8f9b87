"""A pytest plugin for a file that is handed in: it writes nowhere but in its own folder, reads no other's, ends no
process.

What does is written down where `grading/sentry.py` writes what it saw, and the test fails. The hook is Python's own,
and C code gets past it; what such code leaves behind is found by the process that grades (`grade.py`).
"""

from __future__ import annotations

import os
import sys
from functools import partial

from scripts.grading import sentry

CHANGES = {"os.remove": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.mkdir": 1, "os.rmdir": 1,
           "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1, "os.setxattr": 1, "os.removexattr": 1}
SIGNALS = ("os.kill", "os.killpg", "signal.pidfd_send_signal")
C_CALLS = ("kill", "killpg", "tgkill", "tkill", "syscall", "ptrace", "open", "open64", "openat", "openat64", "creat",
           "fopen", "fopen64", "unlink", "unlinkat", "rename", "renameat", "truncate", "process_vm_writev", "prctl")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SPARED = ("/dev/null", "/dev/tty")


def pytest_addoption(parser) -> None:
    group = parser.getgroup("the book")
    group.addoption("--room", metavar="FOLDER", help="what is graded may write here and nowhere else")
    group.addoption("--closed", metavar="FOLDER", action="append", default=[], help="and not read here")


def pytest_configure(config) -> None:
    if room := config.getoption("room"):
        closed = [within(folder) for folder in config.getoption("closed")]
        judge = partial(judged, room=within(room), closed=closed, me=os.getpid())
        sys.addaudithook(sentry.make_hook(("open", "ctypes.dlsym", *CHANGES, *SIGNALS), judge, sentry.WATCH))


def within(folder: str) -> str:
    return os.path.realpath(folder) + os.sep


def judged(event: str, arguments: tuple, room: str, closed: list[str], me: int) -> str:
    """Why an event is forbidden to a file that is handed in, or ""."""
    if event in SIGNALS:
        return f"sends a signal to process {arguments[0]}, which graded code must not" if arguments[0] != me else ""
    if event == "ctypes.dlsym":
        name = arguments[1] if len(arguments) > 1 else ""
        return f"calls {name} of the system (by ctypes), which graded code must not" if name in C_CALLS else ""
    if event != "open":
        return next((f"changes {path}, which graded code must not"
                     for path in map(real, arguments[:CHANGES[event]]) if path and not path.startswith(room)), "")
    path = real(arguments[0])
    if not path or path in SPARED or path.startswith(room):
        return ""
    if (arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0) & WRITES:
        return f"writes to {sentry.shown(path)}, which graded code must not"
    if any(path.startswith(folder) for folder in closed):
        return f"reads {sentry.shown(path)}, which is another's"
    return ""


def real(path) -> str:
    """The path behind an event's argument; "" for a descriptor."""
    return os.path.realpath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
