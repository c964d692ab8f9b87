# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:785fe81b8a2cd34d
"""Silent units, gradients by depth, prices of idioms: make train TOPIC=7. With --record they are kept."""

import argparse
import time

import numpy as np

from tangled.data import load_fashion_mnist
from tangled.records import store_run
from tangled.t07_activations import ELU, GELU, SELU, LeakyReLU, Mish, ReLU, Sigmoid, SiLU, Tanh
from tangled.t07_activations.experiments import count_silent, gradient_flow, price_of_a_branch

ROOT2 = 2 ** 0.5
FLOWS = {"ReLU": (ReLU, ROOT2), "leaky ReLU": (LeakyReLU, ROOT2), "ELU": (ELU, ROOT2), "SELU": (SELU, 1.0),
         "tanh": (Tanh, 1.0), "Mish": (Mish, ROOT2), "GELU": (GELU, ROOT2), "SiLU": (SiLU, ROOT2),
         "sigmoid": (Sigmoid, 1.0)}
UNITS = {"ReLU": ReLU, "leaky 0.01": LeakyReLU, "ELU": ELU, "GELU": GELU, "SiLU": SiLU}


def main(argv=None):
    """Count silent units, follow gradients, time a few idioms; print, and store if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write golden/records/t07.json")
    options = parser.parse_args(argv)
    start, (x, y) = time.perf_counter(), load_fashion_mnist("train")
    x, y = x[:1000].reshape(1000, -1).astype(np.float32) / 255, y[:1000].astype(int)
    values, curves = {"silent": {}, "right": {}, "pushed": {}}, {}
    for rate in ("0.1", "0.2", "0.3", "0.5"):
        counts, _, right = count_silent(ReLU, x, y, float(rate))
        curves[f"silent, rate {rate}"], values["right"][rate] = counts, right
        values["silent"][rate] = [counts[1], counts[-1]]
        print(f"rate {rate}: {counts[-1]} of 200 units silent, {right:.0%} right")
    for name, make in UNITS.items():
        counts, moved, _ = count_silent(make, x, y, 0.1, pushed=-4.0)
        curves[f"moved, {name}"], values["pushed"][name] = moved, counts[-1]
        print(f"{name:10s} weights moved by {moved[-1]:.1%}, {counts[-1]} units still silent")
    for name, (make, gain) in FLOWS.items():
        curves[f"flow, {name}"] = np.maximum(gradient_flow(make, gain), 1e-12)
    values["ratios"] = price_of_a_branch()
    for name, ratio in values["ratios"].items():
        print(f"{name:40s} {ratio:6.1f}")
    if options.record:
        store_run(7, "train_silent", values=values, curves=curves, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
