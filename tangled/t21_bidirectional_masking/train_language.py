# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:ed6ce9c342e91057
"""Tell English from French: python -m tangled.t21_bidirectional_masking.train_language --help"""

import argparse
import sys
import time
from pathlib import Path

from tangled.records import store_run
from tangled.t21_bidirectional_masking.experiments import (
    accuracy,
    bigram_right,
    by_length,
    load,
    padding_proof,
    padding_share,
    path_of,
    right,
    train,
)
from tangled.t21_bidirectional_masking.level2_vectorized import bucket_batches
from tangled.t21_bidirectional_masking.models import CELLS

POOLS = (1, 2, 4, 8, 16, 32)


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a classifier of phrases; resumes by itself.")
    parser.add_argument("--cell", choices=sorted(CELLS), default="gru", help="default gru")
    parser.add_argument("--summary", choices=["mean", "final"], default="mean", help="default mean")
    for name, default in (("epochs", 12), ("hidden", 64), ("seed", 0)):
        parser.add_argument("--" + name, type=int, default=default, help=f"default {default}")
    parser.add_argument("--fresh", action="store_true", help="start anew; an old checkpoint is set aside")
    parser.add_argument("--record", action="store_true", help="write golden/records/t21.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_language.png", help="the figure")
    given = parser.parse_args(argv)
    for name, least in (("epochs", 1), ("hidden", 1), ("seed", 0)):
        if getattr(given, name) < least:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least {least}")
    return given


def perform(given):
    """Train, say what came of it, draw it, and record it if asked."""
    phrases = load()
    settings = {name: getattr(given, name) for name in ("cell", "summary", "epochs", "hidden", "seed")}
    path = None if given.record else path_of(given.folder, settings)
    if given.fresh and path is not None and path.exists():
        free = next(name for k in range(1, 10_000) if not (name := path.with_name(f"{path.stem}.old-{k}.npz")).exists())
        path.rename(free)
        print(f"{path} set aside as {free.name}")
    begun = time.perf_counter()
    found = train(phrases, path=path, progress=True, **settings)
    seconds = time.perf_counter() - begun
    good, rival = right(found.model, phrases), bigram_right(phrases)
    print(f"{len(phrases.train):,} phrases, {given.epochs} epochs in {seconds:.0f} s: {100 * good.mean():.2f} % of "
          f"{len(good):,} right; bigrams {100 * rival.mean():.2f} %")
    if given.record:
        record(phrases, settings, found, good, rival, seconds)
    draw(given.out, found)


def record(phrases, settings, found, good, rival, seconds):
    """golden/records/t21.json: accuracies, also of the other cells and summary, padding and what it does not do."""
    import numpy as np
    lengths = phrases.lengths
    others = {}
    for cell, summary in (("rnn", "mean"), ("lstm", "mean"), ("gru", "final")):
        other = train(phrases, **settings | {"cell": cell, "summary": summary})
        others[f"{cell}, {summary}"] = accuracy(other.model, phrases)
    shares = {str(pool): padding_share(lengths[phrases.train], bucket_batches(
        lengths[phrases.train], 64, np.random.default_rng(0), pool)) for pool in (*POOLS, None)}
    of_test = lengths[phrases.test]
    values = {"settings": settings, "train": len(phrases.train), "test": len(phrases.test),
              "accuracy": float(good.mean()), "bigrams": float(rival.mean()), "by_length": by_length(good, of_test),
              "bigrams_by_length": by_length(rival, of_test), "others": others, "shares": shares,
              "proof": padding_proof(found.model, phrases),
              "missed": [phrases.tokens.decode(phrases.ids[k]) for k in phrases.test[~good][:12]]}
    store_run(21, "train_language", values=values, curves=found.curves, seconds=seconds)


def draw(out, found):
    """Save the curves to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.t21_bidirectional_masking import visualization
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    visualization.draw_curves(found.curves).savefig(out, dpi=150)
    print(f"saved {out}")


def main(argv=None):
    """The command; the exit status."""
    try:
        perform(parse(argv))
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last epoch")
        return 130
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
