# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:54cc2599a1acb0a2
"""Gradient norms by depth: python -m tangled.t14_resnet.gradient_norms. With --record they are kept."""

import argparse
import time

import numpy as np

from tangled.records import store_run
from tangled.t14_resnet.experiments import KINDS, gradient_ratio

DEPTHS, SEEDS = (8, 14, 20, 26, 32, 38, 44, 50), (0, 1, 2)


def main(argv=None):
    """Measure, print, and store if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write golden/records/t14.json")
    options, start, curves = parser.parse_args(argv), time.perf_counter(), {}
    for kind in KINDS:                                          # geometric means over seeds
        ratios = [[gradient_ratio(kind, depth, np.random.default_rng(seed)) for seed in SEEDS] for depth in DEPTHS]
        curves[kind] = [float(np.exp(np.mean(np.log(row)))) for row in ratios]
        print(f"{kind:20s}", " ".join(f"{ratio:9.2e}" for ratio in curves[kind]), flush=True)
    if options.record:
        store_run(14, "gradient_norms", values={"depths": DEPTHS, "seeds": len(SEEDS)}, curves=curves,
                  seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
