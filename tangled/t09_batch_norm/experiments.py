# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:1e8dfe8d6b3f7e48
"""Chapter 09: networks with and without batch normalisation, trained and compared."""

from dataclasses import dataclass

import numpy as np

from tangled.data import load_fashion_mnist
from tangled.t06_backpropagation import (
    CrossEntropyLoss,
    DataLoader,
    GradientDescent,
    Linear,
    Module,
    ReLU,
    Sequential,
)
from tangled.t09_batch_norm import BatchNorm1d, batch_norm


def clothing(n, split="train"):
    """The first n pictures of Fashion-MNIST: x (n, 784) float32 around 0, and classes y (n,)."""
    images, labels = load_fashion_mnist(split)
    x = images[:n].reshape(-1, 784).astype(np.float32) / 255
    return (x - x.mean()) / x.std(), labels[:n].astype(np.int64)


@dataclass
class Trained:
    """A trained model, its losses (steps,), and the deviations by step and layer."""

    model: Module
    losses: np.ndarray
    spread: np.ndarray

    def last(self, count=10):
        """Mean of the last `count` losses; infinite if one was not finite."""
        mean = float(np.mean(self.losses[-count:]))
        return mean if np.isfinite(mean) else np.inf


def build(norm, depth=8, width=64, seed=0, gain=1.0):
    """depth linear layers, weights times gain, ReLU between them, normalisations if `norm`."""
    rng, layers, size = np.random.default_rng(seed), [], 784
    for _ in range(depth - 1):
        layers += [Linear(size, width, rng), *([BatchNorm1d(width)] if norm else []), ReLU()]
        size = width
    layers.append(Linear(size, 10, rng))
    for layer in layers:
        if isinstance(layer, Linear):
            layer.weight.data *= np.float32(gain)
    return Sequential(*layers)


def train(data, norm, lr, steps, batch=64, seed=0, gain=1.0):
    """Plain gradient descent for some steps, or until a loss is not finite: a Trained."""
    model, loss = build(norm, seed=seed, gain=gain), CrossEntropyLoss()
    optimizer = GradientDescent(model.parameters(), lr)
    model[0].input_grad = False
    losses, spread = [], []
    with np.errstate(all="ignore"):
        while len(losses) < steps and (not losses or np.isfinite(losses[-1])):
            for x, y in DataLoader(data, batch, np.random.default_rng(seed + len(losses)), True):
                optimizer.zero_grad()
                out, widths = forward(model, x)
                losses.append(loss(out, y))
                spread.append(widths)
                model.backward(loss.backward())
                optimizer.step()
                if len(losses) == steps or not np.isfinite(losses[-1]):
                    break
    return Trained(model, np.array(losses), np.array(spread))


def forward(model, x):
    """Output of a Sequential, and the deviation of what enters each of its ReLUs."""
    widths = []
    for module in model:
        if isinstance(module, ReLU):
            widths.append(float(x.std()))
        x = module(x)
    return x, widths


def graph(x, gamma, beta, dout):
    """One channel x (M,), step by step: {name: (value, gradient)}, eq. 9.8 to eq. 9.12; eps 0."""
    mean, M = x.mean(), len(x)
    d = x - mean                                                # (M,)
    var = (d * d).mean()
    s = var ** -0.5
    x_hat = d * s                                               # (M,)
    dx_hat = gamma * dout
    ds = (dx_hat * d).sum()
    dvar = -0.5 * s ** 3 * ds
    dd = s * dx_hat + 2 / M * d * dvar                          # (M,)
    dmean = -dd.sum()
    return {"x": (x, dd + dmean / M), "mean": (mean, dmean), "d": (d, dd), "var": (var, dvar),
            "s": (s, ds), "x_hat": (x_hat, dx_hat), "y": (gamma * x_hat + beta, dout),
            "gamma": (gamma, (dout * x_hat).sum()), "beta": (beta, dout.sum())}


def noise_of(size, trials=2000, seed=0):
    """RMS difference between normalising by a batch of `size` and by the true statistics."""
    x = np.random.default_rng(seed).standard_normal((size, trials))         # (M, trials)
    own, _ = batch_norm(x, np.ones(trials), np.zeros(trials), None, None, True)
    return float(np.sqrt(np.mean((own - x) ** 2)))


def losses_of(model, data, size):
    """Mean loss on data in training mode, with batches of `size`, and in evaluation mode."""
    state, loss = model.state_dict(), CrossEntropyLoss()
    batches = list(DataLoader(data, size, drop_last=True))
    in_training = np.mean([loss(model.train()(x), y) for x, y in batches])
    model.load_state_dict(state)                                            # as it was before
    return float(in_training), float(loss(model.eval()(data[0]), data[1]))
