# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:c332851dd17e6595
"""Activations, level 4: PyTorch. NumPy arrays in and out; gradients by autograd."""

import numpy as np
import torch
from torch.nn import functional

import tangled.t07_activations.checks as check
from tangled.testing import Case


def _tensor(x):
    return torch.from_numpy(np.array(x, order="C"))


def _op(f, *arrays):
    """f of arrays as leaves of a graph: (out, cache); float16 in float32, as elsewhere."""
    leaves = [_tensor(check.wide(a)).requires_grad_() for a in arrays]
    out = f(*leaves)
    return check.narrow(out.detach().numpy(), arrays[0].dtype), (out, arrays[0].dtype, *leaves)


def _gradients(dout, cache):
    """Gradients of the leaves, in their shapes, for dout in the shape of the output."""
    out, dtype, *leaves = cache
    dout = check.gradient(dout, out.detach().numpy())
    grads = torch.autograd.grad(out, leaves, _tensor(dout), retain_graph=True)
    return [check.narrow(g.numpy(), dtype) for g in grads]


def _gradient(dout, cache):
    """dx (...) for dout (...)."""
    return _gradients(dout, cache)[0]


def _plain(f):
    """An op of x (...) without options."""
    return lambda x: _op(f, check.floats("x", x))


def _softplus(t):
    """PyTorch returns x itself from 20 on; here from 40 on, where that is exact."""
    return functional.softplus(t, threshold=40)


relu, relu_backward = _plain(torch.relu), _gradient
sigmoid, sigmoid_backward = _plain(torch.sigmoid), _gradient
tanh, tanh_backward = _plain(torch.tanh), _gradient
softplus, softplus_backward = _plain(_softplus), _gradient
selu, selu_backward = _plain(functional.selu), _gradient
silu, silu_backward = _plain(functional.silu), _gradient
mish, mish_backward = _plain(functional.mish), _gradient


def leaky_relu(x, slope=0.01):
    """x, or slope * x: x (...), out (...)."""
    slope = check.number("slope", slope)
    return _op(lambda t: functional.leaky_relu(t, slope), check.floats("x", x))


def elu(x, alpha=1.0):
    """x, or alpha (exp(x) - 1): x (...), out (...)."""
    alpha = check.number("alpha", alpha)
    return _op(lambda t: functional.elu(t, alpha), check.floats("x", x))


def gelu(x, approximate="none"):
    """x Phi(x), exactly or by tanh: x (...), out (...)."""
    check.approximation(approximate)
    return _op(lambda t: functional.gelu(t, approximate=approximate), check.floats("x", x))


leaky_relu_backward = elu_backward = gelu_backward = _gradient


def prelu(x, slope):
    """Learned slope () or (1,) or (C,), x (N, C, ...): out as x."""
    x = check.floats("x", x)
    return _op(lambda t, a: functional.prelu(t, a.reshape(-1)), x, check.slopes(slope, x))


def prelu_backward(dout, cache):
    """(dx, dslope) in the shapes of x and slope."""
    return tuple(_gradients(dout, cache))


def erfc(x):
    """1 - erf(x): x (...), out (...)."""
    x = check.floats("x", x)
    return check.narrow(torch.erfc(_tensor(check.wide(x))).numpy(), x.dtype)


def golden_cases(rng):
    """Inputs from `rng`, some far out; outputs and gradients in float64."""
    far = np.array([0.5, -0.5, 20.5, -20.5, 1e4, -1e4])
    cases = [("relu", relu, {}), ("leaky_relu", leaky_relu, {}),
             ("leaky_relu-steep", leaky_relu, {"slope": 0.3}),
             ("sigmoid", sigmoid, {}), ("tanh", tanh, {}), ("softplus", softplus, {}),
             ("elu", elu, {}), ("elu-low", elu, {"alpha": 0.4}), ("selu", selu, {}),
             ("gelu", gelu, {}), ("gelu-tanh", gelu, {"approximate": "tanh"}),
             ("silu", silu, {}), ("mish", mish, {})]
    for name, op, options in cases:
        x = np.concatenate([3 * rng.standard_normal(30), far]).reshape(4, 9)
        yield _graded(name, op, rng, {"x": x}, options)
    for name, shape in (("prelu-one", (1,)), ("prelu-channels", (3,))):
        x, slope = rng.standard_normal((2, 3, 4)), rng.uniform(0.1, 0.9, shape)
        yield _graded(name, prelu, rng, {"x": x, "slope": slope}, {})
    x = np.linspace(-6, 26, 65)
    yield Case("erfc", {"x": x}, {"out": erfc(x)})


def _graded(name, op, rng, arrays, options):
    """A case with upstream weights and the gradients that they give."""
    out, cache = op(**arrays, **options)
    dout = rng.standard_normal(out.shape)
    grads = dict(zip(arrays, _gradients(dout, cache)))
    return Case(name, {**arrays, **options}, {"out": out}, {"out": dout}, grads)
