# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:358e08070f627153
"""Measuring: ratios, growth and peak memory. Never seconds alone, for those belong to one machine."""
# ruff: noqa: E402
from __future__ import annotations

import os
import sys

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
IN_TIME = "numpy" not in sys.modules or os.environ.get(THREADS[0]) == "1"
for _name in THREADS:
    os.environ.setdefault(_name, "1")            # before NumPy is imported: BLAS reads it once

import contextlib
import gc
import importlib.util
import json
import tempfile
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CLOCK = time.process_time if time.get_clock_info("process_time").resolution < 1e-5 else time.perf_counter


def seconds_a_call(f, count: int = 1) -> float:
    """Processor seconds a call, over a block of `count` calls."""
    start = CLOCK()
    for _ in range(count):
        f()
    return (CLOCK() - start) / count


def rounds_of(functions, rounds: int, block: float) -> np.ndarray:
    """Seconds a call in interleaved rounds: A B C, A B C, …

    Parameters
    ----------
    functions : sequence of callables
    rounds : int
    block : float
        Seconds that each function runs in a row, at least.

    Returns
    -------
    ndarray of shape (rounds, len(functions))
    """
    counts = []
    for f in functions:
        f()                                      # warm caches, allocate
        counts.append(max(1, round(block / max(min(seconds_a_call(f) for _ in range(2)), 1e-7))))
    times = np.empty((rounds, len(functions)))
    with no_collection():
        for i in range(rounds):
            for j, f in enumerate(functions):
                times[i, j] = seconds_a_call(f, counts[j])
    return times


def time_ratio(f, g, rounds: int = 9) -> float:
    """How many times as long f takes as g: the ratio of their shortest times in interleaved rounds."""
    fastest = rounds_of([f, g], rounds, 0.005).min(0)                      # (2,)
    return float(fastest[0] / fastest[1])


def growth_exponent(f, sizes, measure: str = "time") -> float:
    """The p of the power law n^p by which time or peak memory grows (eq. A.10).

    Parameters
    ----------
    f : callable
        `f(n)` prepares a problem of size n and returns a function of no arguments, which is measured.
    sizes : sequence of int
        Increasing, the smallest so large that fixed costs do not count.
    measure : {"time", "memory"}

    Returns
    -------
    float
        The slope of the least-squares line through (log n, log cost).
    """
    problems = [f(n) for n in sizes]
    if measure == "memory":
        costs = [max(peak_memory(problem), 1) for problem in problems]
    else:
        costs = rounds_of(problems, 7, 0.003).min(0)
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def peak_memory(f) -> int:
    """The most bytes that Python and NumPy held at once while f ran, beyond what they held before."""
    gc.collect()
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    result = f()
    peak = tracemalloc.get_traced_memory()[1] - before
    if not running:
        tracemalloc.stop()
    del result
    return max(peak, 0)


@dataclass
class Ladder:
    """One task, done by each level.

    Attributes
    ----------
    name : str
        With the sizes, e.g. "RoPE forward, (8, 8, 256, 64) float32".
    calls : dict
        "level 1" to "level 4", "best PyTorch" where its users would write another call than the default,
        or, in a ladder without levels, any names -> function of no arguments; None: not measured.
    operations : str or dict
        Operation count of all levels, or of each.
    note : str
    """

    name: str
    calls: dict
    operations: str | dict = ""
    note: str = ""


def measure(ladder: Ladder, budget: float = 1.5) -> Measured:
    """Run a ladder: interleaved rounds, medians, one thread.

    Parameters
    ----------
    ladder : Ladder
    budget : float
        Seconds for all of it, about; at least three rounds are made.
    """
    threads = one_thread()
    calls = {name: f for name, f in sorted(ladder.calls.items(), key=contestant) if f is not None}
    once = sum((f(), max(seconds_a_call(f), 0.01))[1] for f in calls.values())
    times = rounds_of(list(calls.values()), int(np.clip(budget / once, 3, 15)), 0.01)    # (rounds, levels)
    by_name = dict(zip(calls, times.T))                                  # each (rounds,)
    rows = []
    for name, f in calls.items():
        ratio, best = (float(np.median(by_name[name] / by_name[to])) if to in calls else None for to in PYTORCH)
        peak = torch_peak(f) if name in PYTORCH and "torch" in sys.modules else peak_memory(f)
        rows.append(Row(name, float(np.median(by_name[name])), ratio, peak, operations_of(ladder, name), best))
    missing = {} if "level 4" in calls or torch_available() else {"level 4": "PyTorch not installed"}
    return Measured(ladder.name, rows, threads, ladder.note, missing)


def torch_available() -> bool:
    """Can level 4 be measured?"""
    return importlib.util.find_spec("torch") is not None


@contextlib.contextmanager
def no_collection():
    """No garbage collection within the block, and one before."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass
class Row:
    """One level's numbers: seconds a call, its ratio to level 4, bytes at the peak, its ratio to the best call."""

    level: str
    seconds: float
    ratio: float | None
    peak: int | None
    operations: str
    best: float | None = None


PYTORCH = ("level 4", "best PyTorch")


def contestant(item: tuple) -> tuple[bool, str]:
    """The order of the rows: levels 1 to 4, the best call of PyTorch, others as they come."""
    name = item[0]
    return not name.startswith(("level", "best")), name if name.startswith("level") else "z"


def operations_of(ladder: Ladder, level: str) -> str:
    """What the ladder states for a level."""
    return ladder.operations.get(level, "") if isinstance(ladder.operations, dict) else ladder.operations


def one_thread() -> str:
    """Ask every library for one thread, and say what was had."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if importlib.util.find_spec("threadpoolctl") is not None:
        from threadpoolctl import threadpool_limits
        threadpool_limits(1)
        return "one thread"
    return "one thread" if IN_TIME else "as many threads as BLAS took"


def torch_peak(f) -> int | None:
    """The most bytes that PyTorch's CPU allocator held while f ran: by its profiler's events."""
    from torch.profiler import ProfilerActivity, profile
    try:
        with quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            result = f()
        del result
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            record.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    except (OSError, RuntimeError, ValueError, KeyError):
        return None
    moves = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    return int(max(np.cumsum([size for _, size in moves]).max(initial=0), 0))


@contextlib.contextmanager
def quiet():
    """Let C code write nothing on standard error within the block."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@dataclass
class Measured:
    """A measured ladder; it shows itself as a table, in a notebook and in a terminal."""

    name: str
    rows: list[Row]
    threads: str
    note: str = ""
    missing: dict = field(default_factory=dict)

    def row(self, level: str) -> Row:
        """The row of "level 3"."""
        found = next((row for row in self.rows if row.level == level), None)
        if found is None:
            there = ", ".join(row.level for row in self.rows)
            raise ValueError(f"level is {level!r}; expected one of {self.name!r}: {there}")
        return found

    def ratio(self, level: str, to: str = "level 4") -> float | None:
        """Time of a level over that of level 4, "best PyTorch" or another level; None without PyTorch.

        Where no better call than the default is known, level 4 is the best.
        """
        if to == "best PyTorch" and all(row.level != to for row in self.rows):
            to = "level 4"
        if level == to:
            raise ValueError(f"ratio of {level!r} to {to!r} compares it with itself; expected another level")
        if to in PYTORCH:
            return self.row(level).ratio if to == "level 4" else self.row(level).best
        return self.row(level).seconds / self.row(to).seconds

    def speedup(self, slow: str, fast: str) -> float:
        """How many times as fast one level is as another."""
        return self.row(slow).seconds / self.row(fast).seconds

    def as_dict(self) -> dict:
        """For JSON."""
        return {"name": self.name, "threads": self.threads, "note": self.note, "missing": self.missing,
                "rows": [vars(row) for row in self.rows]}

    def cells(self) -> list[list[str]]:
        """The table's text, row by row, without its head."""
        table = [[row.level, scaled(row.seconds, SECONDS), times(row.ratio), times(row.best),
                  "-" if row.peak is None else scaled(row.peak, BYTES), row.operations] for row in self.rows]
        return table + [[level, why, "", "", "", ""] for level, why in self.missing.items()]

    def columns(self) -> list[int]:
        """Which columns have anything in them: the best call and the operations only where they are stated."""
        return [0, 1, 2, *([3] if any(row.best for row in self.rows) else []), 4,
                *([5] if any(row.operations for row in self.rows) else [])]

    def _repr_markdown_(self) -> str:
        """As a Markdown table."""
        table = [["level", "time", "against level 4", "against best PyTorch", "peak memory", "operations"],
                 [":---", "---:", "---:", "---:", "---:", ":---"]]
        return "".join(f"| {' | '.join(cells[k] for k in self.columns())} |\n" for cells in table + self.cells())

    def __str__(self) -> str:
        """As aligned columns, in ASCII."""
        table = [["level", "time", "/ level 4", "/ best", "peak", "operations"]] + self.cells()
        widths = [max(len(row[i]) for row in table) for i in range(6)]
        lines = ["  ".join(row[k].ljust(widths[k]) for k in self.columns()).rstrip() for row in table]
        note = f"; {self.note}" if self.note else ""
        return "\n".join([self.name, *lines, f"({self.threads}, medians{note})"])


@dataclass
class Together:
    """Measured ladders as one table, the task named in its first row."""

    results: list[Measured]

    def _repr_markdown_(self) -> str:
        """As a Markdown table, a row for each task and level."""
        best = any(row.best for result in self.results for row in result.rows)
        kept = [0, 1, 2, *([3] if best else []), 4]
        heads = ["level", "time", "against level 4", "against best PyTorch", "peak memory"]
        lines = [f"| task | {' | '.join(heads[k] for k in kept)} |",
                 "|:-----------------------------|:---|" + "---:|" * (len(kept) - 1)]
        for result in self.results:
            for k, cells in enumerate(result.cells()):
                row = " | ".join(cells[c] for c in kept).removeprefix("level ")
                lines.append(f"| {result.name * (k == 0)} | {row} |")
        return "\n".join(lines) + "\n"


SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

BYTES = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}


def times(ratio: float | None) -> str:
    """0.0123; 1240; a dash for None."""
    return "-" if ratio is None else f"{ratio:.3g}" if ratio < 999.5 else f"{ratio:.0f}"


def scaled(value: float, units: dict) -> str:
    """1.23 ms; 45 kB."""
    unit, size = next((pair for pair in units.items() if value >= pair[1]), list(units.items())[-1])
    number = value / size
    return f"{number:.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
