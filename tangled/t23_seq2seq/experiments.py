# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:c03584ceb9f8e9fb
"""Chapter 23: the model trained, and what is measured on it."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tangled.t03_optimizers import AdamW, CosineDecay, clip_by_global_norm
from tangled.t06_backpropagation import Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t23_seq2seq.level3_memory_efficient import (
    Seq2Seq,
    beam_search,
    chrf,
    exact_match,
    greedy_decode,
    scheduled_inputs,
)
from tangled.t23_seq2seq.phrases import BOS, EOS, UNKNOWN, Vocabulary, batch_of, batches

SETTINGS = {"epochs": 24, "hidden": 128, "embedding": 32, "batch": 32, "lr": 5e-3, "weight_decay": 0.1,
            "unknown": 0.1, "own": 0.0, "seed": 0}
OWN = 0.25                                                      # of scheduled sampling, at the end
EDGES = (8, 14, 20, 30)                                         # bins of the length of a reference
MOST = 70                                                       # tokens of a translation
SEARCHES = {"greedy": (1, 0.0), "beam": (8, 0.0), "beam, penalty": (8, 1.0)}


@dataclass
class Translator:
    """A trained model, its vocabularies, and curves by epoch."""

    model: Seq2Seq
    english: Vocabulary
    french: Vocabulary
    curves: dict = field(default_factory=dict)
    seconds: float = 0.0

    def translate(self, texts, beam=1, length_penalty=0.0):
        """A list of English str to one of French; greedy for a beam of 1."""
        batch = batch_of([(text, "") for text in texts], self.english, self.french)
        state = self.model.start(batch.source, batch.source_lengths)
        if beam == 1:
            found = greedy_decode(self.model.step, state, BOS, EOS, MOST)
        else:
            found, _ = beam_search(self.model.step, state, BOS, EOS, beam, MOST, length_penalty)
        return [self.french.decode(ids) for ids in found]


def build(train, settings):
    """A new Translator for pairs of str, and the generator that goes on with its training."""
    rng = np.random.default_rng(settings["seed"])
    english, french = (Vocabulary(pair[side] for pair in train) for side in (0, 1))
    return Translator(Seq2Seq(len(english), len(french), settings["embedding"], settings["hidden"], rng),
                      english, french), rng


def hide(ids, share, rng):
    """ids with a share of the characters made UNKNOWN, which the model should have met."""
    return np.where((rng.random(ids.shape) < share) & (ids > EOS), UNKNOWN, ids)


def run_epoch(found, pairs, settings, parts, rng, bar):
    """All batches once; the mean loss by token."""
    model, total, count = found.model, 0.0, 0
    optimizer, schedule = parts["optimizer"], parts["schedule"]
    for batch in batches(pairs, found.english, found.french, settings["batch"], rng):
        source, tokens = hide(batch.source, settings["unknown"], rng), batch.tokens
        inputs = hide(tokens[:, :-1], settings["unknown"], rng)
        if settings["own"]:
            rate = settings["own"] * schedule.t / schedule.steps
            read = np.concatenate([inputs, tokens[:, -1:]], axis=1)
            inputs = scheduled_inputs(model.step, model.start(source, batch.source_lengths), read, rate, rng)
        loss = model(source, batch.source_lengths, tokens, batch.lengths, inputs)
        optimizer.zero_grad()
        model.backward()
        clip_by_global_norm(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total, count = total + float(loss) * batch.lengths.sum(), count + batch.lengths.sum()
        bar.advance(f"loss {float(loss):.3f}")
    return float(total / count)


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


def scores(found, pairs):
    """What a Translator makes of test pairs.

    Returns
    -------
    dict : "test": {search: {"chrf", "exact", "length"}}, the length as a share of the references';
        "by_length": greedy chrF of the references up to each of EDGES and beyond; "counts" of these;
        "distinct", how many different outputs the penalised beam gave; "samples": [{"english", "french", "said"}]
    """
    english, french = ([pair[side] for pair in pairs] for side in (0, 1))
    said = {name: found.translate(english, *search) for name, search in SEARCHES.items()}
    letters = sum(map(len, french))
    test = {name: {"chrf": chrf(texts, french), "exact": exact_match(texts, french),
                   "length": sum(map(len, texts)) / letters} for name, texts in said.items()}
    bins, best = np.searchsorted(EDGES, [len(text) for text in french]), said["beam, penalty"]
    groups = [np.flatnonzero(bins == k) for k in range(len(EDGES) + 1)]
    by_length = [chrf([said["greedy"][k] for k in group], [french[k] for k in group]) for group in groups]
    rows = range(0, len(pairs), max(1, len(pairs) // 24))
    samples = [{"english": english[k], "french": french[k], "said": best[k]} for k in rows]
    return {"test": test, "by_length": by_length, "counts": [len(group) for group in groups],
            "distinct": len(set(best)), "samples": samples}
