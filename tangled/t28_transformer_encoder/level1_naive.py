# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:cee9978a4f6ee68b
"""Transformer encoder, level 1: one token, one hidden number at a time. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t28_transformer_encoder.checks as check
from tangled.t16_normalizations.level1_naive import layer_norm, layer_norm_backward
from tangled.t26_multi_head_attention.level1_naive import multi_head_attention, multi_head_attention_backward


def _gelu(z):
    """x Phi(x), and its slope."""
    below = 0.5 * math.erfc(-z / math.sqrt(2))
    return z * below, below + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)         # eq. 28.3


def _gelu_tanh(z):
    """Its approximation by a tanh, and the slope of that."""
    root = math.sqrt(2 / math.pi)
    t = math.tanh(root * (z + 0.044715 * z ** 3))
    return z * (1 + t) / 2, (1 + t) / 2 + z * (1 - t * t) / 2 * root * (1 + 0.134145 * z * z)


def _relu(z):
    """max(z, 0), and its slope."""
    return max(z, 0.0), float(z > 0)


def _silu(z):
    """z sigmoid(z), and its slope."""
    s = 1 / (1 + math.exp(-z)) if z > -700 else 0.0
    return z * s, s * (1 + z * (1 - s))


ACTIVATIONS = {"gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu}


def _affine(row, w, b=None):
    """A list row (M,) times w (M, N), plus b: a list (N,)."""
    return [sum(x * y for x, y in zip(row, w[:, j].tolist())) + (0.0 if b is None else float(b[j]))
            for j in range(w.shape[1])]


def feed_forward(x, w1, b1, w2, b2, activation="gelu"):
    """x (..., D), weights and biases as in level 2: out (..., D), cache."""
    given, dtype = check.network(x, w1, b1, w2, b2, activation)
    x, w1, b1, w2, b2 = given
    rows = x.reshape(-1, x.shape[-1])
    out, active, slopes = np.empty(rows.shape), [], []
    for n, row in enumerate(rows.tolist()):
        pairs = [ACTIVATIONS[activation](z) for z in _affine(row, w1, b1)]
        active.append([a for a, _ in pairs])
        slopes.append([s for _, s in pairs])
        out[n] = _affine(active[n], w2, b2)                     # eq. 28.1
    return out.reshape(x.shape).astype(dtype), (given, active, slopes, dtype)


def feed_forward_backward(dout, cache):
    """dout (..., D): dx, dw1, db1, dw2, db2, without the db that there are not."""
    (x, w1, b1, w2, b2), active, slopes, dtype = cache
    dout = check.gradient(dout, x.shape, x.dtype).reshape(-1, x.shape[-1])
    dx, dw1, dw2 = np.zeros(dout.shape), np.zeros(w1.shape), np.zeros(w2.shape)
    db1, db2 = np.zeros(w1.shape[1]), np.zeros(w2.shape[1])
    for n, row in enumerate(x.reshape(dout.shape)):
        above = dout[n].tolist()
        dactive = _affine(above, w2.T)                          # eq. 28.2
        dhidden = [d * s for d, s in zip(dactive, slopes[n])]
        dx[n] = _affine(dhidden, w1.T)
        dw1 += np.outer(row, dhidden)
        dw2 += np.outer(active[n], above)
        db1 += dhidden
        db2 += above
    grads = [dx.reshape(x.shape), dw1, *[db1] * (b1 is not None), dw2, *[db2] * (b2 is not None)]
    return tuple(g.astype(dtype) for g in grads)


def swiglu(x, w_gate, w_up, w_down):
    """x (..., D), w_gate and w_up (D, F), w_down (F, D): out (..., D), cache."""
    given, dtype = check.gated(x, w_gate, w_up, w_down)
    x, w_gate, w_up, w_down = given
    rows, kept = x.reshape(-1, x.shape[-1]), []
    out = np.empty(rows.shape)
    for n, row in enumerate(rows.tolist()):
        gates, ups = [_silu(z) for z in _affine(row, w_gate)], _affine(row, w_up)
        kept.append((gates, ups))
        out[n] = _affine([g * u for (g, _), u in zip(gates, ups)], w_down)      # eq. 28.4
    return out.reshape(x.shape).astype(dtype), (given, kept, dtype)


def swiglu_backward(dout, cache):
    """dout (..., D): dx, dw_gate, dw_up, dw_down."""
    (x, w_gate, w_up, w_down), kept, dtype = cache
    dout = check.gradient(dout, x.shape, x.dtype).reshape(-1, x.shape[-1])
    grads = [np.zeros(a.shape) for a in (dout, w_gate, w_up, w_down)]
    for n, row in enumerate(x.reshape(dout.shape)):
        gates, ups = kept[n]
        above = _affine(dout[n].tolist(), w_down.T)
        dgate = [d * u * slope for d, u, (_, slope) in zip(above, ups, gates)]  # eq. 28.5
        dup = [d * g for d, (g, _) in zip(above, gates)]
        grads[0][n] = np.add(_affine(dgate, w_gate.T), _affine(dup, w_up.T))
        grads[1] += np.outer(row, dgate)
        grads[2] += np.outer(row, dup)
        grads[3] += np.outer([g * u for (g, _), u in zip(gates, ups)], dout[n])
    return tuple(g.astype(dtype) for g in (grads[0].reshape(x.shape), *grads[1:]))


def patchify(x, patch):
    """x (B, C, H, W) to (B, N, C p p), number by number."""
    x, p = check.images(x, patch)
    B, C, H, W = x.shape
    out = np.empty((B, H // p * (W // p), C * p * p), x.dtype)
    for n, c, i, j in np.ndindex(x.shape):
        out[n, i // p * (W // p) + j // p, c * p * p + i % p * p + j % p] = x[n, c, i, j]
    return out


def unpatchify(x, shape, patch):
    """x (B, N, C p p) to (B, C, H, W), for shape = (C, H, W)."""
    x, (C, H, W), p = check.patches(x, shape, patch)
    out = np.empty((len(x), C, H, W), x.dtype)
    for n, c, i, j in np.ndindex(out.shape):
        out[n, c, i, j] = x[n, i // p * (W // p) + j // p, c * p * p + i % p * p + j % p]
    return out


def encoder_block(x, weights, mask=None, *, num_heads, num_kv_heads=None, causal=False, norm_first=True,
                  activation="gelu", eps=1e-5):
    """x (B, T, D), weights and options as in level 2: out (B, T, D), cache."""
    given = check.block(x, weights, mask, num_heads, num_kv_heads, causal, norm_first, activation, eps)
    norms = ("gamma1", "beta1"), ("gamma2", "beta2")
    inner = (lambda a: multi_head_attention(a, *given.take(*check.NAMES[2:10]), **given.heads),
             lambda a: feed_forward(a, *given.take(*check.NAMES[12:]), activation))
    out, caches = given.x, []
    for names, sublayer in zip(norms, inner):
        before, kept_norm = layer_norm(out, *given.take(*names), eps) if norm_first else (out, None)
        change, kept = sublayer(before)
        out = out + change                                      # eq. 28.6 and eq. 28.7
        if not norm_first:
            out, kept_norm = layer_norm(out, *given.take(*names), eps)
        caches.append((kept_norm, kept))
    return out.astype(given.dtype), (given, caches)


def encoder_block_backward(dout, cache):
    """dout (B, T, D): dx, and a dict of the gradients of the weights that there are."""
    given, caches = cache
    dx, grads = check.gradient(dout, given.x.shape, given.x.dtype), {}
    steps = (check.NAMES[10:12], check.NAMES[12:], feed_forward_backward), \
            (check.NAMES[:2], check.NAMES[2:10], multi_head_attention_backward)
    for (of_norm, of_inner, inner_backward), (kept_norm, kept) in zip(steps, reversed(caches)):
        if not given.norm_first:
            dx = _named(grads, of_norm, layer_norm_backward(dx, kept_norm), given)
        change = _named(grads, of_inner, inner_backward(dx, kept), given)
        if given.norm_first:
            change = _named(grads, of_norm, layer_norm_backward(change, kept_norm), given)
        dx = dx + change                                        # eq. 28.8
    return dx.astype(given.dtype), {name: grads[name].astype(given.dtype) for name in given.given}


def _named(grads, names, found, given):
    """Put the gradients behind the first of `found` into the dict, by name; return the first, like x."""
    first, *rest = found
    grads |= dict(zip([name for name in names if name in given.given], rest, strict=True))
    return first
