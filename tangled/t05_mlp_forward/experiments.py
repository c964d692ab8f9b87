# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:707aa5571384b5f1
"""Chapter 05: what becomes of a signal in fifty layers."""

import numpy as np

from tangled.t05_mlp_forward import (
    kaiming_normal,
    kaiming_uniform,
    linear,
    relu,
    xavier_normal,
)


def signals(init, depth=50, width=256, rows=256, seed=0):
    """Mean squares (depth + 1,) of the signal by layer, and of a gradient sent back."""
    generator = np.random.default_rng(seed)
    h = generator.standard_normal((rows, width)).astype(np.float32)
    forward, kept = [1.0], []
    for _ in range(depth):
        W = init(generator, (width, width))
        h = relu(linear(h, W)[0])[0]
        kept.append((W, h > 0))
        forward.append(float(np.mean(h.astype(float) ** 2)))
    g = generator.standard_normal((rows, width)).astype(np.float32)
    backward = [1.0]
    for W, on in reversed(kept):
        g = (g * on) @ W.T
        backward.append(float(np.mean(g.astype(float) ** 2)))
    return np.array(forward), np.array(backward[::-1])


def plain(deviation):
    """An initialiser of normal weights (in, out) with a fixed deviation."""
    return lambda rng, shape: (deviation * rng.standard_normal(shape)).astype(np.float32)


def by_depth(depth=50, width=256):
    """{name: (forward, backward)}, (depth + 1,) each, and {name: factor a layer, predicted}."""
    cases = {"Kaiming, uniform": (kaiming_uniform, 2 / width),
             "Kaiming, normal": (kaiming_normal, 2 / width),
             "Xavier, normal": (xavier_normal, 1 / width),
             "deviation 0.05": (plain(0.05), 0.05**2), "deviation 0.1": (plain(0.1), 0.1**2)}
    return ({name: signals(init, depth, width) for name, (init, _) in cases.items()},
            {name: width * variance / 2 for name, (_, variance) in cases.items()})
