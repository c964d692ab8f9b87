# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:8e6a48827668e49d
"""Positional encodings, level 4: PyTorch. NumPy arrays in and out; gradients by autograd."""

import math

import numpy as np
import torch
from torch.nn import functional

import tangled.t27_positional_encodings.checks as check
from tangled.testing import Case


def _tensor(x):
    """A copy, in the dtype to compute in if it is floating."""
    x = np.asarray(x)
    return torch.from_numpy(np.array(x, check.working(x.dtype) if x.dtype.kind == "f" else None, order="C"))


def _gradients(dout, cache):
    """Gradients of the leaves (in their shapes) for `dout` in the output's shape."""
    out, dtype, *leaves = cache
    dout = check.gradient(dout, tuple(out.shape), dtype)
    grads = torch.autograd.grad(out, leaves, _tensor(dout), retain_graph=True)
    return [grad.numpy().astype(dtype) for grad in grads]


def rope_tables(length, dim, base=10000.0, dtype=np.float64):
    """Cosines and sines (L, D/2)."""
    check.tabulation(length, dim, base, dtype)
    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    positions = torch.arange(length, dtype=torch.float64)
    angles = torch.outer(positions, torch.exp(-math.log(base) * exponents))
    turns = torch.polar(torch.ones_like(angles), angles)
    return turns.real.numpy().astype(dtype), turns.imag.numpy().astype(dtype)


def sinusoidal_table(length, dim, base=10000.0, dtype=np.float64):
    """Table (L, D) of sines and cosines."""
    cos, sin = map(torch.from_numpy, rope_tables(length, dim, base, dtype))
    return torch.stack((sin, cos), dim=-1).flatten(1).numpy()


def learned_positions(table, positions):
    """Rows of `table` (L, D) for integer `positions` of any shape: out (..., D)."""
    table = check.floats("table", table, ("L", "D"))
    leaf = _tensor(table).requires_grad_()
    out = functional.embedding(_tensor(check.rows(positions, len(table))), leaf)
    return out.detach().numpy().astype(table.dtype), (out, table.dtype, leaf)


def learned_positions_backward(dout, cache):
    """Gradient (L, D) of the table."""
    return _gradients(dout, cache)[0]


def add_positions(x, encoding):
    """`x` (B, T, D) plus `encoding` (T, D) or (B, T, D)."""
    x, encoding = check.summands(x, encoding)
    leaves = [_tensor(a).requires_grad_() for a in (x, encoding)]
    out = leaves[0] + leaves[1]
    return out.detach().numpy().astype(x.dtype), (out, x.dtype, *leaves)


def add_positions_backward(dout, cache):
    """Gradients (dx, dencoding) in the shapes of the inputs."""
    return tuple(_gradients(dout, cache))


def rope(x, cos, sin, positions=None, layout="interleaved"):
    """Turn each pair of `x` (B, H, T, D) by its position's angle: out (B, H, T, D)."""
    x, cos, sin, positions = check.rotation(x, cos, sin, positions, layout)
    leaf = _tensor(x).requires_grad_()
    rows = _tensor(positions if positions.ndim == 2 else positions[None])
    cos, sin = (_tensor(table)[rows].unsqueeze(1) for table in (cos, sin))
    if layout == "interleaved":
        pairs = torch.view_as_complex(leaf.unflatten(-1, (x.shape[-1] // 2, 2)))
        out = torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)
    else:
        a, b = leaf.chunk(2, dim=-1)
        cos, sin = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)
        out = leaf * cos + torch.cat((-b, a), -1) * sin
    return out.detach().numpy().astype(x.dtype), (out, x.dtype, leaf)


def rope_backward(dout, cache):
    """Gradient dx (B, H, T, D)."""
    return _gradients(dout, cache)[0]


def interleaved_to_half(dim):
    """Permutation (D,) from the interleaved layout to the half-split one."""
    check.even(dim)
    return torch.arange(dim).unflatten(0, (dim // 2, 2)).mT.flatten().numpy()


def alibi_slopes(heads):
    """Slopes (H,), by the recursion of the authors' code."""
    check.size("heads", heads, 1)
    power = 2 ** int(math.log2(heads))
    slopes = torch.exp2(torch.linspace(-8.0 / power, -8.0, power, dtype=torch.float64)).numpy()
    if power == heads:
        return slopes
    return np.append(slopes, alibi_slopes(2 * power)[0::2][:heads - power])


def alibi_bias(slopes, length, past=0):
    """Bias (H, T, past + T), by counting the visible keys from the right."""
    slopes = check.ramp(slopes, length, past)
    visible = torch.ones(length, past + length, dtype=torch.float64).tril(past)
    ahead = 1 - visible.flip(-1).cumsum(-1).flip(-1)            # j - i where visible
    bias = _tensor(slopes)[:, None, None] * ahead
    return bias.masked_fill(visible == 0, -math.inf).numpy().astype(slopes.dtype)


def _explicit_rope(x, positions, dim, layout, base=10000.0):
    """x (B, H, T, D) times the explicit matrices exp(p G), (B, T, D, D)."""
    pair = torch.arange(dim // 2)
    inter = layout == "interleaved"
    first, second = (2 * pair, 2 * pair + 1) if inter else (pair, pair + dim // 2)
    generator = torch.zeros(dim, dim, dtype=torch.float64)
    generator[second, first] = base ** (-2.0 * pair.double() / dim)
    generator = generator - generator.T
    rotations = torch.linalg.matrix_exp(positions[..., None, None] * generator)
    return torch.einsum("btij,bhtj->bhti", rotations.expand(len(x), -1, -1, -1), x)


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64. "rope-half" is a case of rope."""
    for name, inputs in (("sinusoidal_table", {"length": 50, "dim": 16}),
                         ("sinusoidal_table-base", {"length": 9, "dim": 6, "base": 50.0})):
        yield Case(name, inputs, {"out": sinusoidal_table(**inputs)})
    for name, inputs in (("rope_tables", {"length": 40, "dim": 8}),
                         ("rope_tables-base", {"length": 9, "dim": 6, "base": 50.0})):
        yield Case(name, inputs, dict(zip(("cos", "sin"), rope_tables(**inputs))))
    cos, sin = rope_tables(40, 8)
    for heads in (1, 3, 8, 12, 20):
        yield Case(f"alibi_slopes-{heads}", {"heads": heads}, {"out": alibi_slopes(heads)})
    for name, past in (("alibi_bias", 0), ("alibi_bias-past", 4)):
        inputs = {"slopes": alibi_slopes(3), "length": 5, "past": past}
        yield Case(name, inputs, {"out": alibi_bias(**inputs)})

    packed = np.array([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2]])
    yield _graded("learned_positions", learned_positions, rng, ["table"],
                  {"table": rng.standard_normal((7, 4)), "positions": packed})
    for name, shape in (("shared", (4, 6)), ("own", (3, 4, 6))):
        inputs = {"x": rng.standard_normal((3, 4, 6)), "encoding": rng.standard_normal(shape)}
        yield _graded(f"add_positions-{name}", add_positions, rng, ["x", "encoding"], inputs)
    for name, layout, where in (("interleaved", "interleaved", {}), ("half", "half", {}),
                                ("offset", "interleaved", {"positions": np.arange(30, 35)}),
                                ("offset-half", "half", {"positions": np.array([7, 39, 0, 2, 11])}),
                                ("packed", "half", {"positions": packed}),
                                ("packed-interleaved", "interleaved", {"positions": packed})):
        inputs = {"x": rng.standard_normal((2, 3, 5, 8)), "cos": cos, "sin": sin,
                  "layout": layout, **where}
        yield _graded(f"rope-{name}", _explicit_case, rng, ["x"], inputs)


def _explicit_case(x, cos, sin, layout, positions=None):
    """rope from explicit matrices, with the (B, H, T, D) input as the leaf of its graph."""
    leaf = _tensor(x).requires_grad_()
    positions = np.arange(x.shape[2]) if positions is None else positions
    out = _explicit_rope(leaf, _tensor(np.atleast_2d(positions)), x.shape[-1], layout)
    return out.detach().numpy(), (out, x.dtype, leaf)


def _graded(name, f, rng, wrt, inputs):
    """A case with upstream weights and the gradients that they give."""
    out, cache = f(**inputs)
    dout = rng.standard_normal(out.shape)
    grads = dict(zip(wrt, _gradients(dout, cache)))
    return Case(name, inputs, {"out": out}, {"out": dout}, grads)
