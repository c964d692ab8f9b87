"""`make bench [TOPIC=27]`: runs every ladder, prints one table, writes build/bench.md and build/bench.json.

Interleaved runs, medians, one thread. With `--readme` the table also goes into README.md, between
`<!-- bench:start -->` and `<!-- bench:end -->`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from scripts.errors import Problem

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- bench:start -->", "<!-- bench:end -->"
SETTINGS = {  # one thread; and glibc keeps large blocks, or PyTorch pays page faults that NumPy does not
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
HEAD = ("topic", "task", "level 1", "level 2", "level 3", "level 4", "peak memory 2 / 3 / 4")


def main(argv: list[str]) -> int:
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        command = [sys.executable, "-m", "scripts", "bench", *argv]     # libraries read these when they start
        return subprocess.run(command, cwd=ROOT, env=os.environ | SETTINGS).returncode
    parser = argparse.ArgumentParser(prog="python -m scripts bench", description=__doc__.split("\n")[0])
    parser.add_argument("--topic", type=int, help="this topic alone")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds for a ladder, about (default 3)")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md as well")
    options = parser.parse_args(argv)
    topics = packages(options.topic)
    before = readme_text() if options.readme else ""
    found = [entry for package in topics for entry in run(package, options.budget)]
    table = markdown(found)
    write(found, table)
    if options.readme:
        (ROOT / "README.md").write_text(between(before, table), encoding="utf-8")
    more = "; README.md" if options.readme else ""
    print(f"\n{len(found)} ladders; build/bench.md, build/bench.json{more}")
    return 0


def packages(topic: int | None) -> list[str]:
    """The packages with a benchmark.py, of all topics or of one."""
    found = sorted(p.parent.name for p in (ROOT / "tangled").glob("t[0-9][0-9]_*/benchmark.py"))
    chosen = [p for p in found if topic in (None, int(p[1:3]))]
    if not chosen:
        there = ", ".join(str(int(p[1:3])) for p in found) or "none"
        raise Problem("", 0, f"no ladder for topic {topic}; topics that have one: {there}")
    return chosen


def run(package: str, budget: float) -> list[dict]:
    """Measure every ladder of a topic and print it."""
    from tangled.measuring import measure
    module = importlib.import_module(f"tangled.{package}.benchmark")
    found = []
    for ladder in module.ladders():
        result = measure(ladder, budget)
        print(f"\n{package[1:3]}  {result}", flush=True)
        found.append({"topic": int(package[1:3])} | result.as_dict())
    return found


def markdown(found: list[dict]) -> str:
    """One table of all ladders: times as multiples of level 4's, or times where PyTorch is absent."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---:|:---|" + "---:|" * (len(HEAD) - 2)]
    for entry in found:
        rows = {row["level"]: row for row in entry["rows"]}
        cells = [time_cell(rows.get(f"level {n}"), entry["missing"].get(f"level {n}")) for n in (1, 2, 3, 4)]
        peaks = " / ".join(memory_cell(rows.get(f"level {n}")) for n in (2, 3, 4))
        name = entry["name"].replace("|", "\\|")
        lines.append(f"| {entry['topic']} | {name} | " + " | ".join([*cells, peaks]) + " |")
    threads = sorted({entry["threads"] for entry in found})
    return "\n".join([*lines, "", f"Time against level 4 (PyTorch, eager), {', '.join(threads)}, medians of "
                      f"interleaved runs; below 1.0 NumPy is the faster. {system()}", ""])


def time_cell(row: dict | None, missing: str | None = None) -> str:
    """`1.2x`, or the time where there is nothing to compare with."""
    from tangled.measuring import SECONDS, scaled
    if row is None:
        return missing or "-"
    if row["ratio"] is None or row["level"] == "level 4":
        return scaled(row["seconds"], SECONDS)
    ratio = row["ratio"]
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def memory_cell(row: dict | None) -> str:
    """`1.2 MB`."""
    from tangled.measuring import BYTES, scaled
    return "-" if row is None or row["peak"] is None else scaled(row["peak"], BYTES)


def system() -> str:
    """Processor and versions, for the note below the table."""
    import numpy as np

    from scripts.golden import torch_version
    torch = f", PyTorch {torch_version()}" if torch_version() else ""
    return f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}{torch}."


def write(found: list[dict], table: str) -> None:
    """build/bench.md and build/bench.json."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    (folder / "bench.md").write_text(table, encoding="utf-8")
    (folder / "bench.json").write_text(json.dumps({"system": system(), "ladders": found}, indent=1) + "\n",
                                       encoding="utf-8")


def readme_text() -> str:
    """README.md, with both marks in it."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not 0 <= text.find(START) < text.find(END):
        raise Problem("README.md", 0, f"has no place for the table; expected {START} and, after it, {END}")
    return text


def between(text: str, table: str) -> str:
    """The text with the table in the place of what stood between the marks."""
    head, _, rest = text.partition(START)
    return f"{head}{START}\n{table}{END}{rest.partition(END)[2]}"
