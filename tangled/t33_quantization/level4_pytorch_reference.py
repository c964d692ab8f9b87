# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:5e06e6b292450531
"""Quantisation by PyTorch. NumPy in, NumPy out; gradients by autograd."""

import math

import numpy as np
import torch

import tangled.t33_quantization.checks as check
from tangled.testing import Case

FAKE = torch.fake_quantize_per_channel_affine


def _limits(bits, symmetric):
    """The smallest and the largest integer."""
    bits, symmetric = check.grid(bits, symmetric)
    info = torch.iinfo(torch.int8)
    return (info.min >> 8 - bits) + symmetric, info.max >> 8 - bits


def _rows(x, counts):
    """x (n, m, ...) as a tensor (blocks, numbers of one), and how to come back."""
    counts = counts or (1,) * x.ndim
    sizes = [k for n, c in zip(x.shape, counts) for k in (c, n // c if c else 0)]
    order = [*range(0, len(sizes), 2), *range(1, len(sizes), 2)]
    moved = torch.tensor(np.array(x)).reshape(sizes).permute(order)
    back = lambda rows: rows.reshape(moved.shape).permute(np.argsort(order).tolist()).reshape(x.shape)
    return moved.reshape(math.prod(counts), -1 if x.size else 0), back


def _scales(lo, hi, bits, symmetric, dtype):
    """Scales and zero points (blocks,) of ranges (blocks,), float64."""
    low, high = _limits(bits, symmetric)
    lo, hi = lo.double().clamp(max=0), hi.double().clamp(min=0)
    scale = torch.maximum(hi, -lo) / high if symmetric else hi / (high - low) - lo / (high - low)
    scale = scale.to(dtype)
    scale[scale < torch.finfo(dtype).tiny] = 1
    zero = torch.zeros_like(scale) if symmetric else (low - lo / scale.double()).round().clamp(low, high)
    return scale, zero.int()


def calibrate(x, bits=8, symmetric=True, block=None, method="minmax", percentile=99.9):
    """As level 2, x of any shape."""
    x, bits, symmetric, counts, percentile = check.calibration(x, bits, symmetric, block, method, percentile)
    rows, _ = _rows(x, counts)
    lo = hi = torch.zeros(len(rows), dtype=rows.dtype)
    if rows.numel() and method == "percentile" and symmetric:
        hi = torch.quantile(rows.abs(), percentile / 100, dim=1)
        lo = -hi
    elif rows.numel() and method == "percentile":
        lo, hi = (torch.quantile(rows, p / 100, dim=1) for p in (100 - percentile, percentile))
    elif rows.numel():
        lo, hi = rows.aminmax(dim=1)
    if method == "mse":
        share = _best_share(rows, lo, hi, bits, symmetric)
        lo, hi = share * lo.double().clamp(max=0), share * hi.double().clamp(min=0)
    scale, zero = _scales(lo, hi, bits, symmetric, rows.dtype)
    return scale.reshape(counts).numpy(), zero.reshape(counts).numpy()


def _best_share(rows, lo, hi, bits, symmetric):
    """The share (blocks,) of each range with the least squared error of rows (blocks, n)."""
    shares, errors = torch.tensor(check.SHARES), []
    lo, hi = lo.double().clamp(max=0), hi.double().clamp(min=0)
    power = torch.tensor(np.ldexp(1.0, torch.frexp(torch.maximum(hi, -lo)).exponent.numpy() - 1))
    rows, lo, hi = (rows.double() / power[:, None]).to(rows.dtype), lo / power, hi / power
    for share in check.SHARES.tolist():
        scale, zero = _scales(share * lo, share * hi, bits, symmetric, rows.dtype)
        moved = FAKE(rows, scale.float(), zero, 0, *_limits(bits, symmetric)) if rows.numel() else rows
        errors.append((moved.double() - rows.double()).square().sum(1))
    errors, total = torch.stack(errors), rows.double().square().sum(1)
    return shares[(errors <= errors.amin(0) + 1e-12 * total).int().argmax(0)]


def _parameters(shape, scale, zero_point, bits, symmetric, dtype):
    """scale (blocks,) and zero point (blocks,) as tensors, their shape, and the limits."""
    low, high = _limits(bits, symmetric)
    scale, zero_point = check.parameters(shape, scale, zero_point, low, high, dtype)
    check.centred(symmetric, zero_point)
    return scale.copy(), zero_point.copy(), (low, high)


def quantize(x, scale=None, zero_point=None, bits=8, symmetric=True, block=None):
    """As level 2, x of any shape; the integers behind what FAKE gives."""
    x = check.floats("x", x)
    if scale is None:
        scale, zero_point = calibrate(x, bits, symmetric, block)
    zero_point = 0 if zero_point is None else zero_point
    scale, zero_point, (low, high) = _parameters(x.shape, scale, zero_point, bits, symmetric, x.dtype)
    rows, back = _rows(x, scale.shape)
    if rows.numel() == 0:
        return np.zeros(x.shape, np.int8), scale, zero_point
    scales, zeros = torch.tensor(scale).float().reshape(-1, 1), torch.tensor(zero_point).reshape(-1, 1)
    moved = FAKE(rows.clamp(-1e6 * scales, 1e6 * scales), scales[:, 0], zeros[:, 0], 0, low, high)
    return back(((moved / scales).round().int() + zeros).to(torch.int8)).numpy(), scale, zero_point


def dequantize(q, scale, zero_point=0):
    """As level 2, q of any shape."""
    q = check.int8("q", q)
    scale, zero_point = check.parameters(q.shape, scale, zero_point, -128, 127)
    rows, back = _rows(q, scale.shape)
    scales, zeros = (torch.tensor(np.array(p)).reshape(-1, 1) for p in (scale, zero_point))
    return back((rows.int() - zeros) * scales).numpy()


def fake_quantize(x, scale, zero_point=0, bits=8, symmetric=True):
    """As level 2, x of any shape; the cache is the graph."""
    given = np.asarray(x)
    x = check.floats("x", x)
    scale, zero_point, limits = _parameters(x.shape, scale, zero_point, bits, symmetric, x.dtype)
    rows, back = _rows(x, scale.shape)
    rows.requires_grad_()
    scales, zeros = torch.tensor(scale).float().flatten(), torch.tensor(zero_point).flatten()
    out = back(FAKE(rows, scales, zeros, 0, *limits)) if rows.numel() else back(rows * 1)
    return out.detach().numpy().astype(given.dtype), (rows, out, back, given.dtype)


def fake_quantize_backward(dout, cache):
    """dx of the shape of x, by autograd."""
    rows, out, back, dtype = cache
    dout = torch.tensor(check.gradient(dout, tuple(out.shape), dtype).astype(out.detach().numpy().dtype))
    return back(torch.autograd.grad(out, rows, dout, retain_graph=True)[0]).numpy().astype(dtype)


def int8_matmul(a, b, a_zero=0, b_zero=0):
    """As level 2, a (..., K), b (K, N): in int64, zero points taken out first."""
    a, b, a_zero, b_zero = check.product(a, b, a_zero, b_zero)
    left, right, zeros = (torch.tensor(np.array(x)).long() for x in (a, b, b_zero))
    y = (left - a_zero) @ (right - zeros)
    reach = len(b) * (128 + abs(a_zero)) * (128 + int(zeros.abs().max() if zeros.numel() else 0))
    return y.to(torch.int32 if reach <= torch.iinfo(torch.int32).max else torch.int64).numpy()


def pack_int4(q):
    """As level 2, q (..., n)."""
    q = torch.tensor(np.array(check.nibbles(q)))
    q = torch.nn.functional.pad(q, (0, q.shape[-1] % 2)).unflatten(-1, (-1, 2)) if q.shape[-1] else q[..., None]
    weights = torch.tensor([1, 16])[:q.shape[-1]]
    return (q.long().remainder(16) * weights).sum(-1).to(torch.uint8).numpy()


def unpack_int4(packed, n):
    """As level 2, packed (..., m)."""
    packed, n = check.packed(packed, n)
    p = torch.tensor(np.array(packed))
    both = torch.stack([p << 4, p], -1).flatten(-2).view(torch.int8)
    return torch.bitwise_right_shift(both, 4)[..., :n].numpy().copy()           # the shift keeps the sign


def golden_cases(rng):
    """Grids of each kind, with gradients; products; packed integers."""
    kinds = {"tensor": None, "channel": (None, 1), "rows": (1, None), "group": (2, 1), "tiles": (3, 4)}
    for name, block in kinds.items():
        for symmetric in (True, False):
            for bits, method in ((8, "minmax"), (4, "percentile"), (3, "mse")):
                x = (rng.standard_normal((6, 8)) + 0.5 * (not symmetric)).astype(np.float32)
                scale, zero_point = calibrate(x, bits, symmetric, block, method, 90.0)
                given = {"x": x, "bits": bits, "symmetric": symmetric, "block": block, "method": method,
                         "percentile": 90.0}
                q, *_ = quantize(x, scale, zero_point, bits, symmetric)
                out, cache = fake_quantize(x.astype(float), scale, zero_point, bits, symmetric)
                dout = rng.standard_normal(x.shape)
                yield Case(f"{name}-{'symmetric' if symmetric else 'asymmetric'}-{bits}", given,
                           {"scale": scale, "zero_point": zero_point, "q": q, "x": dequantize(q, scale, zero_point),
                            "out": out}, {"out": dout}, {"x": fake_quantize_backward(dout, cache)})
    for name, zeros in (("plain", (0, 0)), ("zeros", (-3, 7)), ("channels", (100, np.array([-128, 5, 0, 127])))):
        a, b = (rng.integers(-128, 128, shape, np.int8) for shape in ((2, 3, 5), (5, 4)))
        yield Case(f"product-{name}", {"a": a, "b": b, "a_zero": zeros[0], "b_zero": zeros[1]},
                   {"y": int8_matmul(a, b, *zeros)})
    q = rng.integers(-8, 8, (3, 7), np.int8)
    yield Case("packed", {"q": q}, {"packed": pack_int4(q)})
