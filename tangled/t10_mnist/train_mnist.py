# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:b504cefa780e7d4f
"""A network on MNIST: python -m tangled.t10_mnist.train_mnist --help"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from tangled.measuring import torch_available
from tangled.records import store_run
from tangled.t10_mnist import level3_memory_efficient as level
from tangled.t10_mnist.experiments import SETTINGS, experiment, load, study, worst


def path_of(folder, settings):
    """Where the checkpoint of these settings lives."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return Path(folder) / f"mnist-{settings['samples']}-{digest}.npz"


def set_aside(path):
    """Rename a checkpoint, so that a fresh start overwrites nothing."""
    if path.exists():
        free = next(name for k in range(1, 10_000)
                    if not (name := path.with_name(f"{path.stem}.old-{k}.npz")).exists())
        path.rename(free)
        print(f"{path} set aside as {free.name}")


def epochs_in(path):
    """How many epochs a checkpoint has done; 0 if there is none."""
    if not path.exists():
        return 0
    try:
        return len(level.load_checkpoint(path).record["history"]["loss"])
    except (ValueError, KeyError) as broken:
        raise ValueError(f"{broken} (--fresh sets it aside)") from None


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a network on MNIST; resumes by itself.")
    parser.add_argument("--samples", type=int, help="the first N pictures (default 1000, then 60000)")
    for name in ("epochs", "batch", "lr", "weight_decay", "dropout", "seed"):
        default = SETTINGS[name]
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default,
                            help=f"default {default}")
    parser.add_argument("--validate", action="store_true", help="train on the first 50,000 at "
                        "most, judge by the last 10,000 training pictures, leave the test alone")
    parser.add_argument("--fresh", action="store_true", help="start anew; old checkpoints are "
                        "set aside, not deleted")
    parser.add_argument("--record", action="store_true", help="run every experiment of the chapter, "
                        "without checkpoints, and write golden/records/t10.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_mnist.png", help="the figure")
    given = parser.parse_args(argv)
    for name, good, what in (("epochs", given.epochs > 0, "at least 1"), ("seed", given.seed >= 0,
                             "at least 0"), ("dropout", 0 <= given.dropout < 1, "from 0 to below 1")):
        if not good:
            raise ValueError(f"{name} = {getattr(given, name)}; expected {what}")
    return given


def run(given, samples, training, test):
    """One experiment of the command, with what it prints: a Run."""
    settings = SETTINGS | {"samples": samples, "held_out": 10_000 if given.validate else 0} | {
        name: getattr(given, name) for name in SETTINGS if hasattr(given, name) and name != "samples"}
    path = path_of(given.folder, settings)
    if given.fresh:
        set_aside(path)
    done = epochs_in(path)
    if done:
        print(f"{path} has {done} of {settings['epochs']} epochs"
              + (": finished (--fresh trains anew)" if done == settings["epochs"] else ": resuming"))
    with np.errstate(over="ignore", invalid="ignore"):          # `train` says it, in one line
        found = experiment(training, test, path, progress=True, watch=True, **settings)
    print(f"{samples:6,d} pictures, {settings['epochs'] - done} epochs in {found.seconds:.1f} s: "
          f"{100 * found.accuracy:.2f} % right, +- {100 * found.error:.2f}, of "
          f"{len(found.target):,} {'held out' if given.validate else 'test'} pictures")
    return found


def record():
    """Run every experiment and store the outcome."""
    if not torch_available():
        raise ValueError("torch is not installed; expected it for --record, which compares with PyTorch")
    start = time.perf_counter()
    values, curves = study(load("train"), load("test"))
    store_run(10, "train_mnist", values=values, curves=curves, seconds=time.perf_counter() - start)


def perform(given):
    """A small run, the large one, and a figure."""
    training = load("train")
    test = tuple(a[50_000:] for a in training) if given.validate else load("test")
    most = 50_000 if given.validate else len(training[0])
    if given.samples is not None and not 1 <= given.samples <= most:
        raise ValueError(f"samples = {given.samples}; expected 1 to {most}")
    for samples in [given.samples] if given.samples else [1000, most]:
        found = run(given, samples, training, test)
    save(given.out, found, test[0])


def main(argv=None):
    """The command; the exit status."""
    folder = "."
    try:
        given = parse(argv)
        folder = given.folder
        record() if given.record else perform(given)
    except KeyboardInterrupt:
        print(f"\ninterrupted: whole epochs are in {folder}; the same command goes on from there")
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        unnamed = isinstance(error, OSError) and error.errno and not error.filename
        print(f"{error}: {folder}" if unnamed else error, file=sys.stderr)
        return 1
    return 0


def save(out, found, images):
    """Draw a run and its mistakes among images (N, 28, 28), and save to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.t10_mnist import visualization
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    counts = level.confusion_matrix(found.target, found.said, 10)
    figure = visualization.draw_report(found.history, counts, worst(found), images)
    figure.savefig(out, dpi=150)
    print(f"saved {out}")


def one_thread():
    """Start anew with one thread for BLAS, which must know before NumPy is imported."""
    names = [f"{library}_NUM_THREADS" for library in ("OPENBLAS", "OMP", "MKL")]
    if __spec__ and os.name == "posix" and not any(name in os.environ for name in names):
        os.environ.update(dict.fromkeys(names, "1"))
        os.execv(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]])


if __name__ == "__main__":
    one_thread()
    raise SystemExit(main())
