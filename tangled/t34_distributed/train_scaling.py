# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:3bc4af9c42fbcd4c
"""Mini-GPTs of five sizes on the plays: python -m tangled.t34_distributed.train_scaling --help"""

import argparse
import os
import sys

from tangled.data import load_shakespeare
from tangled.records import store_run
from tangled.t30_mini_gpt import evaluate
from tangled.t30_mini_gpt.training import SETTINGS, train
from tangled.t34_distributed.laws import fit_power_law

WIDTHS, STEPS = (12, 20, 32, 52, 84), 1500


def settings_of(width):
    """What a run of this width is trained with; all see the same characters."""
    return SETTINGS | {"width": width, "heads": 2, "layers": 2, "batch": 8, "warmup": 50, "threads": 1,
                       "lr": 0.03 / width**0.5}


def main(argv=None):
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description="Train five sizes and fit a power law; resumes by itself.")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each (default {STEPS})")
    parser.add_argument("--record", action="store_true", help="write golden/records/t34.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    given = parser.parse_args(argv)
    text, runs, curves = load_shakespeare(), [], {}
    for width in WIDTHS:
        path = f"{given.folder}/scaling-{width}-{given.steps}.npz"
        run = train(text, settings_of(width), given.steps, path=path, progress=True)
        size = sum(p.data.size for p in run.runner.model.parameters)
        loss = evaluate(run.runner, run.held)
        runs.append({"width": width, "size": size, "loss": loss, "seconds": run.seconds})
        curves[f"width {width}"] = run.curves["held"]
        print(f"width {width}: {size:,} numbers, {loss:.4f} nats a character in {run.seconds:.0f} s", flush=True)
    sizes, losses = ([run[key] for run in runs] for key in ("size", "loss"))
    scale, exponent = fit_power_law(sizes[:-1], losses[:-1])
    predicted = scale * sizes[-1]**-exponent
    print(f"loss = {scale:.3f} N^-{exponent:.4f} of the first four; the fifth: {predicted:.4f} predicted, "
          f"{losses[-1]:.4f} trained")
    if given.record:
        store_run(34, "train_scaling", seconds=sum(run["seconds"] for run in runs), curves=curves,
                  values={"runs": runs, "scale": scale, "exponent": exponent, "predicted": predicted,
                          "steps": given.steps, "characters": given.steps * 8 * 64})
    return 0


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "tangled.t34_distributed.train_scaling", *sys.argv[1:]])
    raise SystemExit(main())
