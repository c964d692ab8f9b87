# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:9630437413b250e5
"""A tree of causal convolutions on first names: python -m tangled.t15_depthwise_separable.train_names --help"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np

from tangled.data import load_first_names
from tangled.records import store_run
from tangled.t03_optimizers import AdamW, CosineDecay
from tangled.t05_mlp_forward import softmax_cross_entropy
from tangled.t06_backpropagation import Progress, softmax_cross_entropy_backward
from tangled.t10_mnist import Scheduled, load_checkpoint, save_checkpoint
from tangled.t15_depthwise_separable.level3_memory_efficient import CausalCharModel, count_parameters

SYMBOLS, LENGTH = 27, 16                                        # 0 is the end, 1 to 26 are a to z
SETTINGS = {"width": 64, "depth": 4, "batch": 64, "lr": 0.004, "weight_decay": 0.3}
EVERY = 100                                                     # steps between two looks at the validation loss


def encode(names):
    """ids (N, LENGTH): 0, letters, zeros; targets (N, LENGTH): letters, 0, then -1 where nothing is asked."""
    ids, targets = np.zeros((len(names), LENGTH), int), np.full((len(names), LENGTH), -1)
    for n, name in enumerate(names):
        letters = [ord(letter) - 96 for letter in name]
        ids[n, 1:len(letters) + 1] = letters
        targets[n, :len(letters) + 1] = [*letters, 0]
    return ids, targets


def split(names):
    """Train, validation and test: lists of names, 80, 10 and 10 %; always the same."""
    order = np.random.default_rng(15).permutation(len(names))
    cuts = [len(names) * 8 // 10, len(names) * 9 // 10]
    return [[names[k] for k in part] for part in np.split(order, cuts)]


def bigram_loss(training, other):
    """Nats per character of a smoothed table of pairs (27, 27), counted on one list, on another."""
    counts = np.ones((SYMBOLS, SYMBOLS))
    ids, targets = encode(training)
    np.add.at(counts, (ids[targets >= 0], targets[targets >= 0]), 1)
    p = counts / counts.sum(axis=1, keepdims=True)              # eq. 15.17
    ids, targets = encode(other)
    return -float(np.log(p[ids[targets >= 0], targets[targets >= 0]]).mean())


def loss_and_gradient(logits, targets):
    """The mean loss where targets (N, T) are not -1, and dlogits (N, T, symbols)."""
    asked = targets >= 0
    loss, cache = softmax_cross_entropy(logits[asked], targets[asked])
    dlogits = np.zeros_like(logits)
    dlogits[asked] = softmax_cross_entropy_backward(1.0, cache)
    return float(loss), dlogits


def model_loss(model, names):
    """Nats per character of a model on a list of names."""
    ids, targets = encode(names)
    return loss_and_gradient(model(ids), targets)[0]


def sample(model, rng, count, temperature=1.0):
    """That many names, a symbol after the other, each drawn from the model's softmax."""
    ids, done = np.zeros((count, LENGTH), int), np.zeros(count, bool)
    for t in range(LENGTH - 1):
        z = model(ids[:, :t + 1])[:, -1] / temperature          # (count, symbols)
        p = np.exp(z - z.max(axis=1, keepdims=True)).astype(float)
        reached = p.cumsum(axis=1) > rng.random((count, 1)) * p.sum(axis=1, keepdims=True)
        ids[:, t + 1] = np.where(done, 0, reached.argmax(axis=1))
        done |= ids[:, t + 1] == 0
    return ["".join(chr(96 + k) for k in row if k) for row in ids]


def prepare(seed, steps, settings):
    """Model, optimiser and the generator of the batches."""
    model = CausalCharModel(SYMBOLS, settings["width"], settings["depth"], rng=np.random.default_rng([seed, 0]))
    optimizer = AdamW(model.parameters(), settings["lr"], weight_decay=settings["weight_decay"])
    schedule = CosineDecay(optimizer, steps, warmup=steps // 10)
    return model, Scheduled(optimizer, schedule), np.random.default_rng([seed, 1])


def train(names, validation, seed=0, steps=1500, path=None, resume=False, stop=None, progress=True, **changes):
    """Train for `steps`, with a checkpoint at `path` every EVERY steps; (model, history).

    history: dict of lists "step", "train" (mean loss since the last entry) and "validation".
    `stop` ends it after so many steps, as if it had been killed.
    """
    settings = SETTINGS | changes
    model, optimizer, rng = prepare(seed, steps, settings)
    parts, generators = {"model": model, "optimizer": optimizer}, {"batches": rng}
    known = settings | {"seed": seed, "steps": steps, "names": len(names)}
    history = {"step": [], "train": [], "validation": []}
    if resume and path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        if checkpoint.record["settings"] != known:
            raise ValueError(f"{path} was written with {checkpoint.record['settings']}; expected {known}")
        checkpoint.restore(parts, generators)
        history = checkpoint.record["history"]
    ids, targets = encode(names)
    bar, losses = Progress(steps, progress), []
    bar.done = history["step"][-1] if history["step"] else 0
    for step in range(bar.done + 1, steps + 1):
        rows = rng.integers(0, len(ids), settings["batch"])
        loss, dlogits = loss_and_gradient(model(ids[rows]), targets[rows])
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {step}; expected a number: lower --lr")
        optimizer.zero_grad()
        model.backward(dlogits)
        optimizer.step()
        losses.append(loss)
        bar.advance(f"loss {loss:.3f}")
        if step % EVERY == 0 or step == steps:
            for key, value in (("step", step), ("train", float(np.mean(losses))),
                               ("validation", model_loss(model, validation))):
                history[key].append(value)
            losses = []
            if path is not None:
                save_checkpoint(path, parts, generators, history=history, settings=known)
        if step == stop:
            break
    bar.close()
    return model, history


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a tree of causal convolutions on first names.")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and samples (default 0)")
    parser.add_argument("--steps", type=int, default=1500, help="default 1500")
    parser.add_argument("--lr", type=float, default=SETTINGS["lr"], help=f"default {SETTINGS['lr']}")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoint")
    parser.add_argument("--record", action="store_true", help="write golden/records/t15.json")
    given = parser.parse_args(argv)
    for name, least in (("seed", 0), ("steps", 1)):
        if getattr(given, name) < least:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least {least}")
    return given


def main(argv=None):
    """The command: train, compare with the table of pairs, print samples; the exit status."""
    try:
        given, start = parse(argv), time.perf_counter()
        training, validation, test = split(load_first_names())
        path = Path(given.folder) / f"names-{given.seed}-{given.steps}.npz"
        model, history = train(training, validation, given.seed, given.steps, path, given.resume, lr=given.lr)
        seconds = time.perf_counter() - start
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    values = {"parameters": count_parameters(model), "names": len(training), "steps": given.steps,
              "validation": model_loss(model, validation), "test": model_loss(model, test),
              "training": model_loss(model, training), "best": min(history["validation"]),
              "bigram validation": bigram_loss(training, validation), "bigram test": bigram_loss(training, test)}
    made = sample(model, np.random.default_rng([given.seed, 2]), 200)
    known = set(training)
    values |= {"samples": made[:24], "new": sum(name not in known for name in made) / len(made)}
    for name in ("validation", "test"):
        print(f"{name:10s} {values[name]:.3f} nats per character; pairs {values[f'bigram {name}']:.3f}; "
              f"difference {values[f'bigram {name}'] - values[name]:.3f}")
    print(f"{seconds:.1f} s; {values['new']:.0%} of 200 samples are not in the training names:", *made[:24])
    if given.record:
        store_run(15, "train_names", values=values, curves=history, seconds=seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
