# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:3cebeb0468ac337c
"""MNIST, level 1: byte by byte, picture by picture. Shapes and errors as in level 2."""

import math
import struct
import zlib
from itertools import pairwise

import numpy as np

import tangled.t10_mnist.checks as check
from tangled.data import IDX_TYPES, open_binary, read_at_most
from tangled.t03_optimizers.level1_naive import AdamW, CosineDecay
from tangled.t06_backpropagation.level1_naive import CrossEntropyLoss, Linear, ReLU
from tangled.t06_backpropagation.level2_vectorized import DataLoader, Engine, Sequential
from tangled.t08_regularization import Dropout
from tangled.t10_mnist.level2_vectorized import (  # noqa: F401, nothing to calculate
    Checkpoint,
    Scheduled,
    load_checkpoint,
    predict,
    save_checkpoint,
    train,
)


def read_idx(path, limit=1 << 30):
    """The array of an IDX file, plain or gzipped, in the shape and type of its header."""
    limit = check.whole("limit", limit, 0)
    with open_binary(path) as file:
        try:
            code, axes = check.magic(path, file.read(4))
            head = read_at_most(file, 4 * axes)
            check.header(path, 4 + len(head), axes)
            shape = tuple(int.from_bytes(head[k:k + 4], "big") for k in range(0, 4 * axes, 4))
            kind = np.dtype(IDX_TYPES[code])
            size = kind.itemsize * math.prod(shape)
            check.bounded(path, size, limit)
            data = read_at_most(file, size + 1)                 # what trails is one byte, or a billion
        except (EOFError, zlib.error, OSError) as broken:
            raise check.broken(path, broken) from None
    check.content(path, len(data), size, shape)
    out = np.empty(math.prod(shape), kind.newbyteorder("="))
    for n in range(len(out)):
        out[n] = _entry(data[n * kind.itemsize:(n + 1) * kind.itemsize], kind)
    return out.reshape(shape)


def _entry(found, kind):
    """One number from its bytes, the most significant first."""
    if kind.kind == "f":
        return struct.unpack({4: ">f", 8: ">d"}[kind.itemsize], found)[0]
    return int.from_bytes(found, "big", signed=kind.kind == "i")


def pixel_statistics(images):
    """Mean and deviation of all pixels of images (N, ...), two floats."""
    pixels = check.pictures(images, least=1).reshape(-1).tolist()
    mean = sum(pixels) / len(pixels)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in pixels) / len(pixels))


def prepare(images, mean, std):
    """Standardised rows (N, D), float32, of images (N, ...)."""
    images, mean, std = check.preparation(images, mean, std)
    x = np.empty((len(images), math.prod(images.shape[1:])), np.float32)
    for n, picture in enumerate(images):
        for i, value in enumerate(picture.reshape(-1).tolist()):
            x[n, i] = (value - mean) / std                      # eq. 10.3
    return x


def make_loader(images, labels, batch_size, mean, std, rng=None):
    """Batches (x (B, D), labels (B,)) of images (N, ...) and labels (N,)."""
    return DataLoader((prepare(images, mean, std), labels), batch_size, rng)


def build_model(rng, widths=(784, 256, 128, 10), dropout=0.0, noise=None):
    """Linear, ReLU (and Dropout), and again, and Linear: (N, widths[0]) to (N, widths[-1])."""
    modules = []
    for fan_in, fan_out in pairwise(check.widths(widths)):
        modules += [Linear(fan_in, fan_out, rng), ReLU()]
        modules += [Dropout(dropout, noise)] if dropout else []
    return Sequential(*modules[:-2 if dropout else -1])


def build_engine(model, steps, lr=0.002, weight_decay=0.1):
    """AdamW and a cosine over `steps` updates, for a model (N, D) to (N, K)."""
    check.whole("steps", steps)
    optimizer = AdamW(model.parameters(), lr, weight_decay=weight_decay)
    schedule = CosineDecay(optimizer, steps, warmup=steps // 10)
    return Engine(model, CrossEntropyLoss(), Scheduled(optimizer, schedule))


def accuracy(target, predicted):
    """The share of equal entries of two integer arrays (N,)."""
    target, predicted = check.labels(target, predicted)
    check.some(target)
    return sum(int(t == p) for t, p in zip(target, predicted)) / len(target)


def confusion_matrix(target, predicted, classes):
    """Counts (K, K), int64, of integers (N,): truth in rows, predictions in columns."""
    target, predicted = check.labels(target, predicted, classes)
    counts = np.zeros((classes, classes), np.int64)
    for t, p in zip(target, predicted):
        counts[t, p] += 1                                       # eq. 10.6
    return counts


def precision_recall(confusion):
    """Precision (K,) and recall (K,) from counts (K, K); 0/0 is NaN."""
    confusion = check.counts(confusion).tolist()
    classes = range(len(confusion))
    said = [sum(confusion[i][k] for i in classes) for k in classes]
    true = [sum(confusion[k][j] for j in classes) for k in classes]
    share = lambda k, total: confusion[k][k] / total if total else math.nan
    return (np.array([share(k, said[k]) for k in classes]),     # eq. 10.7
            np.array([share(k, true[k]) for k in classes]))


def worst_mistakes(logits, target, k):
    """Indices (at most k,) of the wrong answers of logits (N, K) to target (N,)."""
    logits, target = check.answers(logits, target, k)
    found = []
    for n, (z, y) in enumerate(zip(logits.tolist(), target.tolist())):
        best = max(range(len(z)), key=lambda j: z[j])
        if best != y:
            loss = z[best] - z[y] + math.log(sum(math.exp(v - z[best]) for v in z))
            found.append((-loss, n))
    return np.array([n for _, n in sorted(found)[:k]], np.int64)


def mcnemar(target, first, second):
    """Only the first right, only the second right, and p, for integer arrays (N,)."""
    target, first = check.labels(target, first)
    target, second = check.labels(target, second)
    b = sum(int(t == p != q) for t, p, q in zip(target, first, second))
    c = sum(int(t == q != p) for t, p, q in zip(target, first, second))
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return b, c, min(1.0, 2 * tail / 2 ** (b + c))              # eq. 10.9
