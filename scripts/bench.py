"""`make bench [TOPIC=9]`: measures every ladder, beside the record; `--record` renews golden/records/t09.json.

`IMPL=workspace` puts the learner's file on the ladders of one topic: see desk/ladder.py.

Interleaved runs, medians, one thread. `--readme` measures nothing: it draws README.md's table, between
`<!-- bench:start -->` and `<!-- bench:end -->`, from the records.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.errors import Problem
from scripts.recording.beside import beside, recorded

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {  # one thread; and glibc keeps large blocks, or PyTorch pays page faults that NumPy does not
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    if options.readme:
        from scripts.recording.readme import draw
        return draw(ROOT)
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        command = [sys.executable, "-m", "scripts", "bench", *argv]     # libraries read these when they start
        return subprocess.run(command, cwd=ROOT, env=os.environ | SETTINGS).returncode
    if options.impl != "levels":
        from scripts.desk.ladder import bench
        return bench(options, packages(options.topic), ROOT)
    if options.record:
        from tangled.measuring import torch_available
        if not torch_available():
            raise Problem("", 0, "a record holds PyTorch's times too, and PyTorch is not installed; "
                          "make setup installs it")
    found = [run(package, options) for package in packages(options.topic)]
    count = sum(map(len, found))
    if not count and options.only != "asides":
        raise Problem("", 0, f"no ladder has {options.only!r} in its name")
    write([ladder for each in found for ladder in each])
    print(f"\n{count} ladder{'s' * (count != 1)}; " + ("recorded" if options.record else "build/bench.json"))
    return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m scripts bench", description=__doc__.split("\n")[0])
    found.add_argument("--topic", type=int, help="this topic alone")
    found.add_argument("--only", help="ladders with this in their name; asides: the numbers that are no ladder")
    found.add_argument("--impl", default="levels", help="workspace: the learner's file as one more contestant")
    found.add_argument("--budget", type=float, default=3.0, help="seconds for a ladder, about (default 3)")
    found.add_argument("--record", action="store_true", help="store the result in golden/records/")
    found.add_argument("--readme", action="store_true", help="draw README.md's table from the records; "
                       "measures nothing")
    return found


def packages(topic: int | None) -> list[str]:
    """The packages with a benchmark.py, of all topics or of one."""
    found = sorted(p.parent.name for p in (ROOT / "tangled").glob("t[0-9][0-9]_*/benchmark.py"))
    chosen = [p for p in found if topic in (None, int(p[1:3]))]
    if not chosen:
        there = ", ".join(str(int(p[1:3])) for p in found) or "none"
        raise Problem("", 0, f"no ladder for topic {topic}; topics that have one: {there}")
    return chosen


def run(package: str, options) -> list[dict]:
    """Measure a topic's ladders, print each beside its record, and store them if that is wanted."""
    from tangled.measuring import measure
    from tangled.recording import store_ladders
    module, topic = importlib.import_module(f"tangled.{package}.benchmark"), int(package[1:3])
    known, results, names = recorded(topic), [], []
    for ladder in module.ladders():
        names.append(ladder.name)
        if options.only and options.only not in ladder.name:
            continue
        results.append(measure(ladder, options.budget))
        print("\n" + "\n".join(beside(topic, results[-1], known.get(ladder.name))), flush=True)
    if options.record and results:
        store_ladders(topic, results, keep=names)
        print(f"golden/records/t{topic:02d}.json: {len(results)} of {len(names)} ladders", flush=True)
    if hasattr(module, "asides") and options.only in (None, "asides"):
        aside(topic, module.asides(), options.record)
    return [{"topic": topic} | result.as_dict() for result in results]


def aside(topic: int, values: dict, store: bool) -> None:
    """Print the numbers that are no ladder, beside the record's, and store them if that is wanted."""
    from tangled.recording import read, store_run
    known = read(topic)["runs"].get("asides", {}).get("values", {})
    print(f"\n{topic:02d}  asides")
    for name, value in values.items():
        print(f"{name}: {value:.4g}" + (f"   (record: {known[name]:.4g})" if name in known else ""))
    if store:
        store_run(topic, "asides", values=values, modules=["benchmark"])


def write(found: list[dict]) -> None:
    """build/bench.json."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
