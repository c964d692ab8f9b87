# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:739fe84b2d746b66
"""Chapter 10: files and arguments checked, for all levels and for yours."""

import math
import numbers

import numpy as np

from tangled.data import IDX_TYPES, wrong


def broken(path, error):
    """The ValueError for a gzip stream that cannot be read to its end."""
    return wrong(path, f"broken gzip data ({error})", "a whole file")


def magic(path, found):
    """(type code, number of axes) from the first four bytes of an IDX file."""
    fits = len(found) == 4 and found[:2] == b"\0\0" and found[2] in IDX_TYPES
    if not fits or not 1 <= found[3] <= 32:
        kinds = " ".join(f"{code:02x}" for code in IDX_TYPES)
        raise wrong(path, f"the first bytes {bytes(found).hex(' ') or '(none)'}",
                    f"00 00, a type of {kinds}, and 1 to 32 axes")
    return found[2], found[3]


def header(path, found, axes):
    """Refuse a file of `found` bytes that ends within the sizes of its axes."""
    if found < 4 + 4 * axes:
        raise wrong(path, f"{found} bytes", f"at least {4 + 4 * axes}, the header of {axes} axes")


def content(path, found, expected, shape):
    """Refuse another number of bytes of data than the shape asks for; of more, one was read."""
    if found != expected:
        found = f"more than {expected}" if found > expected else found
        raise wrong(path, f"{found} bytes of data", f"{expected} for the shape {shape}")


def bounded(path, claimed, most):
    """Refuse a header that claims more bytes than are wanted, or than the file can hold."""
    if claimed > most:
        raise wrong(path, f"a header for {claimed} bytes", f"at most {most}")


def room(out, like):
    """`out`, if it can take the results in `like`."""
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (like.shape, like.dtype):
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out is {found}; expected {like.dtype} {like.shape}")
    reach = 0                                                   # bytes from the first entry to the last
    for stride, n in sorted((abs(s), n) for s, n in zip(out.strides, out.shape) if n > 1):
        if stride <= reach:
            raise ValueError(f"out has strides {out.strides}; expected entries that do not overlap")
        reach += stride * (n - 1)
    return out


def part_names(parts):
    """Refuse names that a checkpoint could not tell from a key."""
    for name in parts:
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"parts has the name {name!r}; expected text without a slash")


def pictures(images, least=0):
    """`images` as an array of bytes (N, ...) with at least one axis more, and pixels."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"images has dtype {images.dtype}; expected uint8, as in the file")
    if images.ndim < 2 or len(images) < least or math.prod(images.shape[1:]) == 0:
        raise ValueError(f"images has shape {images.shape}; "
                         f"expected (N, D, ...), N at least {least}, pixels in each")
    return images


def preparation(images, mean, std):
    """Images, a finite mean and a positive deviation."""
    for name, value, least in (("mean", mean, -math.inf), ("std", std, 0.0)):
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not least < value < math.inf:
            kind = "a positive finite number" if name == "std" else "a finite number"
            raise ValueError(f"{name} = {value!r}; expected {kind}")
    return pictures(images), float(mean), float(std)


def whole(name, value, least=1):
    """An integer of at least `least`."""
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not integer or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer of at least {least}")
    return int(value)


def widths(found):
    """At least two positive integers."""
    found = tuple(found) if isinstance(found, (tuple, list)) else found
    if not isinstance(found, tuple) or len(found) < 2:
        raise ValueError(f"widths = {found!r}; expected at least two positive integers")
    return tuple(whole("widths", n) for n in found)


def integers(name, values):
    """An array of integers (N,)."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise ValueError(f"{name} has dtype {values.dtype} and shape {values.shape}; "
                         "expected integers (N,)")
    return values


def labels(target, predicted, classes=None):
    """Two integer arrays (N,) of one length, from 0 to classes - 1 if that is given."""
    arrays = integers("target", target), integers("predicted", predicted)
    if len(arrays[0]) != len(arrays[1]):
        raise ValueError(f"predicted has {len(arrays[1])} entries; "
                         f"expected {len(arrays[0])}, as target")
    if classes is not None:
        whole("classes", classes)
        for name, values in zip(("target", "predicted"), arrays):
            if values.size and not 0 <= values.min() <= values.max() < classes:
                raise ValueError(f"{name} runs from {values.min()} to {values.max()}; "
                                 f"expected 0 to {classes - 1}")
    return arrays


def some(target):
    """Refuse an empty array."""
    if len(target) == 0:
        raise ValueError("target has 0 entries; expected at least one")


def counts(confusion):
    """A square array of integers (K, K), none negative."""
    confusion = np.asarray(confusion)
    square = confusion.ndim == 2 and confusion.shape[0] == confusion.shape[1]
    if not square or confusion.dtype.kind not in "iu" or confusion.min(initial=0) < 0:
        raise ValueError(f"confusion has dtype {confusion.dtype} and shape {confusion.shape}; "
                         "expected counts (K, K)")
    return confusion


def answers(logits, target, k):
    """Logits (N, K) in float64, with integers (N,) below K, and how many are asked for."""
    whole("k", k, 0)
    logits, target = np.asarray(logits), integers("target", target)
    if logits.dtype.kind != "f" or logits.ndim != 2 or len(logits) != len(target):
        raise ValueError(f"logits has dtype {logits.dtype} and shape {logits.shape}; "
                         f"expected floats ({len(target)}, K)")
    labels(target, target, logits.shape[1])
    return logits.astype(np.float64), target


def names(what, kept, given):
    """Refuse a checkpoint whose parts or generators are not those that were handed in."""
    if kept.keys() != given.keys():
        raise ValueError(f"{what} has {sorted(given)}; expected {sorted(kept)}, "
                         "as in the checkpoint")


def record(path, found):
    """Refuse a checkpoint that `train` did not write."""
    if not {"history", "settings"} <= found.keys():
        raise wrong(path, f"a record of {sorted(found)}", "history and settings, as train keeps")
    return found


def same_settings(path, kept, given):
    """Refuse to go on with other settings than those of the checkpoint."""
    for name in sorted(kept.keys() | given.keys()):
        if kept.get(name) != given.get(name):
            raise ValueError(f"settings: {name} = {given.get(name)!r}; expected "
                             f"{kept.get(name)!r}, as in {path}")


def finite(history):
    """Stop where the loss of the last epoch is no number."""
    epoch, loss = len(history["loss"]), history["loss"][-1]
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss of epoch {epoch} is {loss}; expected a finite "
                                 "number: try a smaller learning rate")
