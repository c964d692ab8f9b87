# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:baeac130c43c271f
"""Chapter 3: pictures of paths, rates, schedules and steps. Each returns a figure."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import tangled.t03_optimizers as rules
from tangled.t02_autograd import Tensor
from tangled.t03_optimizers.paths import follow, plain, quadratic, rosenbrock

STYLES = {"SGD": "C6", "Momentum": "C0", "Nesterov": "C4", "AdaGrad": "C2", "RMSProp": "C3",
          "Adam": "C1", "AdamW": "C5"}
VALLEY = {"function": quadratic([1.0, 25.0]), "start": (-3.0, 1.0), "steps": 60,
          "goal": (0.0, 0.0), "box": (-3.4, 1.6, -1.3, 1.3),
          "rates": {"SGD": 0.07, "Momentum": 0.01, "Nesterov": 0.04, "AdaGrad": 0.7,
                    "RMSProp": 0.04, "Adam": 0.4, "AdamW": 0.4}}
BANANA = {"function": rosenbrock, "start": (-1.2, 1.0), "steps": 400, "goal": (1.0, 1.0),
          "box": (-1.7, 1.5, -0.6, 1.7),
          "rates": {"SGD": 0.002, "Momentum": 0.002, "Nesterov": 0.001, "AdaGrad": 1.0,
                    "RMSProp": 0.02, "Adam": 0.4, "AdamW": 0.4}}


def _contours(ax, function, box):
    """Level lines of a function of (2,), close together near its minimum."""
    x, y = np.meshgrid(np.linspace(*box[:2], 120), np.linspace(*box[2:], 120))
    z = np.array([function(np.array(w))[0] for w in zip(x.ravel(), y.ravel())]).reshape(x.shape)
    ax.contour(x, y, z, levels=np.geomspace(0.05, z.max(), 10), colors="0.8", linewidths=0.6)
    ax.set(xlim=box[:2], ylim=box[2:])


def draw_valley(steps=40):
    """Plain descent with a small and a large step, and momentum, on one quadratic."""
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 1.7), sharey=True)
    runs = (("SGD", {"lr": 0.02}), ("SGD", {"lr": 0.078}),
            ("Momentum", {"lr": 0.03, "momentum": 0.8}))
    for ax, (name, settings) in zip(axes, runs):
        _contours(ax, VALLEY["function"], VALLEY["box"])
        path = follow(getattr(rules, name), VALLEY["function"], VALLEY["start"], steps, **settings)
        ax.plot(*path.T, ".-", color="C0" if name == "SGD" else "C1", lw=0.8, ms=3)
        ax.plot(0, 0, "k+")
        ax.set_title(", ".join(f"{k} {v}" for k, v in settings.items()))
    return figure


def draw_paths():
    """Paths of all rules on both functions, and their values by step."""
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 3.5))
    for row, where in zip(axes, (VALLEY, BANANA)):
        _draw_paths(*row, **where)
    axes[1, 1].legend(ncol=3, fontsize=6.5, loc="lower left")
    return figure


def _draw_paths(left, right, function, start, steps, goal, box, rates):
    _contours(left, function, box)
    for name, lr in rates.items():
        path = follow(getattr(rules, name), function, start, steps, lr=lr)
        left.plot(*path.T, color=STYLES[name], lw=1.0, ls="--" if name == "AdamW" else "-")
        values = [function(w)[0] for w in path]
        right.semilogy(values, color=STYLES[name], label=name, ls="--" if name == "AdamW" else "-")
    left.plot(*goal, "k+")
    right.set(xlabel="step", ylabel="value", ylim=(1e-6, None))


def draw_rates():
    """The contraction factor of momentum against lr * curvature."""
    figure, ax = plt.subplots(figsize=(4.7, 1.8))
    product = np.linspace(0, 4, 801)
    for mu in (0.0, 0.5, 0.8, 0.95):
        half = (1 + mu - product) / 2
        root = np.sqrt(half * half - mu + 0j)                              # of eq. 3.11
        factor = np.maximum(abs(half + root), abs(half - root))
        ax.plot(product, np.where(factor <= 1, factor, np.nan), label=f"μ = {mu:g}")
    ax.set(xlabel="ηλ", ylabel="factor a step", ylim=(0, 1.02))
    ax.legend(loc="lower right")
    return figure


def draw_pictures(steps=100):
    """Schedules; Adam's steps for a constant gradient and for noisy ones; losses."""
    figure, ((ax, constant), (noisy, losses)) = plt.subplots(2, 2, figsize=(6.4, 3.4))
    t = np.arange(steps)
    ax.step(t, rules.step_decay(t, 1.0, 25, 0.5), where="mid", label="step, 0.5 every 25")
    ax.plot(t, rules.cosine_decay(t, 1.0, steps), label="cosine")
    ax.plot(t, rules.cosine_decay(t, 1.0, steps, warmup=10, final=0.1),
            label="warm-up 10, to 0.1")
    ax.set(xlabel="updates made", ylabel="learning rate", ylim=(0, 1.05))
    ax.legend(fontsize=6.5)
    _draw_constant(constant)
    _draw_noisy(noisy)
    _draw_training(losses)
    return figure


def _adam_steps(gradients, lr=1.0):
    """|step| / lr of Adam for gradients (steps, n): (steps, n), averaged over nothing."""
    p, previous, out = plain(np.zeros(gradients.shape[1])), 0.0, []
    optimizer = rules.Adam([p], lr=lr)
    for g in gradients:
        previous = p.data.copy()
        p.grad = g
        optimizer.step()
        out.append((previous - p.data) / lr)
    return np.array(out)


def _draw_constant(ax):
    t = np.unique(np.geomspace(1, 10_000, 200).astype(int))
    measured = _adam_steps(np.ones((10_000, 1)))[t - 1, 0]
    ax.semilogx(t, measured, label="corrected")
    ax.semilogx(t, (1 - 0.9**t) / np.sqrt(1 - 0.999**t), label="not corrected")
    ax.set(xlabel="update", ylabel="step / lr", ylim=(0, 8.5))
    ax.legend(loc="upper right")


def _draw_noisy(ax, samples=200):
    noise, random = np.geomspace(0.03, 10, 12), np.random.default_rng(3)
    gradients = 1 + noise * random.standard_normal((2000, samples, 12))
    steps = _adam_steps(gradients.reshape(2000, -1))[200:].reshape(-1, samples, 12)
    line = np.geomspace(0.03, 10, 100)
    ax.semilogx(line, 1 / np.sqrt(1 + line**2), color="C6", label="predicted")
    ax.semilogx(noise, steps.mean((0, 1)), "o", color="C1", label="measured")
    ax.set(xlabel="noise / mean of the gradient", ylabel="step / lr", ylim=(0, 1.1))
    ax.legend(loc="lower left")


def _spirals(random, n=128):
    """Two interleaved spirals: x (n, 2), y (n, 1) of -1 and 1."""
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    radius = np.linspace(0.15, 1.0, n)
    angle = 7.0 * radius + np.pi * (y > 0)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return 2 * (x + 0.01 * random.standard_normal((n, 2))), y[:, None]


def _losses(name, lr, steps):
    """Loss by step of a network of tensors, 2-24-24-1 with tanh, on the spirals."""
    random = np.random.default_rng(7)
    x, y = _spirals(random)
    sizes = (2, 24, 24, 1)
    layers = [(Tensor(random.standard_normal((a, b)) / a**0.5), Tensor(np.zeros(b)))
              for a, b in pairwise(sizes)]
    optimizer, losses = getattr(rules, name)([p for layer in layers for p in layer], lr=lr), []
    for _ in range(steps):
        h = x
        for k, (w, b) in enumerate(layers):
            h = (h.tanh() if k else h) @ w + b
        error = h - y
        loss = (error * error).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def _draw_training(ax, steps=1500):
    for name, lr in (("SGD", 0.2), ("Momentum", 0.05), ("RMSProp", 0.001), ("Adam", 0.01)):
        losses = _losses(name, lr, steps).reshape(-1, 20).mean(1)
        ax.semilogy(np.arange(len(losses)) * 20, losses, color=STYLES[name], label=f"{name}, {lr}")
    ax.set(xlabel="update", ylabel="mean squared error")
    ax.legend(fontsize=6.5)
