# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:2277a2f39fbba79c
"""Regularisation, level 3: in place, in blocks, one bit a mask entry. Errors as in level 2.

`out=` is a C-contiguous array in the shape and dtype of the result; it may be the input itself.
"""

import math

import numpy as np

import tangled.t08_regularization.checks as check

BLOCK = 1 << 16     # entries in flight at a time: buffers of a block stay in the cache


def _check_out(out, x):
    """An array to write into: `out` if it fits x, a new one if it is None."""
    if out is None:
        return np.empty(x.shape, x.dtype)
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (x.shape, x.dtype):
        raise ValueError(f"out is {getattr(out, 'dtype', type(out))} of shape {np.shape(out)}; "
                         f"expected {x.dtype} of shape {x.shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out has strides {out.strides}; expected a C-contiguous array, writable")
    itself = (out.ctypes.data, out.strides) == (x.ctypes.data, x.strides)
    if not itself and np.may_share_memory(out, x):
        raise ValueError("out overlaps the input; expected the input itself, or an array apart from it")
    return out


def _blocks(size):
    """Slices that cover 0 to size - 1."""
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))


def l1_penalty(w, strength):
    """strength * sum |w| of w (...): a scalar."""
    w, strength = check.penalty(w, strength)
    flat, buffer = w.reshape(-1), np.empty(min(BLOCK, w.size), w.dtype)
    total = 0.0
    for part in _blocks(w.size):
        total += float(np.abs(flat[part], out=buffer[:part.stop - part.start]).sum(dtype=np.float64))
    return w.dtype.type(strength * total), (w, strength)        # eq. 8.4


def l2_penalty(w, strength):
    """strength / 2 * sum w^2 of w (...): a scalar."""
    w, strength = check.penalty(w, strength)
    flat, buffer, total = w.reshape(-1), np.empty(min(BLOCK, w.size)), 0.0      # float64
    for part in _blocks(w.size):
        block = buffer[:part.stop - part.start]
        np.copyto(block, flat[part])
        total += float(block @ block)
    return w.dtype.type(0.5 * strength * total), (w, strength)  # eq. 8.3


def _slope(f, factor, w, add_to):
    """factor * f(w), added into add_to (...) by blocks if there is one."""
    factor = check.factor(factor, w.dtype)
    if add_to is None:
        dw = np.asarray(f(w))
        dw *= factor
        return dw
    out, flat = _check_out(add_to, w).reshape(-1), w.reshape(-1)
    for part in _blocks(w.size):
        slope = f(flat[part])
        slope *= factor
        out[part] += slope
    return add_to


def l1_penalty_backward(dpenalty, cache, add_to=None):
    """Gradient dw (...), or `add_to` with it added."""
    w, strength = cache
    return _slope(np.sign, check.scalar("dpenalty", dpenalty) * strength, w, add_to)


def l2_penalty_backward(dpenalty, cache, add_to=None):
    """Gradient dw (...), or `add_to` with it added."""
    w, strength = cache
    return _slope(np.copy, check.scalar("dpenalty", dpenalty) * strength, w, add_to)


def soft_threshold(w, threshold, out=None):
    """w (...) moved by threshold towards 0, and not across, into `out`."""
    w, threshold = check.floats("w", w), check.nonnegative("threshold", threshold)
    out = _check_out(out, w)
    kind = np.promote_types(w.dtype, np.float32)
    target, flat, buffer = out.reshape(-1), w.reshape(-1), np.empty(min(BLOCK, w.size), kind)
    for part in _blocks(w.size):
        cut = np.clip(flat[part], kind.type(-threshold), kind.type(threshold),
                      out=buffer[:part.stop - part.start])
        np.subtract(flat[part], cut, out=target[part], casting="same_kind")     # eq. 8.6
    return out


def weights_of(parameters):
    """Those parameters whose data have two axes or more."""
    return [p for p in check.parameters(parameters) if p.data.ndim > 1]


def decay_weights(parameters, lr, weight_decay):
    """Multiply the weights, in place, by 1 - lr * weight_decay."""
    factor = check.decay(lr, weight_decay)
    for parameter in weights_of(parameters):
        np.multiply(parameter.data, factor, out=parameter.data)           # eq. 8.9


def max_norm(parameters, limit, axis=0):
    """Scale down, in place, units whose weights along `axis` are longer than limit."""
    weights, limit, axes = check.bound(parameters, limit, axis)
    for parameter in weights:
        w = parameter.data
        summed = {a % w.ndim for a in axes}
        units = [a for a in range(w.ndim) if a not in summed]
        length = np.sqrt(np.einsum(w, range(w.ndim), w, range(w.ndim), units, dtype=np.float64))
        if length.size and length.max() > limit:
            factor = limit / np.maximum(length, limit)          # eq. 8.22
            w *= np.expand_dims(factor, tuple(summed))


class EarlyStopping:
    """Keeps the best state in arrays of its own, which are written over."""

    def __init__(self, patience, min_delta=0.0):
        self.patience = check.count("patience", patience)
        self.min_delta = check.nonnegative("min_delta", min_delta)
        self.best, self.best_step, self.state = math.inf, None, None
        self.steps, self.stopped = 0, False

    def update(self, value, state=None):
        """Take a value, and a dict of arrays; True if training should stop."""
        value = check.number("value", value)
        if self.stopped:
            return True
        if value < self.best - self.min_delta:
            self.best, self.best_step = value, self.steps
            self._keep(state)
        self.steps += 1
        last = -1 if self.best_step is None else self.best_step
        self.stopped = self.steps - 1 - last >= self.patience
        return self.stopped

    def _keep(self, state):
        """Copy arrays into those that are there, if they fit."""
        state = None if state is None else {k: np.asarray(v) for k, v in state.items()}
        old = self.state or {}
        fits = state is not None and old.keys() == state.keys() and all(
            (old[k].shape, old[k].dtype) == (v.shape, v.dtype) for k, v in state.items())
        if fits:
            for name, array in state.items():
                np.copyto(old[name], array)
        else:
            self.state = None if state is None else {k: v.copy() for k, v in state.items()}


def _draw(count, p, rng):
    """Whether each of `count` entries is kept: bool (count,), from 16 random bits each."""
    words = rng.integers(0, 1 << 64, -(-count // 4), dtype=np.uint64)
    draws = words.view(np.uint16)[:count]
    a, f = divmod(p * 65536, 1)                                 # eq. 8.24
    keep = draws > np.uint16(a)
    ties = np.flatnonzero(draws == np.uint16(a))
    keep[ties] = rng.random(len(ties)) >= f
    return keep


def dropout(x, p, rng, training=True, out=None):
    """x (...) with entries dropped with probability p, into `out`; x itself if none is."""
    x, p = check.noisy(x, p, rng, training)
    if not training or p == 0:
        return x, (None, 1.0, x.shape)
    out = _check_out(out, x)
    bits = np.zeros(-(-x.size // 8), np.uint8)                  # the mask, 8 entries a byte
    scale = 0.0 if p == 1 else 1.0 / (1.0 - p)
    flat, target = x.reshape(-1), out.reshape(-1)
    for part in _blocks(x.size):
        count = part.stop - part.start
        keep = np.zeros(count, bool) if p == 1 else _draw(count, p, rng)
        bits[part.start // 8:-(-part.stop // 8)] = np.packbits(keep)
        np.multiply(flat[part], keep, out=target[part])
        target[part] *= check.factor(scale, x.dtype)            # eq. 8.10
    return out, (bits, scale, x.shape)


def dropout_backward(dout, cache, out=None):
    """Gradient dx (...), through the same mask, into `out`, which may be `dout`."""
    bits, scale, shape = cache
    dout = check.floats("dout", dout, shape)
    if bits is None:
        return dout
    out = _check_out(out, dout)
    flat, target = dout.reshape(-1), out.reshape(-1)
    for part in _blocks(dout.size):
        packed = bits[part.start // 8:-(-part.stop // 8)]
        keep = np.unpackbits(packed, count=part.stop - part.start)
        np.multiply(flat[part], keep, out=target[part])
        target[part] *= check.factor(scale, out.dtype)          # eq. 8.14
    return out


def label_smoothing_cross_entropy(logits, y, smoothing, out=None):
    """Mean loss; `out` (N, K), which may be logits, is used up and kept for the backward pass."""
    logits, y, smoothing = check.smoothed(logits, y, smoothing)
    out, classes, dtype = _check_out(out, logits), logits.shape[-1], logits.dtype
    out = np.empty(out.shape, np.float32) if dtype == np.float16 else out
    z, rows, y = out.reshape(-1, classes), np.arange(y.size), y.reshape(-1)
    ones = np.ones(classes, z.dtype)
    flat = check.wide(logits.reshape(-1, classes))
    np.subtract(flat, flat.max(axis=-1, keepdims=True), out=z)
    aim = (1 - smoothing) * z[rows, y] + (smoothing / classes) * (z @ ones)       # (N,)
    np.exp(z, out=z)
    total = z @ ones                                            # (N,)
    loss = np.mean(np.log(total) - aim)                         # eq. 8.19
    return dtype.type(loss), [out, total, rows, y, smoothing, dtype]


def label_smoothing_cross_entropy_backward(dloss, cache, out=None):
    """Gradient dlogits (N, K), into `out`, which may be that of the forward pass."""
    e, total, rows, y, smoothing, dtype = cache
    if e is None:
        raise RuntimeError("the cache was used up by a backward pass into its memory; call forward again")
    share = check.scalar("dloss", dloss) / len(total)
    out = _check_out(out, e if e.dtype == dtype else e.astype(dtype))
    dz = (out if e.dtype == dtype else np.empty_like(e)).reshape(-1, e.shape[-1])     # (N, K)
    cache[0] = None if np.may_share_memory(dz, e) else e
    np.multiply(e.reshape(dz.shape), (share / total)[:, None], out=dz)
    dz -= share * smoothing / e.shape[-1]                       # eq. 8.20
    dz[rows, y] -= share * (1 - smoothing)
    if e.dtype != dtype:
        out[...] = dz.reshape(out.shape)
    return out
