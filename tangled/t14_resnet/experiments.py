# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:4ba37a3e622d21b5
"""Chapter 14: how gradients change with depth, and what a loss looks like around trained weights."""

import numpy as np

from tangled.data import load_emoji
from tangled.t06_backpropagation import CrossEntropyLoss, GradientDescent
from tangled.t14_resnet.level3_memory_efficient import (
    PlainNet,
    ResNet,
    basic_block,
    basic_block_backward,
    batch_norm,
    batch_norm_backward,
    conv2d,
    conv2d_backward,
)

KINDS = ("plain, default", "plain, He", "plain, batch norm", "residual", "residual, zero init")


def plain_layer(x, rng, variance, norm):
    """relu(w * x), x (N, C, H, W), normalised in between if `norm`: the same shape, and a backward pass."""
    C, one, zero = x.shape[1], np.ones(x.shape[1]), np.zeros(x.shape[1])
    w = rng.normal(0, (variance / (9 * C)) ** 0.5, (C, C, 3, 3))
    z, of_conv = conv2d(x, w, None, 1, 1)
    a, of_norm = batch_norm(z, one, zero, None, None, True) if norm else (z, None)

    def backward(dout):
        d = np.where(a > 0, dout, 0)
        return conv2d_backward(batch_norm_backward(d, of_norm)[0] if norm else d, of_conv)[0]
    return np.maximum(a, 0), backward


def residual_layers(x, rng, zero):
    """A pre-activated block of two layers with He's weights, the last 0 if `zero`."""
    C = x.shape[1]
    w1, w2 = rng.normal(0, (2 / (9 * C)) ** 0.5, (2, C, C, 3, 3))
    one, shift = np.ones(C), np.zeros(C)
    out, cache = basic_block(x, w1, one, shift, w2 * (not zero), one, shift, preactivation=True)
    return out, lambda dout: basic_block_backward(dout, cache)[0]


def gradient_ratio(kind, depth, rng, shape=(16, 16, 16, 16)):
    """Norm of the gradient in front of `depth` layers, relative to that behind them, for an x of a shape."""
    x, steps = rng.standard_normal(shape), []
    residual = kind.startswith("residual")
    for _ in range(depth // (2 if residual else 1)):
        x, step = (residual_layers(x, rng, "zero" in kind) if residual else
                   plain_layer(x, rng, 1 / 3 if "default" in kind else 2, "norm" in kind))
        steps.append(step)
    d = upstream = rng.standard_normal(shape)
    for step in reversed(steps):
        d = step(d)
    return float(np.linalg.norm(d) / np.linalg.norm(upstream))


def small_emoji(n):
    """n of the pictures of Emoji-32, halved: x (n, 3, 16, 16) float32 around 0, classes y (n,)."""
    images, labels = load_emoji("train")
    chosen = np.random.default_rng(0).permutation(len(images))[:n]
    x = images[chosen].reshape(n, 3, 16, 2, 16, 2).mean(axis=(3, 5)).astype(np.float32) / 255
    return (x - x.mean()) / x.std(), labels[chosen].astype(np.int64)


def network(residual, blocks=(6, 6, 6), widths=(4, 8, 16), seed=0):
    """38 layers with or without shortcuts, nine classes."""
    rng = np.random.default_rng(seed)
    return (ResNet if residual else PlainNet)(blocks, widths, 9, rng=rng)


def train(net, data, steps, lr=0.1, batch=64, seed=1):
    """Gradient descent on batches drawn at random: the losses (steps,)."""
    (x, y), rng, loss = data, np.random.default_rng(seed), CrossEntropyLoss()
    optimizer, losses = GradientDescent(net.parameters(), lr), []
    for _ in range(steps):
        rows = rng.permutation(len(x))[:batch]
        losses.append(loss(net(x[rows]), y[rows]))
        optimizer.zero_grad()
        net.backward(loss.backward())
        optimizer.step()
    return np.array(losses)


def filter_normalised(net, rng):
    """A random direction {name: array}: every filter as long as the network's own; 0 for scales and shifts."""
    direction = {}
    for name, parameter in net.named_parameters():
        w = parameter.data
        d = np.zeros_like(w)
        if w.ndim > 1:
            d += rng.standard_normal(w.shape)
            d *= _length(w) / _length(d)
        direction[name] = d
    return direction


def _length(w):
    """Of each filter of w (F, C, KH, KW), as (F, 1, 1, 1), or each column of w (in, out), as (1, out)."""
    axes = (1, 2, 3) if w.ndim == 4 else 0
    return np.sqrt(np.sum(w * w, axis=axes, keepdims=True))


def surface(net, data, points, seed=2):
    """Losses (P, P) at the weights plus a d1 + b d2, for all a, b of points (P,); d1 and d2 random."""
    (x, y), rng, loss = data, np.random.default_rng(seed), CrossEntropyLoss()
    first, second = filter_normalised(net, rng), filter_normalised(net, rng)
    state, found = net.state_dict(), np.empty((len(points), len(points)))
    for i, j in np.ndindex(*found.shape):
        for name, parameter in net.named_parameters():
            parameter.data[...] = state[name] + points[i] * first[name] + points[j] * second[name]
        found[i, j] = loss(net(x), y)                           # normalised by this batch
    net.load_state_dict(state)
    return found
