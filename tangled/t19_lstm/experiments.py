# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:8330301b682d4e7b
"""Chapter 19: the adding problem, LSTM against RNN."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tangled.t03_optimizers import Adam, clip_by_global_norm
from tangled.t06_backpropagation import Linear, Module, Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t18_rnn.level3_memory_efficient import RNN
from tangled.t19_lstm.level3_memory_efficient import LSTM, lstm_step, lstm_step_backward

BASELINE, SOLVED = 1 / 6, 0.01                                  # eq. 19.13


def adding_batch(T, count, rng):
    """Sequences x (count, T, 2) of numbers and marks, and the sums y (count,), float32."""
    x, rows = np.zeros((count, T, 2), np.float32), np.arange(count)
    x[:, :, 0] = rng.random((count, T), np.float32)
    first, second = rng.integers(0, T // 2, count), rng.integers(T // 2, T, count)
    x[rows, first, 1] = x[rows, second, 1] = 1
    return x, x[rows, first, 0] + x[rows, second, 0]


class Adder(Module):
    """One number (B,) of sequences (B, T, 2): a linear layer on a cell's last output."""

    def __init__(self, cell, hidden, rng, forget_bias=1.0):
        self.cell = (LSTM(2, hidden, forget_bias=forget_bias, rng=rng) if cell == "lstm"
                     else RNN(2, hidden, rng=rng))
        self.out = Linear(hidden, 1, rng)

    def forward(self, x):
        """x (B, T, 2) to (B,)."""
        outputs, _ = self.cell(x)
        self.cache = outputs.shape
        return self.out(outputs[:, -1])[:, 0]

    def backward(self, dout):
        """dout (B,) to dx (B, T, 2); all outputs but the last have no gradient."""
        d_outputs = np.zeros(self.kept(), dout.dtype)
        d_outputs[:, -1] = self.out.backward(dout[:, None])
        return self.cell.backward(d_outputs)


@dataclass
class Added:
    """A trained adder and its held-out errors by step; `solved` is the step, or None."""

    model: Adder
    curves: dict = field(default_factory=dict)

    @property
    def solved(self):
        """The first step with an error below SOLVED, if there is one."""
        pairs = zip(self.curves["step"], self.curves["held"])
        return next((step for step, error in pairs if error < SOLVED), None)


def held_out_error(model, x, y, rows=250):
    """Mean squared error on x (N, T, 2), y (N,), some rows at a time."""
    pieces = [model(x[k:k + rows]) - y[k:k + rows] for k in range(0, len(x), rows)]
    return float(np.mean(np.concatenate(pieces).astype(float) ** 2))


def train_adder(cell, T, seed=0, steps=2500, hidden=32, batch=32, lr=1e-2, clip=1.0,
                forget_bias=1.0, every=100, path=None, stop=None, progress=False):
    """Adam on new sequences in every step, until it is solved or `steps` are done: Added.

    Goes on where the checkpoint `path` ends; `stop` ends it at a step, as an interruption would.
    """
    model = Adder(cell, hidden, np.random.default_rng(seed), forget_bias)
    optimizer = Adam(model.parameters(), lr)
    held, sums = adding_batch(T, 500, np.random.default_rng([seed, T, 0]))
    parts = {"model": model, "optimizer": optimizer}
    found, done = Added(model, {"step": [], "held": []}), 0
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore(parts)
        done, found.curves = checkpoint.record["done"], checkpoint.record["curves"]
    bar = Progress(steps - done, progress)
    for step in range(done, steps if stop is None else min(stop, steps)):
        if found.solved is not None:
            break
        x, y = adding_batch(T, batch, np.random.default_rng([seed, T, step + 1]))   # resumes
        error = model(x) - y
        optimizer.zero_grad()
        model.backward(2 * error / np.float32(batch))
        clip_by_global_norm(model.parameters(), clip)
        optimizer.step()
        bar.advance(f"{cell}, T = {T}, error {float(error @ error) / batch:.4f}")
        if (step + 1) % every == 0 or step + 1 == steps:
            found.curves["step"].append(step + 1)
            found.curves["held"].append(held_out_error(model, held, sums))
            if path is not None:
                save_checkpoint(path, parts, done=step + 1, curves=found.curves)
    bar.close()
    return found


def cell_norms(forget_bias, T=40, H=64, B=16, seed=0):
    """Norms (T + 1,) of the gradient of c_T with respect to c_{T-k}, relative to k = 0, in an untrained LSTM."""
    rng = np.random.default_rng(seed)
    module = LSTM(8, H, forget_bias=forget_bias, rng=rng).astype(np.float64)
    weights, states, caches = [p.data for p in module.of_layer(0)], [np.zeros((B, H))] * 2, []
    for x in rng.standard_normal((T, B, 8)):
        states, cache = lstm_step(x, *states, *weights)
        caches.append(cache)
    dh, dc = np.zeros((B, H)), rng.standard_normal((B, H))
    norms = [np.linalg.norm(dc)]
    for cache in reversed(caches):
        _, dh, dc, *_ = lstm_step_backward(dh, dc, cache)
        norms.append(np.linalg.norm(dc))
    return np.array(norms) / norms[0]
