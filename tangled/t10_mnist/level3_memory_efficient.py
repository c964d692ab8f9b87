# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:551623153057ab1b
"""MNIST, level 3: one array for a file, one batch of floats. Shapes and errors as in level 2."""

import gzip
import math
import os
import zlib
from itertools import pairwise

import numpy as np

import tangled.t10_mnist.checks as check
from tangled.data import IDX_TYPES, open_binary
from tangled.t03_optimizers import CosineDecay
from tangled.t03_optimizers import level3_memory_efficient as flat
from tangled.t06_backpropagation.level2_vectorized import DataLoader, Engine, Sequential
from tangled.t06_backpropagation.level3_memory_efficient import CrossEntropyLoss, Linear, ReLU
from tangled.t08_regularization import Dropout as WholeDropout
from tangled.t08_regularization.level3_memory_efficient import dropout as drop
from tangled.t08_regularization.level3_memory_efficient import dropout_backward as drop_backward
from tangled.t10_mnist.level2_vectorized import (  # noqa: F401, used as they are
    Checkpoint,
    Scheduled,
    accuracy,
    load_checkpoint,
    mcnemar,
    precision_recall,
    predict,
    save_checkpoint,
    train,
)

PIECE = 1 << 20         # bytes read at a time
BLOCK = 1 << 16         # numbers counted at a time: bincount makes int64 of them
EXPANSION = 1032        # bytes that a byte of deflate can become, at most


def read_idx(path, limit=1 << 30):
    """The array in an IDX file, (d_1, ..., d_n); its own size is the peak, but for a piece."""
    limit = check.whole("limit", limit, 0)
    with open_binary(path) as file:
        try:
            code, axes = check.magic(path, file.read(4))
            sizes = file.read(4 * axes)
            check.header(path, 4 + len(sizes), axes)
            shape = tuple(np.frombuffer(sizes, ">u4").tolist())
            kind = np.dtype(IDX_TYPES[code])
            size, most = kind.itemsize * math.prod(shape), os.path.getsize(path)
            most *= EXPANSION if isinstance(file, gzip.GzipFile) else 1
            check.bounded(path, size, min(limit, most))
            array = np.empty(shape, kind)
            found = _fill(file, memoryview(array.reshape(-1).view(np.uint8)))
            found += len(file.read(1))                          # what trails; the checksum
        except (EOFError, zlib.error, OSError) as broken:
            raise check.broken(path, broken) from None
    check.content(path, found, size, shape)
    native = kind.newbyteorder("=")
    return array if kind == native else array.byteswap(inplace=True).view(native)


def _fill(file, view):
    """Read into the view (bytes,) until it is full or the file ends: how many bytes."""
    filled = 0
    while filled < len(view):
        count = file.readinto(view[filled:filled + PIECE])
        if not count:
            break
        filled += count
    return filled


def pixel_statistics(images):
    """Mean and deviation of images (N, ...), floats, from a histogram of 256 counts."""
    images = check.pictures(images, least=1)
    counts, rows = np.zeros(256, np.int64), max(1, BLOCK // math.prod(images.shape[1:]))
    for start in range(0, len(images), rows):
        counts += np.bincount(images[start:start + rows].reshape(-1), minlength=256)
    values, total = np.arange(256), images.size
    mean = float(values @ counts) / total
    return mean, math.sqrt(float((values - mean) ** 2 @ counts) / total)


def confusion_matrix(target, predicted, classes, out=None):
    """Counts (K, K), int64, of integers (N,); added to `out` (K, K), int64, if that is given."""
    target, predicted = check.labels(target, predicted, classes)
    counts = np.zeros(classes * classes, np.int64)
    for start in range(0, len(target), BLOCK):
        piece = slice(start, start + BLOCK)
        pairs = target[piece].astype(np.int64)                  # eq. 10.6
        pairs *= classes
        pairs += predicted[piece].astype(np.int64)
        counts += np.bincount(pairs, minlength=classes * classes)
    counts = counts.reshape(classes, classes)
    return counts if out is None else np.add(check.room(out, counts), counts, out=out)


def worst_mistakes(logits, target, k):
    """Indices (at most k,) for logits (N, K), target (N,); losses of the mistakes alone."""
    logits, target = check.answers(logits, target, k)
    found = np.flatnonzero(logits.argmax(axis=1) != target)
    z = logits[found]                                           # (mistakes, K)
    z -= z.max(axis=1, keepdims=True)
    loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(found)), target[found]]
    return found[np.argsort(-loss, kind="stable")[:k]]


def prepare(images, mean, std, out=None):
    """Standardised rows (N, D), float32, of images (N, ...), into `out`."""
    images, mean, std = check.preparation(images, mean, std)
    rows = images.reshape(len(images), math.prod(images.shape[1:]))
    like = np.broadcast_to(np.float32(0), rows.shape)           # shape and dtype, and no memory
    out = np.empty(rows.shape, np.float32) if out is None else check.room(out, like)
    np.subtract(rows, np.float32(mean), out=out)                # eq. 10.3
    return np.divide(out, np.float32(std), out=out)


class ByteLoader(DataLoader):
    """Batches of images (N, ...), uint8, that become floats (B, D) when they are needed."""

    def __init__(self, images, labels, batch_size, mean, std, rng=None):
        images, self.mean, self.std = check.preparation(images, mean, std)
        super().__init__((images, labels), batch_size, rng)
        rows = min(self.batch_size, len(images))
        self.room = np.empty((rows, math.prod(images.shape[1:])), np.float32)

    def __iter__(self):
        for images, labels in super().__iter__():
            room = self.room[:len(images)]
            yield prepare(images, self.mean, self.std, out=room), labels


def make_loader(images, labels, batch_size, mean, std, rng=None):
    """Batches (x (B, D), labels (B,)); x is valid until the next one."""
    return ByteLoader(images, labels, batch_size, mean, std, rng)


class AdamW(flat.AdamW):
    """AdamW over one flat vector (n,), whose gradients are forgotten lazily."""

    def zero_grad(self):
        """Let each parameter mark its gradient as stale."""
        for parameter in self.parameters:
            parameter.zero_grad()


class Dropout(WholeDropout):
    """Dropout of x (...), with a mask of one bit an entry."""

    def forward(self, x):
        """x (...) to an array of the same shape; a new mask at every call."""
        out, self.cache = drop(x, self.p, self.rng, self.training)
        return out

    def backward(self, dout):
        """dout (...) to dx of the same shape."""
        return drop_backward(dout, self.kept())


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
