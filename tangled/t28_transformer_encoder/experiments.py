# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:1e793d67d905729f
"""Chapter 28: gradients at the start, digits by patches, experts that share the work. Nothing is drawn here."""

import time
from dataclasses import dataclass

import numpy as np

from tangled.t03_optimizers import Adam
from tangled.t10_mnist import level3_memory_efficient as mnist
from tangled.t13_pooling.experiments import shifted
from tangled.t13_pooling.model import build_cnn
from tangled.t13_pooling.training import Pictures
from tangled.t17_cifar10 import crop
from tangled.t28_transformer_encoder import level3_memory_efficient as lean
from tangled.t28_transformer_encoder.level2_vectorized import MixtureOfExperts, TransformerEncoder

SETTINGS = {"samples": 6_000, "epochs": 8, "batch": 64, "lr": 0.002, "weight_decay": 0.1, "patch": 7, "layers": 4,
            "d_model": 64, "heads": 4, "d_ff": 128, "shift": 2, "seed": 0}
KINDS = ("vit", "set", "moved", "cnn")
EXPERTS = {"kinds": 8, "experts": 8, "d_model": 16, "d_ff": 16, "tokens": 256, "steps": 1000, "lr": 3e-3}


def _stack(norm_first, blocks, seed, width=32):
    """An encoder at its initialisation, x (8, 16, width) and a random target of the same shape."""
    rng = np.random.default_rng(seed)
    encoder = TransformerEncoder(blocks, width, 4, 4 * width, norm_first=norm_first, rng=rng)
    return encoder, *rng.standard_normal((2, 8, 16, width), dtype=np.float32)


def start(norm_first, blocks, seed=0):
    """Forward and backward through a stack at its initialisation; {name: (blocks,)}, by block, the first first.

    "variance" of the stream behind a block; "share" of the gradient at the top that arrives at a block's input,
    along itself; "w1", the length of the gradient of w1. The loss is half the squared error, a mean over tokens.
    """
    encoder, x, target = _stack(norm_first, blocks, seed)
    found = {"variance": [], "share": [], "w1": []}
    out = x
    for block in encoder.blocks:
        out = block(out)
        found["variance"].append(out.var())
    out = out if encoder.norm is None else encoder.norm(out)
    grad = (out - target) / np.float32(x[..., 0].size)
    top = grad = grad if encoder.norm is None else encoder.norm.backward(grad)
    for block in reversed(encoder.blocks):
        grad = block.backward(grad)
        found["share"].insert(0, np.sum(grad * top) / np.sum(top * top))
        found["w1"].insert(0, np.linalg.norm(block.ffn.linear1.weight.grad))
    return {name: np.array(values) for name, values in found.items()}


class Moved(Pictures):
    """A loader of pictures (B, 1, 28, 28), each moved up to `pixels` up or down and left or right, anew each time."""

    def __init__(self, loader, pixels, rng):
        super().__init__(loader)
        self.pixels, self.rng = pixels, rng

    def __iter__(self):
        for x, y in super().__iter__():
            paper, offsets = x.min(), self.rng.integers(0, 2 * self.pixels + 1, (len(x), 2))
            yield crop(x - paper, offsets, self.pixels) + paper, y


@dataclass
class Trained:
    """A model, its history, the pixel statistics of its pictures, and the seconds that it took."""

    model: object
    history: dict
    scale: tuple
    seconds: float


def build(kind, settings, rng):
    """A model of pictures (B, 1, 28, 28): "vit", "moved" (the same), "set" (a ViT without positions) or "cnn"."""
    if kind == "cnn":
        return build_cnn(rng)
    s = settings
    return lean.ViT(28, s["patch"], 1, 10, s["layers"], s["d_model"], s["heads"], s["d_ff"],
                    positions=kind != "set", rng=rng)


def train(kind, training, settings, path=None, progress=False):
    """Train on the first samples of (images (N, 28, 28), labels (N,)); a checkpoint at `path` is continued.

    The kind "moved" is a ViT for which each picture is moved anew at every epoch.
    """
    start, settings = time.perf_counter(), SETTINGS | settings
    images, labels = (array[:settings["samples"]] for array in training)
    initial, shuffle, moves = (np.random.default_rng([settings["seed"], k]) for k in range(3))
    scale = mnist.pixel_statistics(images)
    loader = mnist.make_loader(images, labels, settings["batch"], *scale, shuffle)
    loader = Moved(loader, settings["shift"], moves) if kind == "moved" else Pictures(loader)
    model, epochs = build(kind, settings, initial), settings["epochs"]
    engine = mnist.build_engine(model, epochs * len(loader), settings["lr"], settings["weight_decay"])
    history = mnist.train(engine, loader, epochs, path, {"shuffle": shuffle, "moves": moves}, None,
                          settings | {"kind": kind}, progress)
    return Trained(model, history, scale, time.perf_counter() - start)


def accuracy(trained, pictures):
    """The share of (images (N, 28, 28), labels (N,)) that is named rightly."""
    logits, target = mnist.predict(trained.model, Pictures(mnist.make_loader(*pictures, 500, *trained.scale)))
    return mnist.accuracy(target, logits.argmax(axis=1))


def by_shift(trained, pictures, shifts=range(5)):
    """A list of accuracies on (images (N, 28, 28), labels (N,)) moved to the right by so many pixels."""
    images, labels = pictures
    return [accuracy(trained, (shifted(images, pixels), labels)) for pixels in shifts]


def train_experts(weight, seed, settings=EXPERTS):
    """A MixtureOfExperts on tokens of several kinds: busiest share, dropped at c = 1.25, balance, error."""
    s, rng = EXPERTS | settings, np.random.default_rng(seed)
    D = s["d_model"]
    centres = 2 * rng.standard_normal((s["kinds"], D)).astype(np.float32)
    maps = rng.standard_normal((s["kinds"], D, D)).astype(np.float32) / np.float32(D ** 0.5)
    layer = MixtureOfExperts(D, s["d_ff"], s["experts"], rng=rng)
    optimizer = Adam(layer.parameters(), s["lr"])

    def tokens(count):
        kind, noise = rng.integers(s["kinds"], size=count), rng.standard_normal((count, D), dtype=np.float32)
        return centres[kind] + noise, np.einsum("nd,nde->ne", noise, maps[kind])
    for _ in range(s["steps"]):
        x, target = tokens(s["tokens"])
        out, _ = layer(x)
        optimizer.zero_grad()
        layer.backward(((out - target) * np.float32(2 / out.size), np.float32(weight)))
        optimizer.step()
    x, target = tokens(4096)
    out, balance = layer(x)
    error, share = float(np.square(out - target).mean()), layer.cache[3]
    layer.capacity_factor = 1.25
    held, _ = layer(x)
    return {"busiest": float(share.max()), "dropped": float(np.mean(~held.any(axis=1))), "balance": float(balance),
            "error": error}
