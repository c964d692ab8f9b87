# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:7302b64c5a635469
"""What appendix A says of clocks and of growth: python -m tangled.clocks --record"""
import sys
import time

import numpy as np

from tangled.measuring import growth_exponent
from tangled.records import store_run

SIZES = 512, 1024, 2048


def problem(n):
    """Random numbers (n,)."""
    return np.random.default_rng(0).standard_normal(n)


def pairs(n):
    """The sum of all distances |x_i - x_j|, from all pairs (n, n)."""
    x = problem(n)
    return lambda: np.abs(x[:, None] - x).sum()


def ordered(n):
    """The same sum, each pair once, from the sorted numbers (n,)."""
    x = problem(n)
    return lambda: np.sort(x) @ (2.0 * np.arange(n) - n + 1.0)


def repeated(rounds=200):
    """Times of four products of one matrix (120, 120) by itself, by the clock on the wall."""
    a = np.random.default_rng(3).standard_normal((120, 120))
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(4):
            a @ a
        found.append(time.perf_counter() - start)
    return found


def main(argv):
    """Measure, print, and store with --record."""
    growth = {f"{f.__name__} {what}": growth_exponent(f, SIZES, what)
              for f in (pairs, ordered) for what in ("time", "memory")}
    times = repeated()
    print(growth, f"largest / fastest time {max(times) / min(times):.2f}")
    if "--record" in argv:
        store_run("a", "clocks", values=growth, curves={"times": times})


if __name__ == "__main__":
    main(sys.argv[1:])
