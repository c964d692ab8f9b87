# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:ad7750c13cabb785
"""Chapter 09: training with and without, and what became of it. Drawings return a figure."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
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
class Run:
    """A trained model, its losses, (steps,), and the deviations by step and layer."""

    model: Module
    losses: np.ndarray
    spread: np.ndarray

    @property
    def final(self):
        """Mean loss of the last ten steps; infinite if one was not finite."""
        last = float(self.losses[-10:].mean())
        return last if np.isfinite(last) else np.inf


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
    """Plain gradient descent for some steps: a Run."""
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
    return Run(model, np.array(losses), np.array(spread))


def forward(model, x):
    """Output of a Sequential, and the deviation of what enters each of its ReLUs."""
    widths = []
    for module in model:
        if isinstance(module, ReLU):
            widths.append(float(x.std()))
        x = module(x)
    return x, widths


def draw_cloud(seed=3):
    """Two channels: as they are, normalised, scaled and shifted."""
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal((2, 200))
    x = np.stack([30 + 10 * u, 4 + 0.6 * u + 0.8 * v], axis=1)              # (N, 2)
    gamma, beta = np.array([0.5, 0.5]), np.array([1.0, 2.0])
    stages = [x, batch_norm(x, np.ones(2), np.zeros(2), None, None, True)[0],
              batch_norm(x, gamma, beta, None, None, True)[0]]
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.3))
    for ax, points, title, limits in zip(axes, stages, ("x", "normalised", "scaled, shifted"),
                                         ((-5, 62), (-3.4, 3.4), (-3.4, 3.4))):
        ax.axhline(0, color="0.7", linewidth=0.7)
        ax.axvline(0, color="0.7", linewidth=0.7)
        ax.plot(*points.T, ".", markersize=3, alpha=0.7)
        ax.set(title=title, xlim=limits, ylim=limits, aspect="equal", xlabel="channel 0")
    axes[0].set_ylabel("channel 1")
    return figure


def draw_dynamics(data, lr=0.1, steps=240, gain=0.5):
    """Loss for two initial scales, and deviations by layer for the smaller one."""
    figure, axes = plt.subplots(1, 3, figsize=(6.6, 2.4))
    for norm, ax, name in ((False, axes[1], "plain"), (True, axes[2], "batch norm")):
        for scale, dashes in ((1.0, (1, 0)), (gain, (3, 1))):
            run = train(data, norm, lr, steps, gain=scale)
            smooth = np.convolve(run.losses, np.ones(9) / 9, "valid")
            axes[0].plot(smooth, color=f"C{int(norm)}", dashes=dashes, label=f"{name}, x {scale:g}")
        shades = plt.cm.Blues(np.linspace(0.35, 1, run.spread.shape[1]))
        for layer, shade in zip(run.spread.T, shades):
            ax.plot(layer, color=shade, linewidth=1)
        ax.set(title=f"deviation, {name}", xlabel="step", yscale="log", ylim=(0.003, 5))
    axes[0].set(title="loss", xlabel="step", ylim=(0, 4))
    axes[0].legend(fontsize=6, ncols=2)
    axes[2].set_yticklabels([])
    return figure


def draw_rates(data, steps=80, seeds=(0, 1)):
    """Final loss against learning rate, without and with batch norm."""
    rates = np.geomspace(0.01, 10, 9)
    figure, ax = plt.subplots(figsize=(5.2, 2.5))
    for norm, name, marker in ((False, "plain", "o"), (True, "batch norm", "s")):
        final = np.array([[_last(train(data, norm, lr, steps, seed=seed).losses) for lr in rates]
                          for seed in seeds])
        ax.plot(rates, final.mean(0), marker=marker, markersize=4, label=name)
        for one in final:
            ax.plot(rates, one, marker=marker, markersize=2, linewidth=0, color="0.5")
    ax.axhline(np.log(10), color="0.6", dashes=(3, 2), linewidth=0.8)
    ax.set(xscale="log", yscale="log", ylim=(0.2, 12), xlabel="learning rate", ylabel="loss")
    ax.set_yticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    ax.legend()
    return figure


def _last(losses, count=20, top=10.0):
    """Mean of the last losses, at most `top`."""
    return np.minimum(np.nan_to_num(losses[-count:], nan=top), top).mean() \
        if np.isfinite(losses[-1]) else top


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
    return float(in_training), loss(model.eval()(data[0]), data[1])


def draw_drift(data, unseen, sizes=(4, 8, 16, 32, 64, 128), lr=0.05, steps=200):
    """Training against evaluation: of one normalisation, and of a trained network."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.5))
    many = np.array([2, 4, 8, 16, 32, 64, 128, 256])
    axes[0].plot(many, [noise_of(size) for size in many], "o", markersize=4,
                 label="measured")
    axes[0].plot(many, np.sqrt(1.5 / many), color="C1", label="predicted")
    axes[0].set(xscale="log", yscale="log", title="one layer", ylabel="difference")
    pairs = np.array([losses_of(train(data, True, lr, steps, batch=size).model, unseen, size)
                      for size in sizes])
    for values, name, marker in zip(pairs.T, ("training mode", "evaluation mode"), "os"):
        axes[1].plot(sizes, values, marker=marker, markersize=4, label=name)
    axes[1].set(xscale="log", title="eight layers, unseen data", ylabel="loss")
    for ax in axes:
        ax.set_xlabel("batch size M")
        ax.legend()
    return figure
