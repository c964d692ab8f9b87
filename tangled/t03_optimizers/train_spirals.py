# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:fa2bc35a71892fa1
"""Two spirals, four rules: python -m tangled.t03_optimizers.train_spirals [--steps 1500] [--record]"""

import argparse
import time

from tangled.records import store_run
from tangled.t03_optimizers.experiments import spiral_losses

RUNS = (("SGD", 0.2), ("Momentum", 0.05), ("RMSProp", 0.001), ("Adam", 0.01))


def main(argv=None):
    """The command: the loss of each rule, printed, and stored with --record."""
    parser = argparse.ArgumentParser(description="Tell two spirals apart, by four rules.")
    parser.add_argument("--steps", type=int, default=1500, help="updates, a multiple of 20 (default 1500)")
    parser.add_argument("--record", action="store_true", help="store in golden/records/")
    given, start, curves = parser.parse_args(argv), time.perf_counter(), {}
    for k, (name, lr) in enumerate(RUNS, 1):
        losses = spiral_losses(name, lr, given.steps)
        curves[f"{name}, {lr}"] = losses[:given.steps // 20 * 20].reshape(-1, 20).mean(1)
        print(f"[{'#' * 6 * k:-<24}] {name:9s} lr {lr:<6}  loss {losses[-1]:.2e}", flush=True)
    if given.record:
        store_run(3, "train_spirals", values={"steps": given.steps}, curves=curves,
                  seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
