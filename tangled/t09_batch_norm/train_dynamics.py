# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:ec47b2bea6692ad8
"""With and without batch norm, over rates and batch sizes: make train TOPIC=9. With --record they are kept."""

import argparse
import time

import numpy as np

from tangled.records import store_run
from tangled.t09_batch_norm.experiments import clothing, losses_of, noise_of, train

NAMES = {False: "plain", True: "batch norm"}
RATES = [float(rate) for rate in np.geomspace(0.01, 10, 9).round(4)]
SIZES, NOISE = (4, 8, 16, 32, 64, 128), (2, 4, 8, 16, 32, 64, 128, 256)
TOP = 10.0                                                      # a loss above it, or none, is drawn there


def two_rates(data):
    """Mean of the last ten of 120 losses, at learning rates 0.1 and 1: {name: number or None}."""
    found = {f"{NAMES[norm]}, rate {lr:g}": train(data, norm, lr, 120).last()
             for lr in (0.1, 1.0) for norm in (False, True)}
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def dynamics(data, lr=0.1, steps=240, gain=0.5):
    """Curves: losses at Kaiming's scale and at `gain` times it; deviations of layers at the latter."""
    curves = {}
    for norm, name in NAMES.items():
        for scale in (1.0, gain):
            run = train(data, norm, lr, steps, gain=scale)
            curves[f"loss, {name}, x {scale:g}"] = np.convolve(run.losses, np.ones(9) / 9, "valid")
        for layer in (0, 2, 4, 6):                              # of the run at `gain`
            curves[f"deviation, {name}, layer {layer + 1}"] = run.spread[:, layer]
    return curves


def sensitivity(data, steps=80, seeds=(0, 1)):
    """{name: final losses (seeds, rates)}: mean of the last 20 losses, at most TOP."""
    final = lambda *run, **more: min(train(*run, **more).last(20), TOP)
    return {name: [[final(data, norm, lr, steps, seed=seed) for lr in RATES] for seed in seeds]
            for norm, name in NAMES.items()}


def drift(data, unseen, lr=0.05, steps=200):
    """Losses on unseen data by batch size: in training mode, in evaluation mode."""
    pairs = [losses_of(train(data, True, lr, steps, batch=size).model, unseen, size) for size in SIZES]
    return dict(zip(("training mode", "evaluation mode"), map(list, zip(*pairs))))


def main(argv=None):
    """Run all, print a summary, and store it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write golden/records/t09.json")
    options = parser.parse_args(argv)
    start, data = time.perf_counter(), clothing(2000)
    values = {"two rates": two_rates(data), "rates": RATES, "sensitivity": sensitivity(data),
              "sizes": SIZES, "drift": drift(data, clothing(1000, "test")),
              "noise sizes": NOISE, "noise": [noise_of(size) for size in NOISE]}
    curves = dynamics(data)
    seconds = time.perf_counter() - start
    for name in ("two rates", "sensitivity", "drift"):
        for key, numbers in values[name].items():
            print(f"{name}: {key:22s}", np.round(np.array(numbers, float), 3).tolist())
    print(f"{seconds:.0f} s")
    if options.record:
        store_run(9, "train_dynamics", values=values, curves=curves, seconds=seconds)


if __name__ == "__main__":
    main()
