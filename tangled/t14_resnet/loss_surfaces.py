# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:3ec4fdc8efe194ec
"""Loss surfaces, plain and residual: python -m tangled.t14_resnet.loss_surfaces. With --record kept."""

import argparse
import time

import numpy as np

from tangled.records import store_run
from tangled.t14_resnet.experiments import network, small_emoji, surface, train

POINTS = [float(a) for a in np.linspace(-1, 1, 21).round(2)]


def main(argv=None):
    """Train both networks, walk around them, print, and store if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write golden/records/t14.json")
    parser.add_argument("--steps", type=int, default=200)
    options, start = parser.parse_args(argv), time.perf_counter()
    data, values, curves = small_emoji(1024), {"points": POINTS}, {}
    for name in ("plain", "residual"):
        net = network(name == "residual")
        curves[f"loss, {name}"] = train(net, data, options.steps)
        values[name] = surface(net, tuple(part[:96] for part in data), POINTS).round(4).tolist()
        grid = np.array(values[name])
        print(f"{name:9s} loss {curves[f'loss, {name}'][-20:].mean():.3f}, surface {grid.min():.2f} to "
              f"{grid.max():.2f}", flush=True)
    if options.record:
        store_run(14, "loss_surfaces", values=values, curves=curves, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
