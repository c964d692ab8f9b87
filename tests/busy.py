"""Tests that measure, beside busy loops: `python tests/busy.py [--topics 1,9] [--runs 20] [--loops 2] [--level 2]`.

Starts `loops` endless loops for each core, runs each topic's tests marked `performance` so many times, ends the
loops, and says how many passed, failed and were not measured. Exit status 1 where one failed. `--all` runs every
test of the topics, not only those that measure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOOP = "import os, time\nend = time.monotonic() + 3600\nwhile time.monotonic() < end and os.getppid() != 1: pass"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--topics", help="such as 1,9; default: all")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--loops", type=int, default=2, help="for each core")
    parser.add_argument("--level", default="2")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    packages = sorted(p.parent.name for p in ROOT.glob("tangled/t[0-9][0-9]_*/tests"))
    if options.topics:
        packages = [p for p in packages if int(p[1:3]) in map(int, options.topics.split(","))]
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(options.loops * (os.cpu_count() or 1))]
    try:
        return max([one(package, options) for package in packages], default=1)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def one(package: str, options) -> int:
    """Some runs of a topic: 1 where a test failed."""
    total, failed, whys = Counter(), Counter(), Counter()
    marks = [] if options.all else ["-m", "performance"]
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results.jsonl"
            command = [sys.executable, "-m", "pytest", f"tangled/{package}", "--level", options.level, *marks,
                       "-p", "no:cacheprovider", "--results", str(results)]
            subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
            records = [json.loads(x).get("test") for x in results.read_text().splitlines()]
        for record in filter(None, records):
            total[record["outcome"]] += 1
            if record["outcome"] == "failed":
                failed[f"{record['name']}: {' '.join(record['lines'])[:150]}"] += 1
            elif record["outcome"] == "unmeasured":
                whys[record["name"]] += 1
    print(f"{package}: {options.runs} runs, {dict(total)}", flush=True)
    for name, count in [*failed.most_common(), *((f"not measured: {n}", c) for n, c in whys.most_common())]:
        print(f"    {count} x {name}", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
