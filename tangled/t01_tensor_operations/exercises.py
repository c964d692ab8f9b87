# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:cdb69556d278d69f
"""The graded exercises of chapter 01, solved."""

import itertools
import math

import numpy as np

from tangled.t01_tensor_operations import einsum2


def sliding_windows_backward(dout, n, step=1):
    """The adjoint of `sliding_windows`: adds each window's gradient where it was read.

    Parameters
    ----------
    dout : ndarray of shape (..., count, window), floating point
    n : int, the length of the axis under the windows; ValueError unless count windows fit it
    step : int

    Returns
    -------
    ndarray of shape (..., n), of the dtype of `dout`; zero where no window was
    """
    dout = np.asarray(dout)
    *lead, count, window = dout.shape
    if (n - window) // step + 1 != count:
        raise ValueError(f"n is {n}; expected a length with {count} windows of {window}, step {step}")
    dx = np.zeros((*lead, n), dout.dtype)
    for i in range(window):
        dx[..., i:i + count * step:step] += dout[..., i]         # (..., count)
    return dx


def contraction_cost(spec, *shapes):
    """The fewest multiplications with which pairs of operands give an Einstein sum.

    Parameters
    ----------
    spec : str, such as "ij,jk,kl->il": no letter twice in one operand
    *shapes : tuples of int, one for each operand, at least two

    Returns
    -------
    int: a pair costs the product of the lengths of all its letters
    """
    operands, to = _parse(spec, shapes)
    lengths = {c: n for letters, shape in zip(operands, shapes) for c, n in zip(letters, shape)}
    return _plan(tuple(operands), to, lengths)[0]


def einsum(spec, *operands):
    """An Einstein sum of any number of operands, by `einsum2` in the cheapest order of pairs.

    Parameters
    ----------
    spec : str, such as "ij,jk,kl->il": no letter twice in one operand; ValueError if it does not fit
    *operands : ndarray, at least two, with the axes that `spec` names

    Returns
    -------
    ndarray with the axes of the output's letters; its shape is their lengths in that order
    """
    arrays = [np.asarray(x) for x in operands]
    names, to = _parse(spec, [x.shape for x in arrays])
    lengths = {c: n for letters, x in zip(names, arrays) for c, n in zip(letters, x.shape)}
    for i, j, merged in _plan(tuple(names), to, lengths)[1]:
        result = einsum2(f"{names[i]},{names[j]}->{merged}", arrays[i], arrays[j])
        names = [name for k, name in enumerate(names) if k not in (i, j)] + [merged]
        arrays = [x for k, x in enumerate(arrays) if k not in (i, j)] + [result]
    return arrays[0]


def _parse(spec, shapes):
    """Letters of the operands (list of str) and of the output (str)."""
    left, arrow, to = spec.replace(" ", "").partition("->")
    names = left.split(",")
    fits = len(names) == len(shapes) and all(len(a) == len(s) for a, s in zip(names, shapes))
    if not arrow or len(names) < 2 or not fits:
        raise ValueError(f"spec is {spec!r}; expected letters for {len(shapes)} operands, at least 2")
    return names, to


def _plan(names, to, lengths):
    """(cost, [(i, j, letters of the product), ...]) of the cheapest order of pairs."""
    if len(names) == 1:
        return 0, []
    plans = []
    for i, j in itertools.combinations(range(len(names)), 2):
        rest = [name for k, name in enumerate(names) if k not in (i, j)]
        wanted = set(to).union(*rest)
        both = dict.fromkeys(names[i] + names[j])                # letters, each once, in order
        merged = to if not rest else "".join(c for c in both if c in wanted)
        cost, steps = _plan((*rest, merged), to, lengths)
        plans.append((cost + math.prod(lengths[c] for c in both), [(i, j, merged), *steps]))
    return min(plans, key=lambda plan: plan[0])
