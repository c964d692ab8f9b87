# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:96b861e007bb5d7f
"""Times of all-reduce between processes: python -m tangled.t34_distributed.train_costs --help"""

import argparse
import os
import time

import numpy as np

from tangled.records import store_run
from tangled.t34_distributed import level3_memory_efficient as level3
from tangled.t34_distributed.laws import fit_cost, ring_seconds, tree_seconds
from tangled.t34_distributed.local import spawn

NUMBERS = (2, 64, 1024, 8192, 65536, 1 << 18, 1 << 20, 1 << 22)
OPS = {"ring": (level3.ring_all_reduce, ring_seconds), "tree": (level3.tree_all_reduce, tree_seconds)}
BUDGET, LEAST, MOST = 0.6, 15, 300                               # seconds, and calls, for each size


def timed(group, numbers):
    """{op: [median seconds of a call for each size]}, by the clock on the wall of this rank."""
    found = {}
    for name, (op, _) in OPS.items():
        found[name] = []
        for n in numbers:
            x, times = np.zeros(n, np.float32), []
            for _ in range(3):
                op(group, x, out=x)
            rounds = np.array([0.0])
            if group.rank == 0:
                begun = time.perf_counter()
                op(group, x, out=x)
                rounds[0] = np.clip(BUDGET / (time.perf_counter() - begun), LEAST, MOST)
            else:
                op(group, x, out=x)
            level3.broadcast(group, rounds)                     # as many on every rank
            for _ in range(int(rounds[0])):
                group.barrier()
                begun = time.perf_counter()
                op(group, x, out=x)
                times.append(time.perf_counter() - begun)
            found[name].append(float(np.median(times)))
    return found


def main(argv=None):
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description="Measure all-reduce between 2 and 4 processes, and fit its cost.")
    parser.add_argument("--record", action="store_true", help="write golden/records/t34.json")
    given = parser.parse_args(argv)
    values, begun = {"bytes": [4 * n for n in NUMBERS], "cores": os.cpu_count()}, time.monotonic()
    for way in ("memory", "sockets"):
        for ranks in (2, 4):
            times = spawn(ranks, "tangled.t34_distributed.train_costs:timed", {"numbers": list(NUMBERS)}, 60.0, 300.0,
                          way)[0]
            for name, (_, seconds) in OPS.items():
                alpha, beta = fit_cost(seconds, values["bytes"], ranks, times[name])
                values[f"{name}, {ranks} ranks, {way}"] = {"times": times[name], "alpha": alpha, "beta": beta}
                print(f"{name}, {ranks} ranks, {way}: {1e6 * alpha:.0f} us a message, {1e-9 / beta:.2f} GB/s",
                      flush=True)
    if given.record:
        store_run(34, "train_costs", values=values, seconds=time.monotonic() - begun)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    raise SystemExit(main())
