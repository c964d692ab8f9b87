# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:6491eba935340601
"""Pictures and their variations, level 1: loops over pixels. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t17_cifar10.checks as check


def pictures_of_rows(rows, shape):
    """rows (N, C H W), bytes, and (C, H, W): the pictures (N, C, H, W)."""
    rows, shape = check.rows(rows, shape)
    out, (_, H, W) = np.empty((len(rows), *shape), np.uint8), shape
    for n, c, a, e in np.ndindex(*out.shape):
        out[n, c, a, e] = rows[n, (c * H + a) * W + e]
    return out


def channel_statistics(images):
    """images (N, C, H, W), bytes: mean (C,), std (C,), float64, of values from 0 to 1."""
    images = check.some(images)
    mean, std = [], []
    for c in range(images.shape[1]):
        values = [v / 255 for v in images[:, c].ravel().tolist()]
        mean.append(sum(values) / len(values))                  # eq. 17.1
        std.append(math.sqrt(sum((v - mean[-1]) ** 2 for v in values) / len(values)))
    return np.array(mean), np.array(std)


def normalise(images, mean, std):
    """images (N, C, H, W), bytes; mean, std (C,): float32 of that shape."""
    images = check.bytes_of(images)
    mean, std = check.per_channel("mean", mean, images), check.per_channel("std", std, images)
    out = np.empty(images.shape, np.float32)
    for place in np.ndindex(*images.shape):
        c = place[1]
        out[place] = (int(images[place]) / 255 - float(mean[c])) / float(std[c])
    return out


def crop(images, offsets, padding):
    """images (N, C, H, W), offsets (N, 2): each moved by padding - offset, zeros around."""
    images, padding = check.pictures(images), check.whole("padding", padding, 0)
    offsets = check.places("offsets", offsets, images, 0, (2 * padding,) * 2)
    out = np.zeros(images.shape, images.dtype)
    for n, c, a, e in np.ndindex(*images.shape):
        y, x = a + offsets[n, 0] - padding, e + offsets[n, 1] - padding
        if 0 <= y < images.shape[2] and 0 <= x < images.shape[3]:
            out[n, c, a, e] = images[n, c, y, x]
    return out


def flip(images, flags):
    """images (N, C, H, W), flags (N,): those with a flag mirrored."""
    images = check.pictures(images)
    flags, out, W = check.flags(flags, images), images.copy(), images.shape[3]
    for n, c, a, e in np.ndindex(*images.shape):
        if flags[n]:
            out[n, c, a, e] = images[n, c, a, W - 1 - e]
    return out


def cutout(images, centres, size):
    """images (N, C, H, W), centres (N, 2): a square of zeros, size x size, around each centre."""
    images, size = check.pictures(images), check.whole("size", size, 0)
    centres = check.places("centres", centres, images, 0, (images.shape[2] - 1, images.shape[3] - 1))
    out = images.copy()
    for n, c, a, e in np.ndindex(*images.shape):
        y, x = a - (int(centres[n, 0]) - size // 2), e - (int(centres[n, 1]) - size // 2)
        if 0 <= y < size and 0 <= x < size:
            out[n, c, a, e] = 0
    return out


def augment(images, rng, padding=4, size=8):
    """images (N, C, H, W): cropped, flipped and cut by draws from rng, one picture after another."""
    images, rng = check.pictures(images), check.generator(rng)
    N, _, H, W = images.shape
    offsets = rng.integers(0, 2 * check.whole("padding", padding, 0) + 1, (N, 2))
    flags, centres = rng.random(N) < 0.5, rng.integers(0, (H, W), (N, 2))
    return cutout(flip(crop(images, offsets, padding), flags), centres, size)


def class_activation_map(features, weights, labels):
    """features (N, C, H, W), weights (C, K), labels (N,): (N, H, W)."""
    features, weights, labels = check.maps(features, weights, labels)
    N, C, H, W = features.shape
    out = np.zeros((N, H, W), features.dtype)
    for n, a, e in np.ndindex(N, H, W):
        out[n, a, e] = sum(float(weights[c, labels[n]]) * float(features[n, c, a, e]) for c in range(C))
    return out
