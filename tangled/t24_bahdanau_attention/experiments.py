# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:caebd8235ac15f12
"""Chapter 24: the model trained on chapter 23's phrases, and what it looks at."""

import time
from pathlib import Path

import numpy as np

from tangled.t03_optimizers import AdamW, CosineDecay
from tangled.t06_backpropagation import Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t23_seq2seq import chrf
from tangled.t23_seq2seq.experiments import SETTINGS as PLAIN
from tangled.t23_seq2seq.experiments import Translator, run_epoch
from tangled.t23_seq2seq.phrases import Vocabulary, batch_of
from tangled.t24_bahdanau_attention.level3_memory_efficient import AttentionSeq2Seq

SETTINGS = PLAIN | {"align": 64}
SHOWN, LETTERS = 5, (9, 24)                                     # heatmaps; of how many letters a translation may have


def build(pairs, settings):
    """A new Translator for pairs of str, and the generator that goes on with its training."""
    rng = np.random.default_rng(settings["seed"])
    english, french = (Vocabulary(pair[side] for pair in pairs) for side in (0, 1))
    model = AttentionSeq2Seq(len(english), len(french), *(settings[k] for k in ("embedding", "hidden", "align")), rng)
    return Translator(model, english, french), rng


def train(pairs, validation, settings, path=None, stop=None, progress=False):
    """Train on pairs of str, judge by others; goes on where the file `path` ends: a Translator.

    `stop` ends the run after an epoch, as an interruption would.
    """
    settings = SETTINGS | settings
    found, rng = build(pairs, settings)
    epochs, steps = settings["epochs"], -(-len(pairs) // settings["batch"])
    optimizer = AdamW(found.model.parameters(), settings["lr"], weight_decay=settings["weight_decay"])
    schedule = CosineDecay(optimizer, epochs * steps, warmup=epochs * steps // 20)
    parts, generators = {"model": found.model, "optimizer": optimizer, "schedule": schedule}, {"rng": rng}
    found.curves, done = {"loss": [], "held": [], "chrf": []}, 0
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore(parts, generators)
        done, found.curves, found.seconds = (checkpoint.record[key] for key in ("done", "curves", "seconds"))
    bar, begun = Progress((epochs - done) * steps, progress), time.perf_counter() - found.seconds
    held, references = batch_of(validation, found.english, found.french), [f for _, f in validation]
    for epoch in range(done, epochs if stop is None else min(stop, epochs)):
        loss = run_epoch(found, pairs, settings, parts, rng, bar)
        score = chrf(found.translate([e for e, _ in validation]), references)
        for key, value in zip(found.curves, (loss, float(found.model(*held)), score)):
            found.curves[key].append(value)
        found.seconds = time.perf_counter() - begun
        if path is not None:
            save_checkpoint(path, parts, generators, done=epoch + 1, curves=found.curves, seconds=found.seconds)
    bar.close()
    return found


def weights_of(found, english, french):
    """What a Translator looks at when it writes a French text (str): (letters and EOS, letters and EOS)."""
    batch = batch_of([(english, french)], found.english, found.french)
    return found.model.alignments(*batch)[0]


def best_aligned(found, pairs, count=SHOWN):
    """The translations nearest to their references, of middling length, and what was looked at.

    Returns
    -------
    samples : list of {"english", "said", "french"}, at most `count`, by chrF, different in what is said
    weights : dict of ndarray (letters said and EOS, letters of the source and EOS), "0", "1", ...
    """
    said = found.translate([english for english, _ in pairs])
    rows, taken = [], set()
    for k in sorted(range(len(pairs)), key=lambda k: -chrf([said[k]], [pairs[k][1]])):
        if LETTERS[0] <= len(said[k]) <= LETTERS[1] and said[k].casefold() not in taken:
            rows.append(k)
            taken.add(said[k].casefold())
    samples = [{"english": pairs[k][0], "said": said[k], "french": pairs[k][1]} for k in rows[:count]]
    return samples, {str(n): weights_of(found, s["english"], s["said"]) for n, s in enumerate(samples)}


def looking(found, pairs):
    """How a Translator looks at the sources of pairs while it writes the references.

    Returns
    -------
    dict : "letters", the mean of exp(entropy) of the weights of a step, an effective number of places;
        "of", the mean number of places; "order", the correlation of where it looks with where it writes
    """
    spread, places, where, when = [], [], [], []
    for english, french in pairs:
        p = weights_of(found, english, french).astype(np.float64)
        spread += np.exp(-(p * np.log(p + 1e-30)).sum(axis=1)).tolist()
        places += [p.shape[1]] * len(p)
        where += (p @ np.arange(p.shape[1]) / p.shape[1]).tolist()
        when += (np.arange(len(p)) / len(p)).tolist()
    order = float(np.corrcoef(where, when)[0, 1])
    return {"letters": float(np.mean(spread)), "of": float(np.mean(places)), "order": order}
