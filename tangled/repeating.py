# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:22499d63be5a3b7a
"""The same op, called again: `assert_repeatable`."""
from __future__ import annotations

import contextlib

from tangled.layouts import (
    adding,
    compare,
    copied,
    kept_bytes,
    mapped,
    pair,
    plain,
    refuse_bytes,
    refuse_common,
    refuse_sharing,
    upstream_of,
)


def assert_repeatable(f, inputs, f_backward=None, tol=None, views=False, interleave=True) -> None:
    """An op called again gives the same: no result, cache or buffer of one call belongs to another.

    Checked are: two calls give the same in arrays of their own; inputs and upstream gradients stay as they
    are; a cache gives the same gradients twice (or a ValueError or RuntimeError that says why not), also
    after a forward pass on other numbers, and twice the gradients for twice the upstream.

    Parameters
    ----------
    f : callable
        `f(*inputs) -> (out, cache)` with `f_backward`; without it, an array or a tuple, list or dict of them.
    inputs : sequence
        Arrays of any shape, also in tuples, lists and dicts; anything else is passed on.
    f_backward : callable, optional
        `f_backward(dout, cache) -> grads`, linear in dout.
    tol : float, optional
        As in `assert_layouts`.
    views : bool
        The results are views of the inputs, and documented as such.
    interleave : bool
        False for a module, whose one cache belongs to its last forward pass.
    """
    inputs = mapped(inputs, plain)
    kept = kept_bytes(inputs)
    first_result, second = f(*inputs), f(*inputs)
    out, again = (result if f_backward is None else pair(result)[0] for result in (first_result, second))
    with adding("called twice"):
        compare({"the result": again}, {"the result": out}, tol)
        refuse_bytes(kept, "input")
        if not views:
            refuse_sharing({"the result": out}, inputs)
            refuse_common(out, again, "the results of two calls")
    if f_backward is not None:
        repeat_backward(f, inputs, f_backward, tol, interleave, (first_result, second))
        refuse_bytes(kept, "input")


def repeat_backward(f, inputs, f_backward, tol, interleave: bool, results) -> None:
    """The backward's part of `assert_repeatable`."""
    (out, cache), (_, other_cache) = map(pair, results)
    dout = upstream_of(out)
    kept, out_then = kept_bytes(dout), copied(out)
    if interleave:
        with contextlib.suppress(ValueError):        # reversed inputs that the op does not take
            f(*mapped(inputs, lambda x: x[::-1].copy() if x.ndim else x))
    grads = f_backward(dout, cache if interleave else other_cache)
    grads_then = copied(grads)
    fresh = f_backward(dout, pair(f(*inputs))[1])
    with adding("backward after a forward pass on other numbers"):
        compare({"the gradients": grads}, {"the gradients": fresh}, tol)
    with adding("backward called twice"):
        try:
            again = f_backward(dout, cache if interleave else pair(f(*inputs))[1])
        except (ValueError, RuntimeError) as error:
            if not str(error):
                raise AssertionError("a second backward is refused without a word") from error
        else:
            compare({"the gradients": again}, {"the gradients": grads_then}, tol)
            compare({"the first call's gradients": grads}, {"the first call's gradients": grads_then}, tol)
            refuse_common(grads, again, "the gradients of two calls")
    with adding("after its backward"):
        compare({"out": out}, {"out": out_then}, tol)
        refuse_bytes(kept, "upstream gradient")
    double = f_backward(mapped(dout, lambda x: 2 * x), pair(f(*inputs))[1])
    with adding("backward of twice the upstream gradient"):
        compare({"the gradients": double}, {"the gradients": mapped(grads_then, lambda x: 2 * x)}, tol)
