# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:ceb24054131b9337
"""Checking a backward pass against central differences."""
from __future__ import annotations

import numpy as np

from tangled.comparing import Mismatch, index_text, rng, wrong_entries
from tangled.diagnosis import diagnose

STEP = np.finfo(np.float64).eps ** (1 / 3)     # 6.06e-6


def upstream_like(out: np.ndarray, seed: int = 7) -> np.ndarray:
    """Fixed random weights for an output: the gradient that is sent into its backward pass.

    Parameters
    ----------
    out : ndarray of any shape

    Returns
    -------
    ndarray of the same shape
        Normal numbers, none of them near zero: every entry of `out` counts.
    """
    weights = rng(seed).standard_normal(out.shape)
    return weights + np.copysign(0.1, weights)


def numeric_gradient(f, x: np.ndarray, dout, step: float = STEP) -> np.ndarray:
    """Central differences of sum(dout * f()) with respect to every entry of x.

    Parameters
    ----------
    f : callable
        Takes no argument, reads `x`, returns an ndarray of the shape of `dout`.
    x : ndarray of shape S, float64
        Changed in place and put back, entry by entry.
    dout : ndarray

    Returns
    -------
    ndarray of shape S
    """
    grad = np.zeros_like(x)                     # S
    for index in np.ndindex(x.shape):
        kept = x[index]
        h = step * max(1.0, abs(kept))
        x[index] = above = kept + h
        plus = np.array(f(), dtype=np.float64)
        x[index] = below = kept - h
        minus = np.array(f(), dtype=np.float64)
        x[index] = kept
        grad[index] = np.sum(dout * (plus - minus)) / (above - below)
    return grad


def as_float64(value):
    """A float64 copy of an array of floats; anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    return value


def first(out):
    """The output of a function that returns (out, cache) or out alone."""
    return out[0] if isinstance(out, tuple) else out


def check_gradients(f, f_backward, inputs, wrt=None, rtol: float = 1e-6, names=None, may_change=()) -> None:
    """Compare every entry of every gradient with central differences in float64.

    Parameters
    ----------
    f : callable
        `f(*inputs) -> (out, cache)`; out an ndarray, or a tuple of them.
    f_backward : callable
        `f_backward(dout, cache) -> grads`: a tuple in the order of the inputs, or one array.
    inputs : sequence
        Arrays of floats are differentiated; anything else is passed on.
    wrt : sequence of int, optional
        Which inputs the gradients belong to, in their order. Default: every array of floats.
    rtol : float
        Relative error allowed in each entry (entries far smaller than the largest: see the text).
    names : sequence of str, optional
        Names of the inputs for messages. Default: those of f's parameters.
    may_change : sequence of int
        Inputs that f is allowed to change.
    """
    inputs = [as_float64(value) for value in inputs]
    wrt = [i for i, v in enumerate(inputs) if is_floats(v)] if wrt is None else list(wrt)
    names = list(names or parameter_names(f, len(inputs)))
    kept = [np.copy(v) if isinstance(v, np.ndarray) else v for v in inputs]
    result = f(*inputs)
    if not isinstance(result, tuple) or len(result) != 2:
        raise Mismatch("out", "the forward pass should return (out, cache)"
                       + (", got None: is a return missing?" if result is None else ""))
    out, cache = result
    refuse_changed(kept, inputs, names, may_change, "the forward pass")
    dout = upstream_of(out)
    grads = as_tuple(f_backward(copy_of(dout), cache), len(wrt))
    refuse_changed(kept, inputs, names, may_change, "the backward pass")
    for place, grad in zip(wrt, grads):
        compare_gradient(lambda: f(*inputs)[0], inputs[place], dout, grad, f"d{names[place]}", rtol)
    return None


def compare_gradient(f, x, dout, grad, what: str, rtol: float) -> None:
    """One gradient against central differences of `f()`, which reads `x`.

    Parameters
    ----------
    x, grad : ndarray of shape S
    """
    if not isinstance(grad, np.ndarray) and x.ndim:
        raise Mismatch(what, f"{what} is {'None' if grad is None else 'a ' + type(grad).__name__}, "
                       f"expected an array of shape {x.shape}", None, x)
    grad = np.asarray(grad)
    numeric = numeric_of(f, x, dout)                           # S
    if grad.shape != x.shape:
        hint = diagnose(grad, numeric, 1e-5)
        raise Mismatch(what, f"{what} has shape {grad.shape}, expected {x.shape}"
                       + (f"\n{hint}" if hint else ""), grad, numeric)
    wrong = wrong_gradient(grad, numeric, rtol)
    if wrong.any():
        wrong &= wrong_gradient(grad, numeric_of(f, x, dout, richardson=True), rtol)
    if wrong.any():
        raise gradient_mismatch(f, x, dout, grad, numeric, wrong, what, rtol)


def wrong_gradient(grad: np.ndarray, numeric: np.ndarray, rtol: float) -> np.ndarray:
    """Entries further off than rtol, relative; entries below 1 % of the largest count as 1 % of it.

    Parameters
    ----------
    grad, numeric : ndarray of one shape
    """
    largest = np.abs(numeric).max() if numeric.size else 0.0
    size = np.maximum(np.abs(numeric), 0.01 * largest)
    with np.errstate(invalid="ignore"):
        return ~(np.abs(grad - numeric) <= rtol * size + 1e-10)


def numeric_of(f, x, dout, richardson: bool = False):
    """`numeric_gradient` for one output or a tuple of them; richardson removes the h^2 term as well.

    Parameters
    ----------
    x : ndarray of shape S
    """
    def weighted():
        out = f()
        if isinstance(out, tuple):
            return np.concatenate([np.ravel(o) for o in out])
        return out
    flat = np.concatenate([np.ravel(d) for d in dout]) if isinstance(dout, tuple) else dout
    if not richardson:
        return numeric_gradient(weighted, x, flat)
    coarse = numeric_gradient(weighted, x, flat, 1e-3)
    return (4.0 * numeric_gradient(weighted, x, flat, 5e-4) - coarse) / 3.0


def gradient_mismatch(f, x, dout, grad, numeric, wrong, what: str, rtol: float) -> Mismatch:
    """The message: input, index, analytic, numeric, and the diagnosis.

    Parameters
    ----------
    x, grad, numeric : ndarray of shape S
    wrong : ndarray of bool, of shape S
    """
    error = np.where(wrong, np.nan_to_num(np.abs(grad - numeric), nan=np.inf), -1.0)
    worst = tuple(np.unravel_index(np.argmax(error), error.shape))
    place = f"[{index_text(worst)}]" if worst else ""
    text = (f"{what}: {wrong.sum()} of {wrong.size} entries are wrong (relative {rtol:g}); "
            f"worst {what}{place}: analytic {grad[worst]:.8g}, numeric {numeric[worst]:.8g}")
    hint = diagnose(grad, numeric, max(rtol, 1e-7)) if wrong_entries(grad, numeric, rtol).any() else ""
    return Mismatch(what, text + (f"\n{hint}" if hint else ""), grad, numeric)


def check_module_gradients(module, inputs, rtol: float = 1e-6, call=None) -> None:
    """The same for an object with `.forward(*inputs)`, `.backward(dout)` and parameters.

    Every parameter must receive a gradient, and gradients must add up over two backward passes or be
    set afresh by `zero_grad`.

    Parameters
    ----------
    module : object
        `forward(*inputs) -> out`; `backward(dout) -> gradients of the inputs`; `parameters()` yields
        objects with `.data` and `.grad` (or is a dict or list of them, or (name, parameter) pairs).
    inputs : sequence of ndarray
    call : callable, optional
        Used in place of `module.forward`.
    """
    forward = call or module.forward
    inputs = [as_float64(value) for value in inputs]
    parameters = named_parameters(module)
    for _, parameter in parameters:
        parameter.data = as_float64(parameter.data)
    if hasattr(module, "zero_grad"):
        module.zero_grad()
    kept = [np.copy(v) if isinstance(v, np.ndarray) else v for v in inputs]
    names = parameter_names(forward, len(inputs))
    out = first(forward(*inputs))
    dout = upstream_of(out)
    grads = module.backward(copy_of(dout))
    refuse_changed(kept, inputs, names, (), "the module")
    analytic = [(name, parameter.data, np.copy(parameter.grad) if parameter.grad is not None else None)
                for name, parameter in parameters]
    run = lambda: first(forward(*inputs))
    for name, data, grad in analytic:
        if grad is None:
            raise Mismatch(name, f"parameter {name} received no gradient (.grad is None)", None, data)
        compare_gradient(run, data, dout, grad, f"grad of {name}", rtol)
    wrt = [i for i, value in enumerate(inputs) if is_floats(value)]
    if grads is not None:
        for place, grad in zip(wrt, as_tuple(grads, len(wrt))):
            compare_gradient(run, inputs[place], dout, grad, f"d{names[place]}", rtol)


def named_parameters(module) -> list:
    """[(name, parameter)] of a module, however it lists them."""
    found = module.named_parameters() if hasattr(module, "named_parameters") else module.parameters()
    found = list(found.items()) if isinstance(found, dict) else list(found)
    return [item if isinstance(item, tuple) else (getattr(item, "name", None) or f"parameter {i}", item)
            for i, item in enumerate(found)]


def is_floats(value) -> bool:
    """Is it an array of floats?"""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def upstream_of(out):
    """Upstream weights for an output or a tuple of them."""
    if isinstance(out, tuple):
        return tuple(upstream_like(np.asarray(o), 7 + i) for i, o in enumerate(out))
    return upstream_like(np.asarray(out))


def copy_of(dout):
    """A copy, so that a backward pass that writes into its argument does no harm here."""
    return tuple(map(np.copy, dout)) if isinstance(dout, tuple) else np.copy(dout)


def as_tuple(grads, number: int) -> tuple:
    """The gradients as a tuple of the right length, or a Mismatch."""
    grads = tuple(grads) if isinstance(grads, (tuple, list)) else (grads,)
    if len(grads) != number:
        raise Mismatch("gradients", f"the backward pass returned {len(grads)} gradients, expected {number}: "
                       "one for each input, in their order")
    return grads


def refuse_changed(kept, inputs, names, may_change, who: str) -> None:
    """Fail when an input is no longer what it was."""
    for i, (before, now) in enumerate(zip(kept, inputs)):
        if isinstance(now, np.ndarray) and i not in may_change and not np.array_equal(
                before, now, equal_nan=now.dtype.kind in "fc"):
            raise AssertionError(f"{who} changed its input {names[i]!r} in place")


def parameter_names(f, number: int) -> list[str]:
    """The names of f's positional parameters."""
    import inspect
    try:
        names = [p.name for p in inspect.signature(f).parameters.values() if p.kind in (0, 1)]
    except (TypeError, ValueError):
        names = []
    return (names + [f"input {i}" for i in range(len(names), number)])[:number]
