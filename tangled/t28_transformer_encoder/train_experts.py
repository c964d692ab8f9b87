# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:5a920825c23636ef
"""Experts with and without a balance loss: make train TOPIC=28. With --record it is kept."""

import argparse
import time

import numpy as np

from tangled.records import store_run
from tangled.t28_transformer_encoder.experiments import EXPERTS, train_experts

WEIGHTS = {"plain": 0.0, "balanced": 0.01, "strict": 0.1}       # of the balance loss


def main(argv=None):
    """Train with each weight for each seed, print their means, and store them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=EXPERTS["steps"], help="of Adam")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--record", action="store_true", help="write golden/records/t28.json")
    options = parser.parse_args(argv)
    start, values = time.perf_counter(), EXPERTS | {"steps": options.steps, "seeds": options.seeds, "weights": WEIGHTS}
    for name, weight in WEIGHTS.items():
        found = [train_experts(weight, seed, {"steps": options.steps}) for seed in options.seeds]
        values[name] = {key: float(np.mean([f[key] for f in found])) for key in found[0]}
        print(name, {key: round(value, 3) for key, value in values[name].items()}, flush=True)
        values[name]["dropped by seed"] = [f["dropped"] for f in found]
    if options.record:
        store_run(28, "train_experts", values=values, curves={}, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
