# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:544eae0beeeec425
"""Checking a backward pass against central differences."""
from __future__ import annotations

import inspect

import numpy as np

from tangled.comparing import Mismatch, rng
from tangled.diagnosis import CONTEXT, index_text

STEP = float(np.finfo(np.float64).eps ** (1 / 3))                   # 6.1e-6, eq. A.7


def upstream_like(out, seed: int = 7):
    """Fixed random weights for an output, or for each of a tuple: what is sent into its backward pass.

    Parameters
    ----------
    out : ndarray of shape S, or a tuple of arrays

    Returns
    -------
    ndarray of shape S, or a tuple
        Normal numbers, pushed away from zero: every entry of `out` counts.
    """
    if isinstance(out, tuple):
        return tuple(upstream_like(o, seed + i) for i, o in enumerate(out))
    weights = rng(seed).standard_normal(np.shape(out))
    return weights + np.copysign(0.1, weights)


def numeric_gradient(f, x: np.ndarray, dout, step: float = STEP) -> np.ndarray:
    """Central differences (eq. A.5) of sum(dout * f()) with respect to every entry of x.

    Parameters
    ----------
    f : callable
        Takes no argument, reads `x`, returns an array of the shape of `dout`, or a tuple as `dout` is.
    x : ndarray of shape S, float64
        Changed in place and put back, entry by entry.
    dout : ndarray, or a tuple of them

    Returns
    -------
    ndarray of shape S
    """
    weights = flat(dout)                               # (K,)
    grad = np.zeros_like(x)                            # S
    for index in np.ndindex(x.shape):
        kept = x[index].copy()
        h = step * max(1.0, abs(kept))
        x[index] = above = kept + h
        plus = flat(f())                               # (K,)
        x[index] = below = kept - h
        minus = flat(f())                              # (K,)
        x[index] = kept
        grad[index] = weights @ (plus - minus) / (above - below)
    return grad


def wrong_gradient(grad: np.ndarray, numeric: np.ndarray, rtol: float) -> np.ndarray:
    """Entries further off than eq. A.8 allows.

    Parameters
    ----------
    grad, numeric : ndarray of shape S

    Returns
    -------
    ndarray of bool, of shape S
    """
    size = np.abs(numeric)
    with np.errstate(invalid="ignore"):
        return ~(np.abs(grad - numeric) <= rtol * np.maximum(size, 0.01 * size.max(initial=0.0)) + 1e-10)


def compare_gradient(f, x, dout, grad, what: str, rtol: float) -> None:
    """One gradient against central differences of `f()`, which reads `x`.

    Parameters
    ----------
    x, grad : ndarray of shape S
    dout : ndarray, or a tuple of them
    """
    if not isinstance(grad, (np.ndarray, np.generic)):
        found = "None" if grad is None else f"a {type(grad).__name__}"
        raise Mismatch(what, f"{what} is {found}, expected an array of shape {x.shape}", None, x)
    grad = np.asarray(grad)
    numeric = numeric_gradient(f, x, dout)                                             # S
    if grad.shape != x.shape:
        raise Mismatch.of(what, f"{what} has shape {grad.shape}, expected {x.shape}", grad, numeric)
    wrong = wrong_gradient(grad, numeric, rtol)
    if wrong.any():                                    # once more, without the h^2 term (eq. A.9)
        coarse, fine = (numeric_gradient(f, x, dout, h) for h in (1e-3, 5e-4))
        wrong &= wrong_gradient(grad, (4.0 * fine - coarse) / 3.0, rtol)
    if wrong.any():
        raise gradient_mismatch(f, x, dout, grad, numeric, wrong, what, rtol)


def kink_at(f, x, dout, index) -> str:
    """A sentence where the slopes to the left and right of an entry differ: a test must not stand on a kink.

    Parameters
    ----------
    x : ndarray of shape S
    dout : ndarray, or a tuple of them
    """
    weights, kept, values = flat(dout), x[index].copy(), []
    for move in (-1e-4, 0.0, 1e-4):
        x[index] = kept + move
        values.append(flat(f()))
    x[index] = kept
    left, right = (weights @ (values[i + 1] - values[i]) / 1e-4 for i in (0, 1))
    if abs(left - right) <= 0.05 * max(abs(left), abs(right), 1e-3):
        return ""
    return f"f has a kink there: its slope is {left:.4g} to the left and {right:.4g} to the right"


def check_gradients(f, f_backward, inputs, wrt=None, rtol: float = 1e-6, names=None,
                    may_change=()) -> None:
    """Compare every entry of every gradient with central differences in float64.

    Parameters
    ----------
    f : callable
        `f(*inputs) -> (out, cache)`; out an array, or a tuple of them.
    f_backward : callable
        `f_backward(dout, cache) -> grads`: a tuple in the order of the inputs, or one array.
    inputs : sequence
        Arrays of floats are differentiated; anything else is passed on.
    wrt : sequence of int, optional
        The inputs that the gradients belong to, in their order. Default: every array of floats.
    rtol : float
        Relative error allowed in each entry (eq. A.8).
    names : sequence of str, optional
        Names of the inputs for messages. Default: those of f's parameters.
    may_change : sequence of int
        Inputs that f is allowed to change.
    """
    inputs = [as_float64(value) for value in inputs]
    wrt = [i for i, value in enumerate(inputs) if is_floats(value)] if wrt is None else list(wrt)
    names = list(names or parameter_names(f, len(inputs)))
    kept = [np.copy(value) if is_floats(value) else value for value in inputs]
    out, cache = pair(f(*inputs))
    refuse_changed(kept, inputs, names, may_change, "the forward pass")
    dout = upstream_like(out)
    CONTEXT.update({f"input {names[i]}": kept[i] for i in wrt} | {"the upstream gradient": flat(dout)})
    grads = as_tuple(f_backward(copy_of(dout), cache), len(wrt))
    refuse_changed(kept, inputs, names, may_change, "the backward pass")
    try:
        for i, grad in zip(wrt, grads):
            compare_gradient(lambda: pair(f(*inputs))[0], inputs[i], dout, grad, f"d{names[i]}", rtol)
    except Mismatch as mistake:
        if said := ignored_upstream(f_backward, lambda: pair(f(*inputs))[1], dout, grads):
            raise Mismatch(mistake.what, f"{mistake.text.splitlines()[0]}\n{said}", mistake.got,
                           mistake.expected) from None
        raise


def ignored_upstream(f_backward, cache, dout, grads: tuple) -> str:
    """A sentence where the gradients stay the same for another upstream gradient."""
    parts = dout if isinstance(dout, tuple) else (dout,)
    for i in range(len(parts)):
        other = tuple(-2.0 * part if j == i else part for j, part in enumerate(parts))
        again = as_tuple(f_backward(other if isinstance(dout, tuple) else other[0], cache()), len(grads))
        if all(np.array_equal(a, b) for a, b in zip(again, grads)):
            which = f" of output {i}" if len(parts) > 1 else ""
            return f"the upstream gradient{which} is ignored: the result is the same for another one"
    return ""


def check_module_gradients(module, inputs, rtol: float = 1e-6, call=None) -> None:
    """The same for an object with `.forward(*inputs)`, `.backward(dout)` and parameters.

    Parameters
    ----------
    module : object
        `forward(*inputs) -> out`; `backward(dout)` -> the gradients of the inputs, in order; None is
        accepted from a module whose `input_grad` is False;
        `parameters()` gives objects with `.data` and `.grad`: a list, a dict, or (name, parameter) pairs.
    inputs : sequence
    rtol : float
    call : callable, optional
        Used in place of `module.forward`.
    """
    parameters = named_parameters(module)
    kept = [(parameter, parameter.data, getattr(parameter, "grad", None)) for _, parameter in parameters]
    try:
        for _, parameter in parameters:
            parameter.data, parameter.grad = as_float64(parameter.data), None
        check_parameters(module, parameters, [as_float64(value) for value in inputs], rtol, call or module.forward)
    finally:                                   # the caller's module as it was: its dtype, and no gradients of ours
        for parameter, data, grad in kept:
            parameter.data, parameter.grad = data, grad


def check_parameters(module, parameters, inputs, rtol: float, forward) -> None:
    """`check_module_gradients`, on a module in float64."""
    names = parameter_names(forward, len(inputs))
    if hasattr(module, "zero_grad"):
        module.zero_grad()
    run = lambda: module_output(forward(*inputs))
    kept = [np.copy(value) if is_floats(value) else value for value in inputs]
    dout = upstream_like(run())
    grads = module.backward(copy_of(dout))
    refuse_changed(kept, inputs, names, (), "the module")
    received = [(name, p, None if p.grad is None else np.copy(p.grad)) for name, p in parameters]
    for name, parameter, grad in received:
        if grad is None:
            raise Mismatch(name, f"parameter {name} received no gradient", None, parameter.data)
        compare_gradient(run, parameter.data, dout, grad, f"the gradient of {name}", rtol)
    wrt = [i for i, value in enumerate(inputs) if is_floats(value)]
    if grads is None and wrt and getattr(module, "input_grad", True):
        first = inputs[wrt[0]]
        raise Mismatch(f"d{names[wrt[0]]}", "backward returned None", None, first)
    for place, grad in zip(wrt, () if grads is None else as_tuple(grads, len(wrt))):
        compare_gradient(run, inputs[place], dout, grad, f"d{names[place]}", rtol)


def flat(out) -> np.ndarray:
    """An output, or a tuple of them, as one float64 vector: a copy.

    Parameters
    ----------
    out : ndarray, or a tuple of them

    Returns
    -------
    ndarray of shape (K,)
    """
    parts = out if isinstance(out, tuple) else (out,)
    return np.concatenate([np.array(part, dtype=np.float64).ravel() for part in parts])


def gradient_mismatch(f, x, dout, grad, numeric, wrong, what: str, rtol: float) -> Mismatch:
    """The message: name, index, analytic, numeric; then the diagnosis.

    Parameters
    ----------
    x, grad, numeric : ndarray of shape S
    wrong : ndarray of bool, of shape S
    """
    error = np.where(wrong, np.nan_to_num(np.abs(grad - numeric), nan=np.inf), -1.0)
    worst = np.unravel_index(np.argmax(error), error.shape)
    text = (f"{what}: {wrong.sum()} of {wrong.size} entries are wrong (relative {rtol:g}); worst "
            f"{what}{index_text(worst)}: analytic {grad[worst]:.8g}, numeric {numeric[worst]:.8g}")
    kink = kink_at(f, x, dout, worst)
    if kink:
        return Mismatch(what, f"{text}\n{kink}", grad, numeric)
    return Mismatch.of(what, text, grad, numeric, max(rtol, 1e-7))


def module_output(out):
    """The output of a module that returns (out, cache) or out alone; a tensor's `.data`."""
    out = out[0] if isinstance(out, tuple) else out
    return out.data if not isinstance(out, np.ndarray) and hasattr(out, "data") else out


def named_parameters(module) -> list:
    """[(name, parameter)] of a module, however it lists them."""
    found = module.named_parameters() if hasattr(module, "named_parameters") else module.parameters()
    found = list(found.items()) if isinstance(found, dict) else list(found)
    return [item if isinstance(item, tuple) else (getattr(item, "name", None) or f"parameter {i}", item)
            for i, item in enumerate(found)]


def is_floats(value) -> bool:
    """Is it an array of floats?"""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def as_float64(value):
    """A float64 copy of an array of floats; anything else as it is."""
    return value.astype(np.float64) if is_floats(value) else value


def copy_of(dout):
    """A copy, so that a backward pass that writes into its argument does no harm here."""
    return tuple(map(np.copy, dout)) if isinstance(dout, tuple) else np.copy(dout)


def pair(result) -> tuple:
    """(out, cache), or a Mismatch."""
    if isinstance(result, tuple) and len(result) == 2:
        return result
    raise Mismatch("out", "the forward pass should return (out, cache)"
                   + ("; it returned None: is a return missing?" if result is None else ""))


def as_tuple(grads, number: int) -> tuple:
    """The gradients as a tuple of the right length, or a Mismatch."""
    grads = tuple(grads) if isinstance(grads, (tuple, list)) else (grads,)
    if len(grads) == number:
        return grads
    if len(grads) == 1 and grads[0] is None:
        raise Mismatch("gradients", "the backward pass returned None: is a return missing?")
    raise Mismatch("gradients", f"the backward pass returned {len(grads)} gradients, expected {number}: "
                   "one for each input, in their order")


def refuse_changed(kept, inputs, names, may_change, who: str) -> None:
    """Fail when an input is no longer what it was."""
    for i, (before, now) in enumerate(zip(kept, inputs)):
        if is_floats(now) and i not in may_change and not np.array_equal(before, now, equal_nan=True):
            raise AssertionError(f"{who} changed its input {names[i]!r} in place")


def parameter_names(f, number: int) -> list[str]:
    """The names of f's first positional parameters."""
    try:
        names = [p.name for p in inspect.signature(f).parameters.values() if p.kind in (0, 1)]
    except (TypeError, ValueError):
        names = []
    return (names + [f"input {i}" for i in range(len(names), number)])[:number]
