# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:ee465fa6bb8841df
"""Chapter 17: arguments checked, for all levels and for yours."""

import numbers

import numpy as np


def whole(name, value, least):
    """`value` as an int of at least `least`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not good or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer, at least {least}")
    return int(value)


def bytes_of(images):
    """images (N, C, H, W), uint8."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"images has dtype {images.dtype}; expected uint8, values from 0 to 255")
    return axes("images", images, 4)


def axes(name, array, count):
    """An array with that many axes."""
    if array.ndim != count:
        raise ValueError(f"{name} has shape {array.shape}; expected {count} axes, (N, C, H, W)")
    return array


def rows(array, shape):
    """array (N, C H W), uint8, and (C, H, W)."""
    array = np.asarray(array)
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ValueError(f"shape = {shape!r}; expected (C, H, W)")
    shape = tuple(whole("shape", size, 1) for size in shape)
    size = shape[0] * shape[1] * shape[2]
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != size:
        raise ValueError(f"rows is {array.dtype} {array.shape}; expected uint8 (N, {size})")
    return array, shape


def some(images):
    """images (N, C, H, W) of bytes with at least one pixel."""
    images = bytes_of(images)
    if 0 in images.shape:
        raise ValueError(f"images has shape {images.shape}; expected at least one pixel")
    return images


def pictures(images):
    """images (N, C, H, W) of any numbers."""
    images = np.asarray(images)
    if images.dtype.kind not in "fiu":
        raise ValueError(f"images has dtype {images.dtype}; expected numbers")
    return axes("images", images, 4)


def per_channel(name, values, images):
    """values (C,), floating; std must be positive."""
    values = np.asarray(values)
    if values.dtype.kind != "f" or values.shape != images.shape[1:2]:
        raise ValueError(f"{name} is {values.dtype} {values.shape}; expected floats ({images.shape[1]},)")
    if name == "std" and not (values > 0).all():
        raise ValueError(f"std = {values.tolist()}; expected positive numbers: a constant channel has no scale")
    return values


def places(name, values, images, low, high):
    """values (N, 2), integers from low to high (a pair each)."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu" or values.shape != (len(images), 2):
        raise ValueError(f"{name} is {values.dtype} {values.shape}; expected integers ({len(images)}, 2)")
    for axis in (0, 1):
        column = values[:, axis]
        if column.size and not (low <= column.min() and column.max() <= high[axis]):
            raise ValueError(f"{name} has values from {column.min()} to {column.max()} in column {axis}; "
                             f"expected {low} to {high[axis]}")
    return values.astype(np.int64)


def flags(values, images):
    """values (N,), booleans."""
    values = np.asarray(values)
    if values.dtype != bool or values.shape != (len(images),):
        raise ValueError(f"flags is {values.dtype} {values.shape}; expected bool ({len(images)},)")
    return values


def generator(rng):
    """A NumPy generator."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng is a {type(rng).__name__}; expected a numpy.random.Generator")
    return rng


def maps(features, weights, labels):
    """features (N, C, H, W) and weights (C, K), floating; labels (N,), integers below K."""
    features, weights, labels = np.asarray(features), np.asarray(weights), np.asarray(labels)
    if features.dtype.kind != "f" or features.ndim != 4:
        raise ValueError(f"features is {features.dtype} {features.shape}; expected floats (N, C, H, W)")
    if weights.dtype.kind != "f" or weights.ndim != 2 or len(weights) != features.shape[1]:
        raise ValueError(f"weights is {weights.dtype} {weights.shape}; expected floats ({features.shape[1]}, K)")
    if labels.dtype.kind not in "iu" or labels.shape != features.shape[:1]:
        raise ValueError(f"labels is {labels.dtype} {labels.shape}; expected integers ({len(features)},)")
    if labels.size and not 0 <= labels.min() <= labels.max() < weights.shape[1]:
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}; expected 0 to {weights.shape[1] - 1}")
    return features, weights, labels.astype(np.int64)
