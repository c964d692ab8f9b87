# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:a45328b68da7652b
"""Three recurrent cells on nine plays: python -m tangled.t20_gru.train_cells --help"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from tangled.data import load_shakespeare
from tangled.records import store_run
from tangled.t18_rnn.experiments import generate
from tangled.t20_gru.experiments import RATES, train_cells

BATCH, WINDOW = 32, 64


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train RNN, LSTM and GRU in turns; resumes by itself.")
    for name, default in (("steps", 1500), ("hidden", 128), ("seed", 0), ("characters", 10 ** 9)):
        parser.add_argument("--" + name, type=int, default=default, help=f"default {default}")
    parser.add_argument("--lr", type=float, help="learning rate of all; default: each cell's own")
    parser.add_argument("--fresh", action="store_true", help="start anew; an old checkpoint is removed")
    parser.add_argument("--record", action="store_true", help="write golden/records/t20.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_cells.png", help="the figure")
    given = parser.parse_args(argv)
    for name, low in (("steps", 1), ("hidden", 1), ("characters", 1), ("seed", 0)):
        if getattr(given, name) < low:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least {low}")
    if given.lr is not None and not 0 < given.lr < float("inf"):
        raise ValueError(f"lr = {given.lr}; expected a positive number")
    return given


def perform(given):
    """Train, print a table, draw the curves, and record them if asked."""
    from tangled.t20_gru.visualization import draw_losses
    text, start = load_shakespeare()[:given.characters], time.perf_counter()
    settings = {name: getattr(given, name) for name in ("steps", "hidden", "seed", "characters", "lr")}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    path = None if given.record else Path(given.folder) / f"cells-{digest}.npz"
    if given.fresh and path is not None:
        path.unlink(missing_ok=True)
    options = {name: value for name, value in settings.items() if name != "characters"}
    field, tokens = train_cells(text, path=path, progress=True, batch=BATCH, window=WINDOW, **options)
    rows = {name: summary(racer) for name, racer in field.items()}
    for name, row in rows.items():
        print(f"{name:14s} H {row['hidden']:4d} {row['parameters']:8,d} parameters: {row['held']:.3f} nats a letter "
              f"after {row['seconds']:.0f} s, {row['tokens']:,.0f} letters a second")
    best = min(rows, key=lambda name: rows[name]["held"])
    sample = generate(field[best].model, tokens, "\n", 320, 0.7, np.random.default_rng(1))
    print(f"--- {best}\n{sample}")
    curves = {f"{name}/{key}": values for name, racer in field.items() for key, values in racer.curves.items()}
    draw_losses(curves, out=given.out)
    if given.record:
        values = {"rows": rows, "best": best, "sample": sample, "settings": settings | {"lr": given.lr or RATES}}
        store_run(20, "train_cells", values=values, curves=curves, seconds=time.perf_counter() - start)


def summary(racer):
    """What the table of the chapter says of one."""
    seconds, steps = racer.curves["seconds"][-1], racer.curves["step"][-1]
    return {"hidden": racer.model.rnn.H, "parameters": sum(p.data.size for p in racer.model.parameters()),
            "held": racer.curves["held"][-1], "loss": racer.curves["loss"][-1], "seconds": seconds,
            "tokens": steps * BATCH * WINDOW / seconds}


def main(argv=None):
    """The command; the exit status."""
    try:
        perform(parse(argv))
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last checkpoint")
        return 130
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
