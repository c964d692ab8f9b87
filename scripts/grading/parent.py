"""pytest in a process of its own, and the verdict on it, which is not that process's to give.

A learner's file runs in a session of its own: its processes end with it. Exit status and score come from the lines
that the plugin signed (`ledger.py`); a run without its last line, a test without a record, a line that is not
signed and a process left over are failures.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from scripts.grading import ledger
from scripts.grading.processes import GRACE, PATIENCE, children_of
from scripts.grading.report_table import ended

AFTER = 5.0                                   # seconds that a process may live after its last line
OUTPUT = 4_000_000                            # bytes of a graded run that are passed on
FAILED, NOTHING = 1, 5


@dataclass
class Run:
    """What came of a run. `said`: lines to print after the report."""

    status: int
    records: list[dict] = field(default_factory=list)
    collected: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    complete: bool = True

    def count(self, outcome: str) -> int:
        """How many tests had an outcome."""
        return sum(r["outcome"] == outcome for r in self.records)


def run(arguments: list[str], root: Path, graded: bool, grace: float = GRACE) -> Run:
    """Run pytest on these arguments; `graded`: what it imports is not to be trusted."""
    if graded and sys.stdout.isatty():                  # it writes into a pipe, and its words end at a terminal
        arguments = [*arguments, "--color=yes"]
    entries, wrong, status, hung, left = watched("pytest", arguments, root, graded, grace)
    return verdict(entries, wrong, status, hung, left, graded)


def watched(module: str, arguments: list[str], root: Path, graded: bool, grace: float = GRACE):
    """Run a module that writes a ledger: (its entries, lines that are none, status, hung, processes left over)."""
    with tempfile.TemporaryDirectory(prefix="book-test-") as folder:
        results, key = Path(folder) / "results.jsonl", b""
        command, more = [sys.executable, "-m", module, "--results", str(results), *arguments], {}
        if graded and os.name == "posix":
            key = secrets.token_hex(32).encode()
            command, more = confined(command, key)
            adopt_orphans()
        before = set(children_of(os.getpid()))
        child = subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONUNBUFFERED": "1"}, **more)
        if key:
            os.close(more["pass_fds"][0])
        passing = pass_on(child) if key else None
        try:
            hung = watch(child, results, key, grace)
        finally:
            end_group(child, bool(key))
            left = end_orphans(before) if key else 0
            if passing:
                passing.join(2.0)
        entries, wrong = ledger.read(results, key)
    return entries, wrong, child.returncode, hung, left


def confined(command: list[str], key: bytes) -> tuple[list[str], dict]:
    """The command and options for a session of its own, output through a pipe, the key in another."""
    inlet, outlet = os.pipe()
    os.write(outlet, key)
    os.close(outlet)
    command = [*command, "--key-from", str(inlet)]
    return command, {"start_new_session": True, "pass_fds": (inlet,), "stdout": subprocess.PIPE,
                     "stderr": subprocess.STDOUT}


def pass_on(child) -> threading.Thread:
    """A thread that prints what the child does, up to a limit."""
    def copy():
        room = OUTPUT
        while data := os.read(child.stdout.fileno(), 65536):
            if room > 0:
                text = data[:room].decode("utf-8", "replace")
                sys.stdout.write(text if room > len(data) else text + "\n(more output is not shown)\n")
                sys.stdout.flush()
            room -= len(data)
    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return thread


def watch(child, results: Path, key: bytes, grace: float) -> bool:
    """Wait for pytest. True if a test went so far beyond its limit that the process had to be ended."""
    ended = None
    while True:
        try:
            child.wait(timeout=0.2)
            return False
        except subprocess.TimeoutExpired:
            last = ledger.last(results, key)
        if "end" in last and key:
            ended = ended or time.monotonic()
            if time.monotonic() - ended > AFTER:
                return False
        limit = last.get("limit", 0)
        if "start" in last and limit > 0 and time.time() - last["time"] > PATIENCE * limit + grace:
            return True


def end_group(child, own_session: bool) -> None:
    """End the process, and with it all of its session."""
    if own_session:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()
    child.wait()


def adopt_orphans() -> None:
    """Become the parent of what a child's children leave behind (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def end_orphans(before: set[int]) -> int:
    """End the processes that the run left to us, and count them."""
    count = 0
    for _ in range(50):
        new = [pid for pid in children_of(os.getpid()) if pid not in before]
        if not new:
            break
        count += len(new)
        for pid in new:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    return count


def verdict(entries: list[dict], wrong: int, status: int | None, hung: bool, left: int, graded: bool) -> Run:
    """Status and records of a run, from what it reported."""
    found = Run(FAILED, [e["test"] for e in entries if "test" in e],
                next((e["collected"] for e in entries if "collected" in e), []))
    end = next((e for e in entries if "end" in e), None)
    if end is None and not hung and not entries:
        found.status = status or FAILED                        # pytest refused its arguments, and said so
        return found
    if end is None or hung:
        found.records.append(unfinished(entries, status, hung))
        found.complete = False
    if not graded:
        found.status = status if found.complete else FAILED
        return found
    missing = set(found.collected) - {r["id"] for r in found.records}
    if wrong:
        found.said.append(f"{wrong} lines of the results were not written by the harness: the run does not count")
    if left:
        found.said.append(f"{'a process was' if left == 1 else f'{left} processes were'} left over, and ended")
    if missing and found.complete and not found.count("failed"):
        found.said.append(f"{len(missing)} tests did not run to their end")
    if found.complete and not found.said:
        found.status = end["end"] if not found.count("failed") else FAILED
    return found


def unfinished(log: list[dict], status: int | None, hung: bool) -> dict:
    """A record of the test in which the process ended."""
    started = next((entry for entry in reversed(log) if "start" in entry), {"start": "", "limit": 0})
    if hung:
        text = (f"took longer than its time limit ({started['limit']:g} s) in a place where Python cannot be "
                "interrupted; the run was ended here")
    elif status is not None and status < 0:
        text = f"the process was ended by signal {-status} (out of memory?); the run ends here"
    else:
        text = f"the process was ended from within (exit status {status}); the run ends here"
    return ended(started["start"], text)
