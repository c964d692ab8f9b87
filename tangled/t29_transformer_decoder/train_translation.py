# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:2781233a36595daf
"""English to French with a Transformer: python -m tangled.t29_transformer_decoder.train_translation --help"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

from tangled.records import store_run
from tangled.t23_seq2seq.experiments import scores
from tangled.t23_seq2seq.phrases import load_phrases, split
from tangled.t29_transformer_decoder.experiments import SETTINGS, again, pattern, train


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a translator of short phrases; resumes by itself.")
    for name, default in SETTINGS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default,
                            help=f"default {default}")
    parser.add_argument("--first", type=int, default=10 ** 9, help="train on the first N phrases only")
    parser.add_argument("--fresh", action="store_true", help="start anew; an old checkpoint is set aside")
    parser.add_argument("--record", action="store_true", help="write golden/records/t29.json")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2],
                        help="for --record: trained on as well; default 1 2")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_translation.png", help="the figure")
    given = parser.parse_args(argv)
    for name in ("epochs", "d_model", "num_heads", "num_layers", "d_ff", "batch", "first"):
        if getattr(given, name) < 1:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least 1")
    if given.merges < 0:
        raise ValueError(f"merges = {given.merges}; expected at least 0")
    for name in ("unknown", "smoothing", "dropout", "joined", "skipped"):
        if not 0 <= getattr(given, name) < 1:
            raise ValueError(f"{name} = {getattr(given, name)}; expected 0 to less than 1")
    return given


def path_of(given, settings):
    """Where the checkpoint of these settings lives; an old one is set aside if --fresh."""
    digest = hashlib.sha256(json.dumps([given.first, settings], sort_keys=True).encode()).hexdigest()[:8]
    path = Path(given.folder) / f"translation-{digest}.npz"
    if given.fresh and path.exists():
        free = next(name for k in range(1, 10_000)
                    if not (name := path.with_name(f"{path.stem}.old-{k}.npz")).exists())
        path.rename(free)
        print(f"{path} set aside as {free.name}")
    return path


def perform(given):
    """Train, say what came of it, draw it, and record it if asked."""
    parts = split(load_phrases())
    pairs, settings = parts.train[:given.first], {name: getattr(given, name) for name in SETTINGS}
    path = None if given.record else path_of(given, settings)
    found = train(pairs, parts.validation, settings, path, progress=True)
    begun = time.perf_counter()
    values = scores(found, parts.test) | {"decoding_seconds": time.perf_counter() - begun}
    for name, score in values["test"].items():
        print(f"{name:14s} chrF {score['chrf']:5.2f}   exact {100 * score['exact']:5.2f} %   "
              f"length {score['length']:.2f} of the references'")
    for sample in values["samples"][:6]:
        print("  {english}  ->  {said}  ({french})".format(**sample))
    shown, weights = pattern(found, parts.test)
    values["shown"] = list(shown)
    if given.record:
        values |= {"settings": settings, "pairs": [len(part) for part in parts],
                   "parameters": int(sum(p.data.size for p in found.model.parameters())),
                   "symbols": len(found.english), "others": again(parts, settings, [{"seed": k} for k in given.seeds]),
                   "letters": again(parts, settings, [{"merges": 0}])}
        store_run(29, "train_translation", values=values, curves=found.curves, seconds=found.seconds,
                  arrays={"pattern": {"pattern": weights}})
    draw(given.out, found.curves, values, weights)


def draw(out, curves, values, weights):
    """Save curves and an attention pattern to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.t29_transformer_decoder import visualization
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    visualization.draw_run(curves, values["shown"], weights).savefig(out, dpi=150)
    print(f"saved {out}")


def main(argv=None):
    """The command; the exit status."""
    folder = "checkpoints"
    try:
        given = parse(argv)
        folder = given.folder
        perform(given)
    except KeyboardInterrupt:
        print(f"\ninterrupted: whole epochs are in {folder}; the same command goes on from there")
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
