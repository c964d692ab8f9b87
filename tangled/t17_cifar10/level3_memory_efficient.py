# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:42c29b1504acb447
"""Pictures and their variations, level 3: histograms, tables, no padded copy."""

import numpy as np

import tangled.t17_cifar10.checks as check
from tangled.t17_cifar10.level2_vectorized import class_activation_map, pictures_of_rows

__all__ = ["augment", "channel_statistics", "class_activation_map", "crop", "cutout", "flip", "normalise",
           "pictures_of_rows"]


def channel_statistics(images):
    """As level 2, from 256 counts a channel; the sums are exact."""
    images = check.some(images)
    values = np.arange(256)
    counts = np.array([sum(np.bincount(picture[c].ravel(), minlength=256) for picture in images)
                       for c in range(images.shape[1])])        # (C, 256)
    pixels = images[:, 0].size
    sums = [[int(h @ values ** power) for h in counts] for power in (1, 2)]     # eq. 17.2
    mean = np.array([first / (255 * pixels) for first in sums[0]])
    variance = [(second * pixels - first ** 2) / (255 * pixels) ** 2 for first, second in zip(*sums)]
    return mean, np.sqrt(variance)


def normalise(images, mean, std, out=None):
    """As level 2, by a table of 256 floats a channel; into `out`, float32, if given."""
    images = check.bytes_of(images)
    mean, std = check.per_channel("mean", mean, images), check.per_channel("std", std, images)
    tables = ((np.arange(256) / 255.0 - mean[:, None]) / std[:, None]).astype(np.float32)      # (C, 256)
    if out is None:
        out = np.empty(images.shape, np.float32)
    elif not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (images.shape, np.float32):
        raise ValueError(f"out is {getattr(out, 'dtype', type(out).__name__)} {np.shape(out)}; "
                         f"expected float32 {images.shape}")
    for c, table in enumerate(tables):
        out[:, c] = table[images[:, c]]
    return out


def crop(images, offsets, padding):
    """As level 2, copying what is visible, without a padded batch."""
    images, padding = check.pictures(images), check.whole("padding", padding, 0)
    offsets = check.places("offsets", offsets, images, 0, (2 * padding,) * 2)
    out = np.zeros(images.shape, images.dtype)
    for picture, moved, (y, x) in zip(images, out, (offsets - padding).tolist()):
        rows, columns = _visible(y, images.shape[2]), _visible(x, images.shape[3])
        moved[:, rows[0], columns[0]] = picture[:, rows[1], columns[1]]
    return out


def _visible(shift, size):
    """Where an axis is written and read when a window begins `shift` entries later."""
    keep = max(0, size - abs(shift))
    start = max(0, shift)
    return slice(start - shift, start - shift + keep), slice(start, start + keep)


def flip(images, flags):
    """As level 2, in the one new array."""
    images = check.pictures(images)
    flags, out = check.flags(flags, images), images.copy()
    out[flags] = images[flags][..., ::-1]
    return out


def cutout(images, centres, size):
    """As level 2, in the one new array."""
    images, size = check.pictures(images), check.whole("size", size, 0)
    centres = check.places("centres", centres, images, 0, (images.shape[2] - 1, images.shape[3] - 1))
    out = images.copy()
    for picture, (y, x) in zip(out, (centres - size // 2).tolist()):
        picture[:, max(y, 0):max(y + size, 0), max(x, 0):max(x + size, 0)] = 0
    return out


def augment(images, rng, padding=4, size=8):
    """As level 2."""
    images, rng = check.pictures(images), check.generator(rng)
    N, _, H, W = images.shape
    offsets = rng.integers(0, 2 * check.whole("padding", padding, 0) + 1, (N, 2))
    flags, centres = rng.random(N) < 0.5, rng.integers(0, (H, W), (N, 2))
    return cutout(flip(crop(images, offsets, padding), flags), centres, size)
