# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:b141fd7c9996b295
"""A recurrent network on nine plays: python -m tangled.t18_rnn.train_plays --help"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from tangled.data import load_shakespeare
from tangled.records import store_run
from tangled.t18_rnn.experiments import generate, train_plays

TEMPERATURES = (0.5, 1.0, 1.5)


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a recurrent network on the plays; resumes by itself.")
    for name, default in (("steps", 3000), ("hidden", 256), ("seed", 0), ("characters", 10 ** 9)):
        parser.add_argument("--" + name, type=int, default=default, help=f"default {default}")
    parser.add_argument("--record", action="store_true", help="write golden/records/t18.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    given = parser.parse_args(argv)
    for name in ("steps", "hidden", "characters"):
        if getattr(given, name) < 1:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least 1")
    return given


def perform(given):
    """Train, say what came of it, print samples, and record them if asked."""
    text, start = load_shakespeare()[:given.characters], time.perf_counter()
    settings = {name: getattr(given, name) for name in ("steps", "hidden", "seed", "characters")}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    path = None if given.record else Path(given.folder) / f"plays-rnn-{digest}.npz"
    options = {"steps": given.steps, "hidden": given.hidden, "seed": given.seed, "path": path, "progress": True}
    samples, early = {}, {}
    for stop in [given.steps // 30, given.steps // 6] if given.record else []:
        found = train_plays(text, **{**options, "path": None}, stop=max(stop, 1))
        early[str(max(stop, 1))] = sample(found, 1.0, 160)
    begun = time.perf_counter()
    found = train_plays(text, **options)
    seconds, held = time.perf_counter() - begun, found.curves["held"][-1]
    print(f"{given.steps} steps in {seconds:.0f} s: {held:.3f} nats a letter held out")
    for temperature in TEMPERATURES:
        samples[str(temperature)] = sample(found, temperature, 320)
        print(f"--- temperature {temperature}\n{samples[str(temperature)]}")
    if given.record:
        values = {"held": held, "bits": held / np.log(2), "samples": samples, "early": early, "settings": settings}
        store_run(18, "train_plays", values=values, curves=found.curves, seconds=seconds)
    return time.perf_counter() - start


def sample(found, temperature, count):
    """A sample of a trained model, behind a line break."""
    return generate(found.model, found.tokens, "\n", count, temperature, np.random.default_rng(1))


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
