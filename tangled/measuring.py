# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:58d481b568f96f1d
"""Measuring: ratios, growth and peak memory. Never seconds alone, for those belong to one machine."""
# ruff: noqa: E402
from __future__ import annotations

import os
import sys

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
EARLY = "numpy" not in sys.modules
for _name in THREADS:
    os.environ.setdefault(_name, "1")

import gc
import importlib.util
import json
import statistics
import tempfile
import time
import tracemalloc
from dataclasses import dataclass, field
from math import log

import numpy as np


def torch_available() -> bool:
    """Can level 4 be measured?"""
    return importlib.util.find_spec("torch") is not None


def block_time(f, count: int = 1) -> float:
    """Seconds a call, over `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        f()
    return (time.perf_counter() - start) / count


def calls_in(f, seconds: float) -> int:
    """How many calls of f fill a block of so many seconds."""
    f()
    once = min(block_time(f) for _ in range(2))
    return max(1, round(seconds / max(once, 1e-7)))


def best_times(functions, rounds: int = 7, block: float = 0.003) -> list[float]:
    """The shortest time a call of each function, over interleaved rounds.

    What disturbs a measurement only ever adds time, so the minimum is the most honest number.
    """
    counts = [calls_in(f, block) for f in functions]
    best = [float("inf")] * len(counts)
    gc.collect()
    for _ in range(rounds):
        for i, f in enumerate(functions):
            best[i] = min(best[i], block_time(f, counts[i]))
    return best


def peak_memory(f) -> int:
    """The most bytes that Python and NumPy held at once while f ran, beyond what they held before."""
    gc.collect()
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    kept = f()
    peak = tracemalloc.get_traced_memory()[1] - before
    if not running:
        tracemalloc.stop()
    del kept
    return max(peak, 0)


def growth_exponent(f, sizes, measure: str = "time") -> float:
    """The p of the power law n^p by which time or peak memory grows.

    Parameters
    ----------
    f : callable
        `f(n)` prepares a problem of size n and returns a function of no arguments, which is measured.
    sizes : sequence of int
        Each about twice the one before, the smallest large enough that fixed costs do not count.
    measure : {"time", "memory"}

    Returns
    -------
    float
        The slope of the least-squares line through (log n, log cost).
    """
    if measure == "memory":
        costs = [peak_memory(f(n)) for n in sizes]
    else:
        costs = best_times([f(n) for n in sizes])
    return float(np.polyfit([log(n) for n in sizes], [log(max(c, 1e-9)) for c in costs], 1)[0])


def time_ratio(f, g, rounds: int = 9) -> float:
    """How many times as long f takes as g, from interleaved runs."""
    times = best_times([f, g], rounds, 0.005)
    return times[0] / times[1]


@dataclass
class Ladder:
    """One task, done by each level.

    Attributes
    ----------
    name : str
        With the sizes, e.g. "RoPE forward, (8, 8, 256, 64) float32".
    calls : dict
        "level 1" … "level 4" -> function of no arguments.
    operations : str or dict
        Of all levels, or of each.
    note : str
    """

    name: str
    calls: dict
    operations: str | dict = ""
    note: str = ""


@dataclass
class Row:
    """One level's numbers: seconds a call, ratio to level 4, bytes at the peak."""

    level: str
    seconds: float
    ratio: float | None
    peak: int | None
    operations: str


@dataclass
class Measured:
    """A measured ladder, shown as a table."""

    name: str
    rows: list[Row]
    threads: str
    note: str = ""
    missing: dict = field(default_factory=dict)

    def row(self, level: str) -> Row:
        """The row of "level 3"."""
        return next(row for row in self.rows if row.level == level)

    def ratio(self, level: str) -> float | None:
        """Time of a level over that of level 4; None without PyTorch."""
        return self.row(level).ratio

    def as_dict(self) -> dict:
        """For JSON."""
        return {"name": self.name, "threads": self.threads, "note": self.note, "missing": self.missing,
                "rows": [vars(row) for row in self.rows]}

    def lines(self) -> list[list[str]]:
        """The cells of the table, without its head."""
        table = [[r.level, time_text(r.seconds), "-" if r.ratio is None else f"{r.ratio:.3g}",
                  bytes_text(r.peak), r.operations] for r in self.rows]
        return table + [[level, why, "", "", ""] for level, why in self.missing.items()]

    def _repr_markdown_(self) -> str:
        head = "| level | time | against level 4 | peak memory | operations |\n|---|---:|---:|---:|---|\n"
        body = "".join("| " + " | ".join(cells) + " |\n" for cells in self.lines())
        return head + body

    def __str__(self) -> str:
        cells = [["level", "time", "/ level 4", "peak", "operations"]] + self.lines()
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        return "\n".join([self.name] + ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip()
                                        for row in cells])


def time_text(seconds: float) -> str:
    """1.23 ms."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def bytes_text(number: int | None) -> str:
    """1.23 MB."""
    if number is None:
        return "-"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} B"


def measure(ladder: Ladder, budget: float = 1.5) -> Measured:
    """Run a ladder: interleaved rounds, medians, one thread.

    Parameters
    ----------
    ladder : Ladder
    budget : float
        Seconds, about; a call that takes longer is still made three times.
    """
    threads = one_thread()
    calls = {level: f for level, f in sorted(ladder.calls.items()) if f is not None}
    times = interleaved(calls, budget)
    reference = times.get("level 4")
    rows = [Row(level, statistics.median(times[level]),
                statistics.median(a / b for a, b in zip(times[level], reference)) if reference else None,
                peak_of(f, level), operations_of(ladder, level)) for level, f in calls.items()]
    missing = {} if "level 4" in calls or torch_available() else {"level 4": "PyTorch not installed"}
    return Measured(ladder.name, rows, threads, ladder.note, missing)


def operations_of(ladder: Ladder, level: str) -> str:
    """The operation count that the ladder states for a level."""
    return ladder.operations.get(level, "") if isinstance(ladder.operations, dict) else ladder.operations


def interleaved(calls: dict, budget: float) -> dict[str, list[float]]:
    """Seconds a call of each function, one number for each round of A B C D, A B C D …"""
    once = {level: (f(), block_time(f))[1] for level, f in calls.items()}
    counts = {level: max(1, round(0.01 / max(t, 1e-7))) for level, t in once.items()}
    a_round = sum(max(t, 0.01) for t in once.values())
    rounds = int(min(15, max(3, budget / a_round)))
    times: dict[str, list[float]] = {level: [] for level in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for level, f in calls.items():
                times[level].append(block_time(f, counts[level]))
    finally:
        gc.enable()
    return times


def peak_of(f, level: str) -> int | None:
    """Peak memory of a call; PyTorch's own allocator is asked for level 4."""
    return torch_peak(f) if level == "level 4" and "torch" in sys.modules else peak_memory(f)


def torch_peak(f) -> int | None:
    """The most bytes that PyTorch's CPU allocator held while f ran, from its profiler's events."""
    from torch.profiler import ProfilerActivity, profile
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            kept = f()
        del kept
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.json")
            record.export_chrome_trace(path)
            with open(path) as file:
                events = json.load(file)["traceEvents"]
    except (OSError, RuntimeError, ValueError, KeyError):
        return None
    moves = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    held = np.cumsum([size for _, size in moves]) if moves else np.zeros(1)
    return int(max(held.max(), 0))


def one_thread() -> str:
    """Ask every library for one thread, and say what was had."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if importlib.util.find_spec("threadpoolctl") is not None:
        from threadpoolctl import threadpool_limits
        threadpool_limits(1)
        return "one thread"
    if EARLY or all(os.environ.get(name) == "1" for name in THREADS[:1]):
        return "one thread"
    return "as many threads as BLAS took"
