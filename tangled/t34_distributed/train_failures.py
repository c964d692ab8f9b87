# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:e6dd0e329eb20b52
"""A hundred runs that fail: python -m tangled.t34_distributed.train_failures --help"""

import argparse
import collections
import os
import sys
import time
from pathlib import Path

import numpy as np

from tangled.records import store_run
from tangled.t34_distributed.local import WorkerError, spawn
from tangled.t34_distributed.training import SETTINGS

SMALL = SETTINGS | {"width": 8, "layers": 1, "context": 8, "batch": 6, "steps": 12, "every": 1000}
SAYS = {"killed": "was killed by signal 9", "stalled": "has stalled", "raises": "raised FloatingPointError"}
SECONDS, LIMIT = 2.0, 60.0                                      # a rank waits; the run takes


def trial(number):
    """One run of 2 or 3 ranks with a fault: (how, was the line right, seconds, what was left behind)."""
    rng = np.random.default_rng([34, number])
    how, ranks = list(SAYS)[number % 3], 2 + number % 2
    fault = {"how": how, "rank": int(rng.integers(ranks)), "step": int(rng.integers(1, 11)), "seconds": LIMIT}
    before, begun, line = belongings(), time.monotonic(), ""
    try:
        spawn(ranks, "tangled.t34_distributed.training:work",
              {"settings": SMALL, "symbols": 4000, "fault": fault}, SECONDS, LIMIT)
    except WorkerError as error:
        line = str(error)
    seconds = time.monotonic() - begun
    right = line.startswith(f"rank {fault['rank']} {SAYS[how]}") and "\n" not in line and seconds < LIMIT
    left = len(belongings() - before)
    return how, right, seconds, left, line


def belongings():
    """What this process has: children, open files and memory; a set (Linux)."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not children.exists():
        return set()
    return {f"child {pid}" for pid in children.read_text().split()} | {
        f"file {number}" for number in os.listdir("/proc/self/fd")}


def main(argv=None):
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description="Runs in which a worker is killed, stalls or raises.")
    parser.add_argument("--trials", type=int, default=100, help="default 100")
    parser.add_argument("--record", action="store_true", help="write golden/records/t34.json")
    given = parser.parse_args(argv)
    right, longest, left, begun = collections.Counter(), collections.defaultdict(float), 0, time.monotonic()
    for number in range(given.trials):
        how, good, seconds, behind, line = trial(number)
        right[how] += good
        longest[how], left = max(longest[how], seconds), left + behind
        if not good or behind:
            print(f"trial {number} ({how}): {line or 'no error'}; left behind: {behind}", file=sys.stderr)
    wanted = collections.Counter(list(SAYS)[k % 3] for k in range(given.trials))
    print(f"{sum(right.values())} of {given.trials} runs ended with the right line, {left} things left behind; "
          f"longest: {', '.join(f'{how} {s:.1f} s' for how, s in longest.items())}")
    if given.record:
        store_run(34, "train_failures", seconds=time.monotonic() - begun, values={
            "trials": given.trials, "right": dict(right), "wanted": dict(wanted), "longest": dict(longest),
            "left": left, "waits": SECONDS, "limit": LIMIT})
    return int(right != wanted or left > 0)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    raise SystemExit(main())
