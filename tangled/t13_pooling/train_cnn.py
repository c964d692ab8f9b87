# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:85d1c10db19e34cc
"""A convolutional network on MNIST and on clothing: python -m tangled.t13_pooling.train_cnn --help"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from tangled.records import store_run
from tangled.t10_mnist import level3_memory_efficient as mnist
from tangled.t13_pooling.training import DATA, FASHION, SETTINGS, experiment, study


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a small convolutional network.")
    parser.add_argument("--data", choices=list(DATA), default="mnist")
    parser.add_argument("--samples", type=int, help="the first N training pictures; default all")
    parser.add_argument("--epochs", type=int, help=f"default {SETTINGS['epochs']}, fashion {FASHION['epochs']}")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order; default 0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="for --record")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run left off")
    parser.add_argument("--validate", action="store_true", help="hold the last sixth of the training pictures out, "
                        "judge by them, leave the test alone")
    parser.add_argument("--record", action="store_true", help="every run that the chapter quotes, both sets, without "
                        "checkpoints; writes golden/records/t13.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_cnn.png", help="the figure")
    given = parser.parse_args(argv)
    for name, least in (("samples", 1), ("epochs", 1), ("seed", 0)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise ValueError(f"{name} = {value}; expected at least {least}")
    return given


def settings_of(given, count):
    """All settings of a run, for a training set of `count` pictures."""
    held = count // 6 if given.validate else 0
    chosen = (FASHION if given.data == "fashion" else {}) | {"data": given.data, "seed": given.seed, "held_out": held}
    chosen |= {name: getattr(given, name) for name in ("samples", "epochs") if getattr(given, name)}
    settings = SETTINGS | chosen
    if given.samples is not None and given.samples > count - held:
        raise ValueError(f"samples = {given.samples}; expected at most {count - held}")
    return settings | {"samples": min(settings["samples"], count - held)}


def checkpoint(given, settings):
    """The path of these settings' checkpoint; one that is there is set aside, except to resume."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    path = Path(given.folder) / f"cnn-{settings['data']}-{digest}.npz"
    if path.exists() and not given.resume:
        free = next(name for k in range(1, 10_000) if not (name := path.with_name(f"{path.stem}.old-{k}.npz")).exists())
        path.rename(free)
        print(f"{path} set aside as {free.name} (--resume goes on from it)")
    if given.resume:
        done = len(mnist.load_checkpoint(path).record["history"]["loss"]) if path.exists() else 0
        print(f"{path}: {done} of {settings['epochs']} epochs are done" if done else f"{path}: nothing to resume")
    return path


def perform(given):
    """One run, what it found, and a figure."""
    load = DATA[given.data]
    pictures = load("train")
    settings = settings_of(given, len(pictures[0]))
    test = tuple(a[-settings["held_out"]:] for a in pictures) if given.validate else load("test")
    run = experiment(pictures, test, checkpoint(given, settings), progress=True, watch=True, **settings)
    print(f"{given.data}, {settings['samples']:,} pictures, seed {given.seed}: {100 * run.accuracy:.2f} % of "
          f"{len(run.target):,} {'held-out' if given.validate else 'test'} pictures right, {run.seconds:.1f} s")
    save(given.out, run, given.data)


def save(out, run, data):
    """Draw the confusions of a run, and save to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.data import FASHION_CLASSES
    from tangled.t13_pooling import visualization
    counts = mnist.confusion_matrix(run.target, run.said, 10)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure = visualization.draw_confusion(counts, FASHION_CLASSES if data == "fashion" else None)
    figure.savefig(out, dpi=150, bbox_inches="tight")
    print(f"saved {out}")


def main(argv=None):
    """The command; the exit status."""
    folder = "."
    try:
        given = parse(argv)
        folder = given.folder
        if given.record:
            start = time.perf_counter()
            values, curves = study(given.seeds, given.samples, given.epochs)
            store_run(13, "train_cnn", values=values, curves=curves, seconds=time.perf_counter() - start)
        else:
            perform(given)
    except KeyboardInterrupt:
        print(f"\ninterrupted: whole epochs are in {folder}; the same command with --resume goes on from there")
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def one_thread():
    """Start anew with one thread for BLAS, which must know before NumPy is imported."""
    names = [f"{library}_NUM_THREADS" for library in ("OPENBLAS", "OMP", "MKL")]
    if __spec__ and os.name == "posix" and not any(name in os.environ for name in names):
        os.environ.update(dict.fromkeys(names, "1"))
        os.execv(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]])


if __name__ == "__main__":
    one_thread()
    raise SystemExit(main())
