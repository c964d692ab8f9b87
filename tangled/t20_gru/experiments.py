# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:731d86b7c5dc1dd9
"""Chapter 20: cells trained in turns on one text, and how far their gradients reach."""

import time
from pathlib import Path

import numpy as np

from tangled.t03_optimizers import Adam, CosineDecay, clip_by_global_norm
from tangled.t06_backpropagation import CrossEntropyLoss, Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t18_rnn import rnn, rnn_backward
from tangled.t18_rnn.experiments import held_out_loss
from tangled.t18_rnn.models import streams
from tangled.t18_rnn.tokens import CharTokenizer
from tangled.t20_gru.level2_vectorized import gru, gru_backward
from tangled.t20_gru.models import CharModel, count, size_for

RATES = {"rnn": 4e-3, "lstm": 8e-3, "gru": 8e-3, "cho": 8e-3}      # by a trial of 120 steps


class Carried:
    """The state between two windows, an array or a pair of them, as a part of a checkpoint."""

    state = None

    def state_dict(self):
        """{"0": an array, "1": ...}; none, where there is no state."""
        arrays = self.state if isinstance(self.state, tuple) else [a for a in [self.state] if a is not None]
        return {str(k): array for k, array in enumerate(arrays)}

    def load_state_dict(self, entries):
        """Take back what `state_dict` gave."""
        arrays = tuple(entries[key] for key in sorted(entries))
        self.state = arrays if len(arrays) > 1 else arrays[0] if arrays else None


class Racer:
    """One model with its optimiser, its state and its curves."""

    def __init__(self, cell, hidden, V, settings):
        rng = np.random.default_rng(settings["seed"])
        self.model, self.loss = CharModel(V, settings["embedding"], hidden, rng, cell), CrossEntropyLoss()
        optimizer = Adam(self.model.parameters(), settings["lr"] or RATES[cell])
        schedule = CosineDecay(optimizer, settings["steps"], warmup=settings["steps"] // 20)
        self.carried, self.clip = Carried(), settings["clip"]
        self.parts = {"model": self.model, "optimizer": optimizer, "schedule": schedule, "carried": self.carried}
        self.curves = {"step": [], "loss": [], "held": [], "seconds": []}

    def step(self, x, y, first):
        """One update on a window (B, T); the loss. Without the state at the text's beginning."""
        logits = self.model(x, None if first else self.carried.state)
        self.carried.state = self.model.state                   # the state goes on, its gradient does not
        value = self.loss(logits, y)
        self.parts["optimizer"].zero_grad()
        self.model.backward(self.loss.backward())
        clip_by_global_norm(self.model.parameters(), self.clip)
        self.parts["optimizer"].step()
        self.parts["schedule"].step()
        return value


def entries(cell_size, V, embedding=64):
    """{name: (cell, hidden)}: three cells of one size, and two with as many parameters as that GRU."""
    budget = count("gru", cell_size, embedding, V)
    equal = {f"{cell}, as many": (cell, size_for(cell, budget, embedding, V)) for cell in ("rnn", "lstm")}
    return {cell: (cell, cell_size) for cell in ("rnn", "lstm", "gru")} | equal


def train_cells(text, racers=None, steps=1500, hidden=128, embedding=64, batch=32, window=64, lr=None, clip=1.0,
                seed=0, every=50, path=None, stop=None, progress=False):
    """Train on nine tenths of a text in turns of `every` steps, judge by the last: {name: Racer}, and the tokens.

    Each cell has its learning rate of `RATES`, unless `lr` is one for all. Goes on where the file `path` ends;
    `stop` ends the run at a step, as an interruption would.
    """
    tokens = CharTokenizer(text)
    ids, cut, V = tokens.encode(text), len(text) * 9 // 10, tokens.vocab_size
    batches = list(streams(ids[:cut], batch, window))
    if not batches:
        raise ValueError(f"text has {cut} symbols to train on; expected at least {batch * window + 1}")
    settings = {"steps": steps, "embedding": embedding, "lr": lr, "clip": clip, "seed": seed}
    racers = entries(hidden, V, embedding) if racers is None else racers
    field = {name: Racer(*which, V, settings) for name, which in racers.items()}
    parts = {f"{name}.{key}": part for name, racer in field.items() for key, part in racer.parts.items()}
    done = 0
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore(parts)
        done = checkpoint.record["done"]
        for name, racer in field.items():
            racer.curves = checkpoint.record["curves"][name]
    last, bar = steps if stop is None else min(stop, steps), Progress((steps - done) * len(field), progress)
    while done < last:
        turn = range(done, min(done + every, last))
        for name, racer in field.items():
            take_turn(racer, name, turn, batches, ids[cut:], bar)
        done = turn.stop
        if path is not None and (done % every == 0 or done == steps):
            save_checkpoint(path, parts, done=done, curves={name: racer.curves for name, racer in field.items()})
    bar.close()
    return field, tokens


def take_turn(racer, name, turn, batches, held, bar):
    """The steps of a turn, timed; then a point on each curve."""
    losses, begun = [], time.perf_counter()
    for step in turn:
        losses.append(racer.step(*batches[step % len(batches)], first=step % len(batches) == 0))
        bar.advance(f"{name}, loss {losses[-1]:.3f}")
    seconds = time.perf_counter() - begun + (racer.curves["seconds"] or [0])[-1]
    for key, value in zip(racer.curves, (turn.stop, float(np.mean(losses)), held_out_loss(racer.model, held), seconds)):
        racer.curves[key].append(value)


def lag_norms(bias, T=40, H=64, B=16, D=8, variant="pytorch", seed=0):
    """Norms (T + 1,) of the gradient of h_T with respect to h_{T-k}, relative to k = 0; weights as first drawn.

    `bias` is what is added to the update gate's; None is a plain recurrent network with tanh.
    """
    rng, blocks = np.random.default_rng(seed), 1 if bias is None else 3
    w_ih, w_hh = (rng.uniform(-1, 1, shape) / np.sqrt(H) for shape in ((D, blocks * H), (H, blocks * H)))
    b, x = np.zeros(blocks * H), rng.standard_normal((B, T, D))
    b[H:2 * H] = 0 if bias is None else bias
    run, back, rest = (rnn, rnn_backward, ()) if bias is None else (gru, gru_backward, (variant,))
    state, caches = np.zeros((B, H)), []
    for t in range(T):
        (_, state), cache = run(x[:, t:t + 1], state, w_ih, w_hh, b, None, *rest)
        caches.append(cache)
    ds = rng.standard_normal((B, H))
    norms = [np.linalg.norm(ds)]
    for cache in reversed(caches):
        ds = back(np.zeros((B, 1, H)), ds, cache)[1]
        norms.append(np.linalg.norm(ds))
    return np.array(norms) / norms[0]
