# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:5415369939c930ac
"""Digits as sentences of patches: python -m tangled.t28_transformer_encoder.train_vit --help"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

from tangled.data import load_mnist
from tangled.records import store_run
from tangled.t28_transformer_encoder.experiments import KINDS, SETTINGS, accuracy, by_shift, train

ASKED = 2_000                                                   # test pictures that are moved


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a small vision transformer; resumes by itself.")
    parser.add_argument("--kind", choices=KINDS, default="vit",
                        help="set: a ViT without positions; moved: one whose pictures are moved at every epoch")
    for name in ("samples", "epochs", "seed", "patch", "layers"):
        parser.add_argument("--" + name, type=int, default=SETTINGS[name], help=f"default {SETTINGS[name]}")
    parser.add_argument("--fresh", action="store_true", help="begin anew; an older checkpoint is overwritten")
    parser.add_argument("--record", action="store_true", help="all four, no checkpoints; golden/records/t28.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_vit.png", help="the figure")
    given = parser.parse_args(argv)
    for name in ("samples", "epochs", "patch", "layers"):
        if getattr(given, name) < 1:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least 1")
    return given


def checkpoint(given, settings):
    """The path of these settings' checkpoint."""
    digest = hashlib.sha256(json.dumps([given.kind, settings], sort_keys=True).encode()).hexdigest()[:8]
    path = Path(given.folder) / f"digits-{given.kind}-{digest}.npz"
    if given.fresh:
        path.unlink(missing_ok=True)
    return path


def perform(given):
    """Train, say what came of it, and draw it; or all four, for the record."""
    settings = {name: getattr(given, name) for name in ("samples", "epochs", "seed", "patch", "layers")}
    training, test, start = load_mnist("train"), load_mnist("test"), time.perf_counter()
    runs, shares, moved = {}, {}, {}
    for kind in KINDS if given.record else [given.kind]:
        path = None if given.record else checkpoint(given, settings)
        runs[kind] = train(kind, training, settings, path, progress=True)
        shares[kind] = accuracy(runs[kind], test)
        moved[kind] = by_shift(runs[kind], [array[:ASKED] for array in test])
        print(f"{kind}: {100 * shares[kind]:.2f} % of {len(test[1]):,} test pictures right, "
              f"{runs[kind].seconds:.1f} s", flush=True)
    if given.record:
        values = {"settings": SETTINGS | settings, "asked": ASKED, "accuracy": shares, "shifted": moved,
                  "parameters": sum(p.data.size for p in runs["vit"].model.parameters()),
                  "seconds": {kind: run.seconds for kind, run in runs.items()}}
        store_run(28, "train_vit", values=values, curves=curves_of(runs), seconds=time.perf_counter() - start)
    else:
        save(given.out, runs, moved)


def curves_of(runs):
    """{"vit accuracy": ..., ...} by epoch."""
    return {f"{kind} {key}": values for kind, run in runs.items() for key, values in run.history.items()}


def save(out, runs, moved):
    """Draw curves and what moved pictures cost, and save to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.t28_transformer_encoder.visualization import draw_vit
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    draw_vit(curves_of(runs), moved).savefig(out, dpi=150, bbox_inches="tight")
    print(f"saved {out}")


def main(argv=None):
    """The command; the exit status."""
    try:
        perform(parse(argv))
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last whole epoch")
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
