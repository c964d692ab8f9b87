# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:e885c0868759c139
"""Chapter 3: what the figures show, computed. Nothing is drawn here."""

from itertools import pairwise

import numpy as np

import tangled.t03_optimizers as rules
from tangled.t02_autograd import Tensor
from tangled.t03_optimizers.paths import follow, plain, quadratic, rosenbrock

VALLEY = {"function": quadratic([1.0, 25.0]), "start": (-3.0, 1.0), "steps": 60,
          "goal": (0.0, 0.0), "box": (-3.4, 1.6, -1.3, 1.3),
          "rates": {"SGD": 0.07, "Momentum": 0.01, "Nesterov": 0.04, "AdaGrad": 0.7,
                    "RMSProp": 0.04, "Adam": 0.4, "AdamW": 0.4}}
BANANA = {"function": rosenbrock, "start": (-1.2, 1.0), "steps": 400, "goal": (1.0, 1.0),
          "box": (-1.7, 1.5, -0.6, 1.7),
          "rates": {"SGD": 0.002, "Momentum": 0.002, "Nesterov": 0.001, "AdaGrad": 1.0,
                    "RMSProp": 0.02, "Adam": 0.4, "AdamW": 0.4}}


def valley_runs(steps=40):
    """(title, path (steps + 1, 2)) of plain descent with two rates, and of momentum."""
    for name, settings in (("SGD", {"lr": 0.02}), ("SGD", {"lr": 0.078}),
                           ("Momentum", {"lr": 0.03, "momentum": 0.8})):
        path = follow(getattr(rules, name), VALLEY["function"], VALLEY["start"], steps, **settings)
        yield f"{name}, " + ", ".join(f"{k} {v}" for k, v in settings.items()), path


def paths(where):
    """{rule: path (steps + 1, 2)} of all rules on VALLEY or on BANANA."""
    return {name: follow(getattr(rules, name), where["function"], where["start"], where["steps"], lr=lr)
            for name, lr in where["rates"].items()}


def adam_steps(gradients, lr=1.0):
    """Steps of Adam in units of lr, for gradients (steps, n): (steps, n)."""
    p, out = plain(np.zeros(gradients.shape[1])), []
    optimizer = rules.Adam([p], lr=lr)
    for g in gradients:
        previous = p.data.copy()
        p.grad = g
        optimizer.step()
        out.append((previous - p.data) / lr)
    return np.array(out)


def noisy_steps(samples=100):
    """Ratios of noise to mean (12,), and Adam's mean step for gradients of that kind (12,)."""
    noise, random = np.geomspace(0.03, 10, 12), np.random.default_rng(3)
    gradients = 1 + noise * random.standard_normal((2000, samples, 12))
    steps = adam_steps(gradients.reshape(2000, -1))[200:].reshape(-1, samples, 12)
    return noise, steps.mean((0, 1))


def spirals(random, n=128):
    """Two interleaved spirals: x (n, 2), y (n, 1) of -1 and 1."""
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    radius = np.linspace(0.15, 1.0, n)
    angle = 7.0 * radius + np.pi * (y > 0)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return 2 * (x + 0.01 * random.standard_normal((n, 2))), y[:, None]


def spiral_losses(name, lr, steps=1500):
    """Loss by step of a network of tensors, 2-24-24-1 with tanh, on the spirals."""
    random = np.random.default_rng(7)
    x, y = spirals(random)
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
