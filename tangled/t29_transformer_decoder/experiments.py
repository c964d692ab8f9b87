# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:f19ba5180804802f
"""Chapter 29: the model trained, and what is measured on it."""

import time
from pathlib import Path

import numpy as np

from tangled.t01_tensor_operations import softmax
from tangled.t03_optimizers import CosineDecay
from tangled.t03_optimizers.level3_memory_efficient import AdamW, clip_by_global_norm
from tangled.t06_backpropagation import Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t23_seq2seq.experiments import Translator, hide, scores
from tangled.t23_seq2seq.level3_memory_efficient import chrf
from tangled.t23_seq2seq.phrases import PAD, batch_of, batches
from tangled.t26_multi_head_attention import split_heads
from tangled.t28_transformer_encoder import smoothed_cross_entropy, smoothed_cross_entropy_backward
from tangled.t29_transformer_decoder.level3_memory_efficient import Transformer
from tangled.t29_transformer_decoder.units import Units

SETTINGS = {"epochs": 64, "d_model": 64, "num_heads": 4, "num_layers": 2, "d_ff": 256, "dropout": 0.0, "batch": 16,
            "lr": 4e-3, "weight_decay": 0.1, "smoothing": 0.1, "merges": 300, "skipped": 0.1, "unknown": 0.05,
            "joined": 0.5, "seed": 0}
SHOWN = "sport utility vehicle"                                 # a phrase of the test set, for a picture


def build(train, settings):
    """A new Translator of chapter 23 around a Transformer, for pairs of str; and the generator of all noise."""
    rng = np.random.default_rng(settings["seed"])
    symbols = Units((text for pair in train for text in pair), settings["merges"])
    sizes = {name: settings[name] for name in ("d_model", "num_heads", "num_layers", "d_ff", "dropout")}
    return Translator(Transformer(len(symbols), rng=rng, **sizes), symbols, symbols), rng


def joined(pairs, share, rng):
    """Pairs of str, each once: a share of them in twos, English behind English and French behind French."""
    twos = int(share * len(pairs)) // 2
    first, second, alone = np.split(rng.permutation(len(pairs)), [twos, 2 * twos])
    both = [tuple(" ".join(texts) for texts in zip(pairs[i], pairs[k])) for i, k in zip(first, second)]
    return both + [pairs[k] for k in alone]


def loss_of(model, batch, smoothing, source=None, inputs=None):
    """The mean loss of a Batch and the gradient of its logits (B, T, V)."""
    tokens = batch.tokens
    logits = model(batch.source if source is None else source, batch.source_lengths,
                   tokens[:, :-1] if inputs is None else inputs)
    loss, cache = smoothed_cross_entropy(logits, tokens[:, 1:], smoothing, PAD)
    return float(loss), smoothed_cross_entropy_backward(1.0, cache)


def run_epoch(found, pairs, settings, parts, rng, bar):
    """All batches once; the mean loss by token."""
    model, total, count = found.model.train(), 0.0, 0
    symbols = found.english.skipping(settings["skipped"], rng)
    for batch in batches(joined(pairs, settings["joined"], rng), symbols, symbols, settings["batch"], rng):
        source, inputs = (hide(ids, settings["unknown"], rng) for ids in (batch.source, batch.tokens[:, :-1]))
        loss, dlogits = loss_of(model, batch, settings["smoothing"], source, inputs)
        parts["optimizer"].zero_grad()
        model.backward(dlogits)
        clip_by_global_norm(model.parameters(), 1.0)
        parts["optimizer"].step()
        parts["schedule"].step()
        total, count = total + loss * batch.lengths.sum(), count + batch.lengths.sum()
        bar.advance(f"loss {loss:.3f}")
    model.eval()
    return float(total / count)


def train(pairs, validation, settings, path=None, stop=None, progress=False):
    """Train on pairs of str, judge by others; goes on where the file `path` ends: a Translator.

    `stop` ends the run after an epoch, as an interruption would.
    """
    settings = SETTINGS | settings
    found, rng = build(pairs, settings)
    epochs, rows = settings["epochs"], len(pairs) - int(settings["joined"] * len(pairs)) // 2
    steps = -(-rows // settings["batch"])
    optimizer = AdamW(found.model.parameters(), settings["lr"], (0.9, 0.98), weight_decay=settings["weight_decay"])
    schedule = CosineDecay(optimizer, epochs * steps, warmup=epochs * steps // 10)
    parts, generators = {"model": found.model, "optimizer": optimizer, "schedule": schedule}, {"rng": rng}
    found.curves, done = {"loss": [], "held": [], "chrf": []}, 0
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore(parts, generators)
        done, found.curves, found.seconds = (checkpoint.record[key] for key in ("done", "curves", "seconds"))
    bar, begun = Progress((epochs - done) * steps, progress), time.perf_counter() - found.seconds
    held, references = batch_of(validation, found.english, found.french), [f for _, f in validation]
    found.model.eval()
    for epoch in range(done, epochs if stop is None else min(stop, epochs)):
        loss = run_epoch(found, pairs, settings, parts, rng, bar)
        score = chrf(found.translate([e for e, _ in validation]), references)
        for key, value in zip(found.curves, (loss, loss_of(found.model, held, 0.0)[0], score)):
            found.curves[key].append(value)
        found.seconds = time.perf_counter() - begun
        if path is not None:
            save_checkpoint(path, parts, generators, done=epoch + 1, curves=found.curves, seconds=found.seconds)
    bar.close()
    return found


def again(parts, settings, changes, say=print):
    """Train once more for each dict of changes to the settings: a list of dicts, these and the test scores."""
    found = []
    for changed in changes:
        run = train(parts.train, parts.validation, settings | changed)
        found.append({"changed": changed, "seconds": run.seconds, "held": run.curves["held"][-1],
                      "test": scores(run, parts.test)["test"]})
        say(f"{changed}: {found[-1]}")
    return found


def pattern(found, pairs):
    """Where the last block looks while it reads the reference of one phrase: SHOWN, or else the first pair.

    Returns
    -------
    (english, french) : lists of str, the units of the phrase
    weights : ndarray of shape (T, S): a row for each symbol that is predicted, EOS last; the mean of all heads
    """
    pair = next((p for p in pairs if p[0] == SHOWN), pairs[0])
    model, batch = found.model.eval(), batch_of([pair], found.english, found.french)
    last, seen = model.blocks[-1], []
    forward = last.forward
    last.forward = lambda x, *given: seen.append(x) or forward(x, *given)
    model(batch.source, batch.source_lengths, batch.tokens[:, :-1])
    del last.forward
    middle = seen[0] + last.attention(last.norm1(seen[0]))
    memory, heads = model.encode(batch.source, batch.source_lengths), last.cross.num_heads
    q, k = split_heads(last.cross.q_proj(last.norm2(middle)), heads), split_heads(last.cross.k_proj(memory), heads)
    shown = found.english.pieces(pair[0]), found.french.pieces(pair[1])
    return shown, softmax(q @ k.swapaxes(2, 3) * q.shape[3] ** -0.5)[0].mean(axis=0)
