# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:623e241f19770c87
"""Recipes against overfitting, several seeds of each: make train TOPIC=8. With --record it is kept."""

import argparse
import time

import numpy as np

from tangled.records import store_run
from tangled.t08_regularization.experiments import RECIPES, Run

BINS = np.arange(-0.2025, 0.2075, 0.005)                        # of the first layer's weights


def outcome(seeds, epochs, say=print):
    """(values, curves) of all recipes."""
    values = {"train": {}, "test": {}, "zeros": {}, "weights": {}, "bins": BINS.tolist()}
    curves = {}
    for recipe in RECIPES:
        runs, name = [Run(recipe, seed, epochs) for seed in range(seeds)], recipe.name
        values["train"][name], values["test"][name] = ([getattr(r, what) for r in runs]
                                                       for what in ("train", "test"))
        weights = runs[0].first.weight.data                     # (784, 128)
        values["zeros"][name] = float(np.mean(weights == 0))
        values["weights"][name] = np.histogram(weights, BINS)[0].tolist()
        curves[name] = runs[0].history["validation_loss"]
        if recipe.patience:
            values["best epoch"], values["last epoch"] = runs[0].stopper.best_step, len(curves[name]) - 1
        say(f"{name:15s} train {np.mean(values['train'][name]):.3f}  test {np.mean(values['test'][name]):.3f}")
    return values, curves


def main(argv=None):
    """Run it, print a line for each recipe, and store it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="default 5")
    parser.add_argument("--epochs", type=int, default=40, help="default 40")
    parser.add_argument("--record", action="store_true", help="write golden/records/t08.json")
    given, start = parser.parse_args(argv), time.perf_counter()
    for name in ("seeds", "epochs"):
        if getattr(given, name) < 1:
            parser.error(f"{name} = {getattr(given, name)}; expected at least 1")
    values, curves = outcome(given.seeds, given.epochs)
    if given.record:
        store_run(8, "train_recipes", values=values, curves=curves, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
