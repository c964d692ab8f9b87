# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:2ed7ad5df36a8b23
"""One head, two and four on the task of two symbols: make train TOPIC=26. With --record it is kept."""

import argparse
import time

import numpy as np

from tangled.records import store_run
from tangled.t26_multi_head_attention.experiments import STEPS, SYMBOLS, patterns, scores_of, train

HEADS = (1, 2, 4)


def main(argv=None):
    """Train all, print a line for each, and store the outcome if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="of Adam, for each number of heads")
    parser.add_argument("--record", action="store_true", help="write golden/records/t26.json")
    options = parser.parse_args(argv)
    start, curves, arrays = time.perf_counter(), {}, {}
    values = {"symbols": SYMBOLS, "steps": options.steps}
    for heads in HEADS:
        layer, last, losses = train(heads, options.steps)
        values[f"accuracy, H = {heads}"], values[f"losses, H = {heads}"] = scores_of(layer, last)
        curves[f"loss, H = {heads}"] = losses.reshape(-1, 10).mean(1)
        arrays[f"h{heads}"] = patterns(layer).astype(np.float16)
        print(f"{heads} heads: loss {losses[-50:].mean():.3f}, right", np.round(values[f"accuracy, H = {heads}"], 3),
              "losses", np.round(values[f"losses, H = {heads}"], 3))
    seconds = time.perf_counter() - start
    print(f"{seconds:.0f} s")
    if options.record:
        store_run(26, "train_two_back", values=values, curves=curves, seconds=seconds, arrays={"patterns": arrays})


if __name__ == "__main__":
    main()
