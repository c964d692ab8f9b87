# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:9ee18af0bc034ab7
"""Chapter 24's network on this chapter's units: python -m tangled.t29_transformer_decoder.train_recurrent --help"""

import argparse
import sys
import time

import numpy as np

from tangled.records import store_run
from tangled.t03_optimizers import AdamW, CosineDecay
from tangled.t06_backpropagation import Progress
from tangled.t23_seq2seq.experiments import Translator, run_epoch, scores
from tangled.t23_seq2seq.phrases import load_phrases, split
from tangled.t24_bahdanau_attention.experiments import SETTINGS as PLAIN
from tangled.t24_bahdanau_attention.level3_memory_efficient import AttentionSeq2Seq
from tangled.t29_transformer_decoder.experiments import SETTINGS, joined
from tangled.t29_transformer_decoder.units import Units

CHANGES = {"letters": {"joined": 0.0, "merges": 0}, "units": {"joined": 0.0},
           "units, joined": {key: SETTINGS[key] for key in ("joined", "unknown")}}


def train(pairs, changes=(), progress=False):
    """Chapter 24's training with units for letters, on pairs of str: a Translator, its curves["loss"] by epoch."""
    settings = PLAIN | {key: SETTINGS[key] for key in ("epochs", "merges", "skipped")} | dict(changes)
    rng = np.random.default_rng(settings["seed"])
    symbols = Units((text for pair in pairs for text in pair), settings["merges"])
    sizes = (settings[key] for key in ("embedding", "hidden", "align"))
    found = Translator(AttentionSeq2Seq(len(symbols), len(symbols), *sizes, rng), symbols, symbols, {"loss": []})
    noisy = symbols.skipping(settings["skipped"], rng)
    learning = Translator(found.model, noisy, noisy)            # one model, met in many spellings
    rows, epochs = len(pairs) - int(settings["joined"] * len(pairs)) // 2, settings["epochs"]
    steps = epochs * -(-rows // settings["batch"])
    optimizer = AdamW(found.model.parameters(), settings["lr"], weight_decay=settings["weight_decay"])
    parts = {"optimizer": optimizer, "schedule": CosineDecay(optimizer, steps, warmup=steps // 20)}
    bar, begun = Progress(steps, progress), time.perf_counter()
    for _ in range(epochs):
        read = joined(pairs, settings["joined"], rng)
        found.curves["loss"].append(run_epoch(learning, read, settings, parts, rng, bar))
    bar.close()
    found.seconds = time.perf_counter() - begun
    return found


def main(argv=None):
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description="Train chapter 24's translator on units of several letters.")
    parser.add_argument("--first", type=int, default=10 ** 9, help="train on the first N phrases only")
    parser.add_argument("--epochs", type=int, default=SETTINGS["epochs"], help=f"default {SETTINGS['epochs']}")
    parser.add_argument("--record", action="store_true", help="write golden/records/t29.json")
    given = parser.parse_args(argv)
    for name in ("first", "epochs"):
        if getattr(given, name) < 1:
            print(f"{name} = {getattr(given, name)}; expected at least 1", file=sys.stderr)
            return 1
    parts, values, seconds = split(load_phrases()), {}, 0.0
    for name, changes in CHANGES.items():
        found = train(parts.train[:given.first], changes | {"epochs": given.epochs}, progress=True)
        values[name], seconds = scores(found, parts.test)["test"], seconds + found.seconds
        for search, score in values[name].items():
            print(f"{name:14s} {search:14s} chrF {score['chrf']:5.2f}   exact {100 * score['exact']:5.2f} %")
    if given.record:
        size = sum(p.data.size for p in found.model.parameters())
        store_run(29, "train_recurrent", values=values | {"parameters": int(size)}, seconds=seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
