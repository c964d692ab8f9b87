"""Tests that measure, on machines that do other things as well: tried again, and "not measured" rather than failed.

A failed measurement counts when the machine was quiet meanwhile. Whether it was is seen in three ways: the measured
blocks had a processor to themselves (processor time against the clock on the wall), a fixed loop right after them
runs evenly, and the other processes left a core free.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import numpy as np

from scripts.grading.guard import NotMeasured, TimeLimit
from tangled import measuring
from tangled.comparing import Mismatch

TRIES = 4                                       # of a measurement that fails; two on a quiet machine are enough
WITHIN = 15.0                                   # seconds after which it is not begun again


class Load:
    """What the machine did while a block ran: `measured` blocks, the share of a core they had, others' cores."""

    def __init__(self):
        self.measured, self.share, self.others = 0, 1.0, 0.0

    def busy(self) -> str:
        """In a few words, why the measurement does not count, or ""."""
        if self.share < 0.93:
            return f"it had {100 * self.share:.0f} % of a core"
        if self.others > (os.cpu_count() or 1) - 0.5:
            return f"other processes use {self.others:.1f} cores"
        return uneven()


@contextmanager
def watched():
    """The load within the block, and how often `tangled.measuring` read its clock."""
    load, kept, reads = Load(), measuring.CLOCK, []
    used, start, own = jiffies(), time.perf_counter(), time.process_time()

    def clock():
        now = kept()
        reads.append((now, time.perf_counter(), time.process_time()))
        return now
    measuring.CLOCK = clock
    try:
        yield load
    finally:
        measuring.CLOCK = kept
        load.measured = len(reads) // 2
        blocks = list(zip(reads[::2], reads[1::2]))
        wall, mine = (sum(b[i] - a[i] for a, b in blocks) for i in (1, 2))
        load.share = mine / wall if wall > 0 else 1.0
        elapsed = max(time.perf_counter() - start, 1e-9)
        load.others = max(0.0, (jiffies() - used - (time.process_time() - own)) / elapsed) if used else 0.0


def jiffies() -> float:
    """Seconds of processor time that all processes of the machine have used; 0 where nothing says so."""
    try:
        with open("/proc/stat") as file:
            numbers = [int(x) for x in file.readline().split()[1:]]
        return (sum(numbers[:3]) + sum(numbers[5:8])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def uneven(blocks: int = 30) -> str:
    """Does a fixed loop of about a millisecond take unequal times? In a few words, or ""."""
    x, times, cpu = np.linspace(0.0, 1.0, 2000), [], time.process_time()
    start = time.perf_counter()
    for _ in range(blocks):
        begin = time.perf_counter()
        for _ in range(200):
            x.sum()
        times.append(time.perf_counter() - begin)
    share = (time.process_time() - cpu) / (time.perf_counter() - start)
    spread = float(np.median(times) / min(times))
    return f"a fixed loop takes {spread:.1f} times as long as it can" if spread > 1.3 or share < 0.9 else ""


def patiently(test) -> None:
    """Run a test that measures until it passes, fails twice on a quiet machine, or cannot be measured."""
    quiet, why, start = 0, "", time.monotonic()
    for _ in range(TRIES):
        try:
            with watched() as load:
                return test()
        except Mismatch:
            raise
        except TimeLimit:
            if load.measured and (why := load.busy()):
                break
            raise
        except AssertionError:
            if not load.measured:
                raise                           # it counts (bytes, calls): no machine is too busy for that
            now = load.busy()
            quiet, why = quiet + (not now), now or why
            if quiet == 2:
                raise
        if time.monotonic() - start > WITHIN:
            break
        time.sleep(0.2)
    raise NotMeasured(f"not measured: the machine is busy ({why})")
