"""What is asked of the system about processes: their children, their parent, limits. Light, for many begin with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

MEMORY = 4 << 30                       # bytes that a learner's file may take beyond what is there already
FILE_SIZE = 1 << 30                    # bytes of the largest file that it may write
PATIENCE = 3                           # a limit counts so much longer while the process gets no processor time
GRACE = 8.0                            # seconds beyond a test's limit until its process is ended


def limit_memory(size: int = MEMORY) -> None:
    """Let this process take so many more bytes and write no huge file; its time is the parent's to limit."""
    try:
        import resource
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return
    for name, most in (("AS", now + size), ("FSIZE", FILE_SIZE), ("CORE", 0)):    # "CPU" makes clocks coarse
        with contextlib.suppress(OSError, ValueError, AttributeError):
            number = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(number)[1]
            resource.setrlimit(number, (most if hard < 0 else min(most, hard), hard))


def die_with_parent() -> None:
    """Let the system end this process when the one that started it is gone (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)


def children_of(parent: int) -> list[int]:
    """The running children of a process, where /proc shows them."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                    state, above = file.read().rpartition(b")")[2].split()[:2]
                    if int(above) == parent and state != b"Z":
                        found.append(int(name))
    return found
