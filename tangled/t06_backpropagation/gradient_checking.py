# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:0307b41b3c38d5c4
"""Central differences for modules."""

import copy

import numpy as np

import tangled.t06_backpropagation.checks as check


def gradient_check(module, x, rng, step=6e-6):
    """Compare the gradients of a module with central differences, in float64, every entry.

    Parameters
    ----------
    module : Module without randomness; it is copied and stays as it is
    x : ndarray, an input; or a tuple of inputs, of which arrays of floats are differentiated
    rng : numpy.random.Generator, for the weights of the outputs
    step : float, half the distance of the two points (eq. 6.14), relative to entries
        larger than 1

    Returns
    -------
    errors : dict from "x" (or "x0", "x1", ... for a tuple) and the names of the parameters to
        their largest error, relative to the entry, a hundredth of the largest entry, or 1e-3,
        whichever is largest
    """
    check.generator(rng)
    module = copy.deepcopy(module).astype(np.float64)
    several = isinstance(x, tuple)
    inputs = [_float64(value) for value in (x if several else (x,))]
    shapes = [out.shape for out in _outputs(module(*inputs))]
    weights = [rng.standard_normal(shape) for shape in shapes]
    douts = tuple(w.copy() for w in weights)
    dxs = module.backward(douts if len(douts) > 1 else douts[0])
    pairs = zip(inputs, dxs if isinstance(dxs, tuple) else (dxs,), strict=True)
    grads = {f"x{k}" if several else "x": (value, 0.0 if dx is None else dx.copy())
             for k, (value, dx) in enumerate(pairs)
             if value.dtype == np.float64 and (module.input_grad or dx is not None)}
    grads |= {name: (p.data, p.grad.copy()) for name, p in module.named_parameters()}

    def f():
        return sum(np.sum(w * out) for w, out in zip(weights, _outputs(module(*inputs))))
    return {name: _largest_error(f, array, grad, step) for name, (array, grad) in grads.items()}


def _float64(value):
    """A copy of a value as an array: numbers with a fraction in float64, others as they are."""
    value = np.array(value)
    return value.astype(np.float64) if value.dtype.kind == "f" else value


def _outputs(out):
    """What a module returned, as a tuple of arrays."""
    return tuple(map(np.asarray, out if isinstance(out, tuple) else (out,)))


def _largest_error(f, array, grad, step):
    """Largest relative error of `grad` against central differences of f() in each entry."""
    numeric = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept, h = array[index], step * max(1.0, abs(array[index]))
        array[index] = kept + h
        above = f()
        array[index] = kept - h
        numeric[index] = (above - f()) / (2 * h)                # eq. 6.13
        array[index] = kept
    scale = np.maximum(np.abs(numeric), 0.01 * np.abs(numeric).max(initial=0.1))
    return float(np.max(np.abs(grad - numeric) / scale, initial=0.0))
