# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:dbae232a91af7e9c
"""A residual network on small pictures: python -m tangled.t17_cifar10.train_cifar10 --help"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from tangled.measuring import torch_available
from tangled.records import store_run
from tangled.t17_cifar10.experiments import run, torch_trajectory, trajectory
from tangled.t17_cifar10.pictures import load
from tangled.t17_cifar10.recipe import SETTINGS


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a ResNet on small pictures; resumes by itself.")
    parser.add_argument("--data", default="emoji", help='"emoji" (default), "cifar-10" (fetched, 170 MB), or a folder: '
                        "CIFAR-10, or train/ and test/")
    parser.add_argument("--width", type=int, default=SETTINGS["widths"][0], help="channels of the first stage")
    for name in ("epochs", "batch", "lr", "weight_decay", "smoothing", "seed"):
        default = SETTINGS[name]
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default,
                            help=f"default {default}")
    parser.add_argument("--first", type=int, help="train on the first N pictures only")
    parser.add_argument("--fresh", action="store_true", help="start anew; an old checkpoint is set aside")
    parser.add_argument("--record", action="store_true", help="write golden/records/t17.json, with the network")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_cifar10.png", help="the figure")
    given = parser.parse_args(argv)
    for name, low in (("width", 1), ("epochs", 1), ("batch", 2), ("seed", 0)):
        if getattr(given, name) < low:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least {low}")
    if given.record and not torch_available():
        raise ValueError("torch is not installed; expected it for --record, which compares with PyTorch")
    return given


def settings_of(given):
    """The settings of a run."""
    widths = [given.width * 2 ** k for k in range(4)]
    return SETTINGS | {"widths": widths} | {k: getattr(given, k) for k in SETTINGS if hasattr(given, k)}


def path_of(given, settings):
    """Where the checkpoint of these settings on these pictures lives; set aside if --fresh."""
    which = {"data": str(given.data), "first": given.first, **settings}
    digest = hashlib.sha256(json.dumps(which, sort_keys=True).encode()).hexdigest()[:8]
    path = Path(given.folder) / f"cifar10-{digest}.npz"
    if given.fresh and path.exists():
        free = next(name for k in range(1, 10_000)
                    if not (name := path.with_name(f"{path.stem}.old-{k}.npz")).exists())
        path.rename(free)
        print(f"{path} set aside as {free.name}")
    return path


def perform(given):
    """Train, say what came of it, draw it, and record it if asked."""
    images, labels, test_images, test_labels, names = load(given.data)
    if given.first is not None and not 1 <= given.first <= len(images):
        raise ValueError(f"first = {given.first}; expected 1 to {len(images)}")
    train_set, settings = (images[:given.first], labels[:given.first]), settings_of(given)
    if len(train_set[0]) < settings["batch"]:
        raise ValueError(f"batch = {settings['batch']}; expected at most the {len(train_set[0])} pictures")
    path = None if given.record else path_of(given, settings)
    found = run(train_set, (test_images, test_labels), len(names), settings, path, progress=True)
    plain, mirrored = found.accuracy(found.plain), found.accuracy(found.mirrored)
    print(f"{len(train_set[0]):,} pictures, {settings['epochs']} epochs in {found.seconds:.0f} s: {100 * plain:.2f} % "
          f"of {len(test_labels):,} right, {100 * mirrored:.2f} % averaged over the mirror image")
    if given.record:
        record(given, settings, found, names)
    draw(given.out, found, names)


def record(given, settings, found, names):
    """golden/records/t17.json: the outcome, the network, and twenty steps beside PyTorch's."""
    ours, theirs = trajectory(), torch_trajectory()
    values = {"data": given.data, "settings": settings, "names": names, "accuracy": found.accuracy(found.plain),
              "mirrored": found.accuracy(found.mirrored), "test_pictures": len(found.target),
              "confusion": found.confusion().tolist(), "apart": float(np.abs(ours - theirs).max()),
              "train_accuracy": found.history["accuracy"][-1], "parameters": int(sum(
                  p.data.size for p in found.model.parameters()))}
    curves = {k: v for k, v in found.history.items() if k in ("loss", "accuracy", "validation_loss",
                                                             "validation_accuracy")}
    store_run(17, "train_cifar10", values=values, curves=curves, seconds=found.seconds,
              arrays={"network": found.model.state_dict()})


def draw(out, found, names):
    """Save curves and confusion to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.t17_cifar10 import visualization
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    visualization.draw_run(found.history, found.confusion(), names).savefig(out, dpi=150)
    print(f"saved {out}")


def main(argv=None):
    """The command; the exit status."""
    left = "nothing was begun"
    try:
        given = parse(argv)
        left = ("a run for the record keeps nothing on its way" if given.record else
                f"whole epochs are in {given.folder}; the same command goes on from there")
        perform(given)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {left}")
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
