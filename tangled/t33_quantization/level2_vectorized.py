# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:c20a51dfa9ba2fc4
"""Quantisation, level 2: whole arrays; a block's numbers along axes of their own."""

import numpy as np

import tangled.t33_quantization.checks as check
from tangled.t06_backpropagation import Module
from tangled.t25_self_attention import attention
from tangled.t26_multi_head_attention import merge_heads, split_heads
from tangled.t28_transformer_encoder import ACTIVATIONS


def _grid(bits, symmetric):
    """Smallest and largest integer, two ints."""
    bits, symmetric = check.grid(bits, symmetric)
    half = 1 << (bits - 1)
    return (1 - half if symmetric else -half), half - 1             # -127, or -128, to 127


def _blocked(x, counts):
    """x (n, m, ...) as (c, n / c, e, m / e, ...), for c, e, ... blocks."""
    counts = counts or (1,) * x.ndim
    return x.reshape([k for n, c in zip(x.shape, counts) for k in (c, n // c if c else 0)])


def _beside(scale, ndim):
    """scale (c, e, ...) as (c, 1, e, 1, ...), beside what `_blocked` gives for `ndim` axes."""
    counts = scale.shape or (1,) * ndim
    return scale.reshape([k for c in counts for k in (c, 1)])


def _parameters(lo, hi, bits, symmetric, dtype):
    """Ranges (c, e, ...) to scales and zero points (c, e, ...)."""
    low, high = _grid(bits, symmetric)
    lo, hi = np.minimum(lo, 0), np.maximum(hi, 0)
    if symmetric:
        scale = np.maximum(hi, -lo) / high                      # eq. 33.3
    else:
        scale = hi / (high - low) - lo / (high - low)           # eq. 33.2
    scale = scale.astype(dtype)
    scale = np.where(scale < np.finfo(dtype).tiny, dtype.type(1), scale)
    if symmetric:
        return scale, np.zeros(scale.shape, np.int32)
    zero_point = np.rint(low - lo / scale.astype(np.float64))   # rounded before it is used
    return scale, np.clip(zero_point, low, high).astype(np.int32)


def calibrate(x, bits=8, symmetric=True, block=None, method="minmax", percentile=99.9):
    """Scales and zero points for an array.

    Jacob et al. (2018), section 3.1; eq. 33.2 and eq. 33.3.

    Parameters
    ----------
    x : ndarray of any shape, floating, finite
    bits : int, 2 to 8
    symmetric : bool, zero points 0 and integers from -(2^(bits - 1) - 1); else all 2^bits integers
    block : None for one scale, or a size for each axis of x, None for all of it; sizes divide
    method : "minmax", "percentile" or "mse"
    percentile : float from 50 to 100, for "percentile": of |x|, or at both ends if asymmetric

    Returns
    -------
    scale : ndarray of shape () or (c, e, ...), the counts of blocks; in the dtype of x, at least float32
    zero_point : ndarray of int32, of the shape of scale

    Raises
    ------
    ValueError : if x is not finite, or an argument is not as above
    """
    x, bits, symmetric, counts, percentile = check.calibration(x, bits, symmetric, block, method,
                                                               percentile)
    b = _blocked(x, counts)                                     # (c, n / c, e, m / e, ...)
    lo, hi = _ranges(b, counts, symmetric, method, percentile)
    if method == "mse":
        share = _best_share(b, lo, hi, bits, symmetric)         # (c, e, ...)
        lo, hi = share * lo, share * hi
    return _parameters(lo, hi, bits, symmetric, x.dtype)


def _ranges(b, counts, symmetric, method, percentile):
    """Ranges (c, e, ...) of blocks, float64, with 0 among them unless the method is a percentile."""
    inside = tuple(range(1, b.ndim, 2)) or None
    if method != "percentile" or b.size == 0:
        lo, hi = (b.min(axis=inside), b.max(axis=inside)) if b.size else np.zeros((2, *counts))
    elif symmetric:
        hi = np.percentile(np.abs(b), percentile, axis=inside)
        lo = -hi
    else:
        lo, hi = np.percentile(b, [100 - percentile, percentile], axis=inside)
    return np.reshape(lo, counts).astype(np.float64), np.reshape(hi, counts).astype(np.float64)


def _best_share(b, lo, hi, bits, symmetric):
    """The share of each range (c, e, ...) with the least squared error, the widest of equals."""
    inside, (low, high) = tuple(range(1, b.ndim, 2)) or None, _grid(bits, symmetric)
    lo, hi, errors = np.minimum(lo, 0), np.maximum(hi, 0), []
    power = np.frexp(np.maximum(hi, -lo))[1]                    # squares of numbers near 1 are numbers
    b, lo, hi = np.ldexp(b, -_beside(power, b.ndim // 2)), np.ldexp(lo, -power), np.ldexp(hi, -power)
    for share in check.SHARES:
        scale, zero = _parameters(share * lo, share * hi, bits, symmetric, b.dtype)
        s, z = _beside(scale, b.ndim // 2), _beside(zero, b.ndim // 2)
        q = np.clip(np.rint(b / s) + z, low, high)
        errors.append((((q - z) * s - b) ** 2).sum(axis=inside, dtype=np.float64).reshape(lo.shape))
    total = (b.astype(np.float64) ** 2).sum(axis=inside).reshape(lo.shape)
    near = np.array(errors) <= np.min(errors, axis=0) + 1e-12 * total           # (57, c, e, ...)
    return check.SHARES[near.argmax(axis=0)]


def quantize(x, scale=None, zero_point=None, bits=8, symmetric=True, block=None):
    """Integers for numbers; eq. 33.1.

    Parameters
    ----------
    x : ndarray of any shape, floating, finite
    scale : ndarray of shape () or (c, e, ...), the counts of blocks, positive; None to calibrate by minmax
    zero_point : ndarray of integers of the shape of scale, or one; None for 0; calibrated with the scale
    bits, symmetric : the grid, as for `calibrate`
    block : as for `calibrate`, where there is no scale

    Returns
    -------
    q : ndarray of int8, of the shape of x
    scale, zero_point : ndarrays, as they were used

    Raises
    ------
    ValueError : if x is not finite, or the blocks of scale do not divide x
    """
    x, (low, high) = check.floats("x", x), _grid(bits, symmetric)
    if scale is None:
        scale, zero_point = calibrate(x, bits, symmetric, block)
    else:
        zero_point = 0 if zero_point is None else zero_point
        scale, zero_point = check.parameters(x.shape, scale, zero_point, low, high, x.dtype)
        check.centred(symmetric, zero_point)
    b, s, z = _blocked(x, scale.shape), _beside(scale, x.ndim), _beside(zero_point, x.ndim)
    with np.errstate(over="ignore"):
        q = np.rint(b / s) + z                                          # floats, whole numbers
    q = np.clip(q, low, high).astype(np.int8)
    return q.reshape(x.shape), scale.copy(), zero_point.copy()


def dequantize(q, scale, zero_point=0):
    """Numbers for integers; eq. 33.1.

    Parameters
    ----------
    q : ndarray of int8, of any shape
    scale : ndarray of shape () or (c, e, ...), the counts of blocks, float32 or float64
    zero_point : ndarray of integers of the shape of scale, or one

    Returns
    -------
    ndarray of the shape of q, in the dtype of scale
    """
    q = check.int8("q", q)
    scale, zero_point = check.parameters(q.shape, scale, zero_point, -128, 127)
    s, z = _beside(scale, q.ndim), _beside(zero_point, q.ndim)
    steps = (_blocked(q, scale.shape) - z).astype(s.dtype)      # int8 - int32: from -255 to 255
    return (steps * s).reshape(q.shape)


def fake_quantize(x, scale, zero_point=0, bits=8, symmetric=True):
    """Numbers moved to their grid points, differentiable.

    Bengio et al. (2013); eq. 33.1 and eq. 33.12.

    Parameters
    ----------
    x : ndarray of any shape, floating, finite
    scale, zero_point, bits, symmetric : as for `quantize`

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `fake_quantize_backward`
    """
    given = np.asarray(x)
    x, (low, high) = check.floats("x", x), _grid(bits, symmetric)
    scale, zero_point = check.parameters(x.shape, scale, zero_point, low, high, x.dtype)
    check.centred(symmetric, zero_point)
    b, s, z = _blocked(x, scale.shape), _beside(scale, x.ndim), _beside(zero_point, x.ndim)
    with np.errstate(over="ignore"):
        q = np.rint(b / s) + z
    inside = (q >= low) & (q <= high)
    out = ((np.clip(q, low, high) - z) * s).astype(given.dtype)
    return out.reshape(x.shape), (inside.reshape(x.shape), given.dtype)


def fake_quantize_backward(dout, cache):
    """The straight-through gradient of `fake_quantize`; eq. 33.12.

    Parameters
    ----------
    dout : ndarray of the shape of x
    cache : from `fake_quantize`

    Returns
    -------
    dx : ndarray of the shape and dtype of x, 0 where x was cut off
    """
    inside, dtype = cache
    return np.where(inside, check.gradient(dout, inside.shape, dtype), dtype.type(0))


def int8_matmul(a, b, a_zero=0, b_zero=0):
    """The product of (a - a_zero) and (b - b_zero), exact for every K; eq. 33.9.

    Parameters
    ----------
    a : ndarray of int8, of shape (..., K)
    b : ndarray of int8, of shape (K, N)
    a_zero : int from -128 to 127
    b_zero : int from -128 to 127, or ndarray of them of shape (N,)

    Returns
    -------
    ndarray of shape (..., N), int32 where K and the zero points cannot leave it, otherwise int64

    Raises
    ------
    ValueError : if a dtype or a shape is not as above
    """
    a, b, a_zero, b_zero = check.product(a, b, a_zero, b_zero)
    dtype = _reach(len(b), a_zero, b_zero)
    y = a.astype(dtype) @ b.astype(dtype)                           # (..., N)
    return _without_zeros(y, a, b, a_zero, b_zero)


def _reach(K, a_zero, b_zero):
    """int32 or int64, whichever holds all sums of K terms."""
    top = abs(b_zero) if isinstance(b_zero, int) else int(np.abs(b_zero).max(initial=0))
    largest = K * (128 + abs(a_zero)) * (128 + top)
    return np.int32 if largest < 2 ** 31 else np.int64          # eq. 33.10


def _without_zeros(y, a, b, a_zero, b_zero):
    """Takes the zero points out of y (..., N), the product of a (..., K) and b (K, N)."""
    K, rows = len(b), a.sum(axis=-1, keepdims=True, dtype=y.dtype)              # (..., 1)
    b_zero = np.asarray(b_zero, y.dtype)                        # () or (N,)
    y = y - a_zero * b.sum(axis=0, dtype=y.dtype) - rows * b_zero + K * a_zero * b_zero
    return y


def pack_int4(q):
    """Two integers a byte.

    Parameters
    ----------
    q : ndarray of int8, of shape (..., n), from -8 to 7

    Returns
    -------
    ndarray of uint8, of shape (..., (n + 1) // 2); the first of two in the low half
    """
    q = check.nibbles(q)
    half = q.astype(np.uint8) & 15                              # two's complement: -1 is 15
    low, high = half[..., 0::2], half[..., 1::2]
    out = low.copy()
    out[..., :high.shape[-1]] |= high << 4
    return out


def unpack_int4(packed, n):
    """The integers of `pack_int4`.

    Parameters
    ----------
    packed : ndarray of uint8, of shape (..., m)
    n : int, 2m or 2m - 1

    Returns
    -------
    ndarray of int8, of shape (..., n)
    """
    packed, n = check.packed(packed, n)
    u = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], 2 * packed.shape[-1])
    signed = (u ^ 8).astype(np.int8) - np.int8(8)                   # 0 ... 15 to 0 ... 7, -8 ... -1
    return signed[..., :n].copy()


class QuantizedLinear(Module):
    """A Linear whose weight (n, m) is stored in integers; it does not learn.

    Parameters
    ----------
    linear : Linear of shape (n, m)
    bits : int, 2 to 8; up to 4, two are packed into a byte
    block : as for `calibrate`; by default a scale for each of the m outputs
    method : as for `calibrate`
    activations : None for floats, or 8 for rows quantised as they come; then one scale, or one an output

    Attributes
    ----------
    codes : ndarray of int8 of shape (n, m), or of uint8 of shape (n, (m + 1) // 2)
    scale : ndarray of float32, () or with the counts of blocks
    offset : ndarray of shape (m,), or empty
    """

    buffer_names = "codes", "scale", "offset"

    def __init__(self, linear, bits=8, block=(None, 1), method="minmax", activations=None):
        w, bias = linear.weight.data, linear.bias
        if activations not in (None, 8):
            raise ValueError(f"activations = {activations!r}; expected None or 8")
        block = block if block is None else tuple(block)                # (None, 1): a scale a column
        scale, _ = calibrate(w, bits, True, block, method)
        q, self.scale, _ = quantize(w, scale, bits=bits)
        self.bits, self.activations, self.width = bits, activations, w.shape[1]
        if activations and self.scale.shape not in ((), (1, 1), (1, self.width)):
            raise ValueError(f"block = {block}; expected None or (None, 1), as activations = 8")
        self.codes = pack_int4(q) if bits <= 4 else q
        self.offset = np.zeros(0, w.dtype) if bias is None else bias.data.copy()

    def integers(self):
        """The weight's integers (n, m), int8."""
        return unpack_int4(self.codes, self.width) if self.bits <= 4 else self.codes

    def forward(self, x):
        """x (..., n) to (..., m)."""
        if self.activations is None:
            out = x @ dequantize(self.integers(), self.scale)
        else:
            q, rows, _ = quantize(x, block=(1,) * (x.ndim - 1) + (None,))       # rows (..., 1)
            out = int8_matmul(q, self.integers()) * (rows * self.scale.reshape(-1))
        out = out.astype(self.scale.dtype, copy=False)          # eq. 33.13
        return out + self.offset if self.offset.size else out

    @property
    def nbytes(self):
        """Of all that is stored, an int."""
        return self.codes.nbytes + self.scale.nbytes + self.offset.nbytes


class KVCache:
    """The keys and values of one attention layer, so far.

    Parameters
    ----------
    room : int, the most tokens
    bits : 8, or None for floats as they come
    """

    def __init__(self, room, bits=None):
        if bits not in (None, 8):
            raise ValueError(f"bits = {bits!r}; expected None or 8")
        self.room, self.bits, self.length, self.codes, self.scale = check.whole("room", room), bits, 0, None, None

    def append(self, k, v):
        """k, v (B, H, T, d), of the tokens that come next: all keys and values (B, H, length, d).

        Raises ValueError where they do not fit; nothing has changed then.
        """
        new = np.stack([k, v])                                  # (2, B, H, T, d)
        start, end, shape = self.length, self.length + k.shape[2], new.shape[1:3] + new.shape[4:]
        if end > self.room:
            raise ValueError(f"k has {k.shape[2]} tokens; expected at most {self.room - start} more")
        if self.codes is not None and shape != self.codes.shape[1:3] + self.codes.shape[4:]:
            raise ValueError(f"k has shape {k.shape}; expected texts, heads and sizes as before")
        q, scale, _ = quantize(new, block=(1, 1, 1, 1, None)) if self.bits else (new, new[..., :0], None)
        if self.codes is None:
            self.codes, self.scale = (np.empty((*a.shape[:3], self.room, a.shape[4]), a.dtype) for a in (q, scale))
        self.codes[:, :, :, start:end], self.scale[:, :, :, start:end], self.length = q, scale, end
        codes, scale = self.codes[:, :, :, :end], self.scale[:, :, :, :end]
        return tuple(dequantize(codes, scale) if self.bits else codes.copy())

    @property
    def nbytes(self):
        """Of all that is stored, an int."""
        return 0 if self.codes is None else self.codes.nbytes + self.scale.nbytes


class QuantizedGPT:
    """A GPT of chapter 30 whose matrices are integers; for inference.

    Parameters
    ----------
    model : GPT; nothing of it is changed
    bits : int, 2 to 8, for the matrices of the blocks; None leaves them, and the tables, floats
    block, method, activations : as for `QuantizedLinear`
    cache_bits : 8 for keys and values in integers, or None
    """

    def __init__(self, model, bits=8, block=(None, 1), method="minmax", activations=None, cache_bits=None):
        make = lambda linear: linear if bits is None else QuantizedLinear(linear, bits, block, method, activations)
        self.context, self.num_heads, self.cache_bits = model.context, model.num_heads, cache_bits
        self.norm, self.blocks = model.norm, []
        for b in model.blocks:
            layers = {name: make(getattr(b.attention, name)) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
            layers |= {name: make(getattr(b.ffn, name)) for name in ("linear1", "linear2")}
            self.blocks.append(layers | {"norm1": b.norm1, "norm2": b.norm2})
        tables = model.wte.weight.data, model.wpe.weight.data   # (V, D), (context, D)
        self.tables = [(t, None) if bits is None else quantize(t, block=(1, None))[:2] for t in tables]

    def start(self):
        """An empty `KVCache` for each block, a list."""
        return [KVCache(self.context, self.cache_bits) for _ in self.blocks]

    def __call__(self, ids, caches=None):
        """ids (B, T), the tokens that come next, to logits (B, T, V); caches from `start` go on growing."""
        caches = self.start() if caches is None else caches
        wte, wpe = (t if s is None else dequantize(t, s) for t, s in self.tables)
        past, H = caches[0].length, self.num_heads
        if past + ids.shape[1] > self.context:
            raise ValueError(f"ids has {ids.shape[1]} tokens; expected at most {self.context - past} more")
        x = wte[ids] + wpe[past:past + ids.shape[1]]            # (B, T, D)
        for layers, cache in zip(self.blocks, caches):
            h = layers["norm1"](x)
            q, k, v = (split_heads(layers[name](h), H) for name in ("q_proj", "k_proj", "v_proj"))
            heads, _ = attention(q, *cache.append(k, v), causal=True)
            x = x + layers["out_proj"](merge_heads(heads))
            h, _ = ACTIVATIONS["gelu_tanh"][0](layers["linear1"](layers["norm2"](x)))
            x = x + layers["linear2"](h)
        return self.norm(x) @ wte.T

    @property
    def nbytes(self):
        """Of all that is stored, an int; floats at four bytes."""
        parts = [layer for layers in self.blocks for layer in layers.values()] + [self.norm]
        arrays = [a for table in self.tables for a in table if a is not None]
        for part in parts:
            arrays += [part] if isinstance(part, QuantizedLinear) else [p.data for p in part.parameters()]
        return sum(a.nbytes for a in arrays)


def at_quantized_weights(parameters, grids, bits, run):
    """Loss and gradients with weights on their grids; straight through to the floats behind.

    Parameters
    ----------
    parameters : list of Parameters
    grids : list of (scale, zero_point), one for each, of any shape that fits; symmetric
    bits : int, 2 to 8
    run : callable without arguments; forward and backward, adds to the gradients

    Returns
    -------
    what `run` returns, such as the loss, a float
    """
    if len(grids) != len(parameters):
        raise ValueError(f"grids are {len(grids)}; expected {len(parameters)}, one for each parameter")
    behind, caches = [p.data for p in parameters], []
    try:
        for p, (scale, zero_point) in zip(parameters, grids):
            p.data, cache = fake_quantize(p.data, scale, zero_point, bits)
            caches.append(cache)
        loss = run()
    finally:
        for p, data in zip(parameters, behind):
            p.data = data
    for p, cache in zip(parameters, caches):
        p.grad[...] = fake_quantize_backward(p.grad, cache)
    return loss
