# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:c377957dfafa545c
"""The same numbers, laid out in every way that a caller may hand them over: `assert_layouts`."""
from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tangled.comparing import Mismatch, assert_close
from tangled.gradients import upstream_like

ROUNDING = {2: 4e-3, 4: 3e-5, 8: 1e-10}                      # relative, by the bytes of a float


def plain(x):
    """A copy in C order."""
    return np.array(x, order="C")


def in_fortran_order(x):
    """First axis fastest."""
    return np.asfortranarray(x)


def transposed(x):
    """The last two axes swapped in memory; C order for one axis."""
    return x.swapaxes(-1, -2).copy().swapaxes(-1, -2) if x.ndim > 1 else x.copy()


def reversed_in_memory(x):
    """Negative strides along every axis."""
    return np.flip(np.flip(x).copy())


def every_second(x):
    """Gaps between the entries, filled with what must not be read."""
    room = poisoned(tuple(2 * n for n in x.shape), x.dtype)
    return filled(room[(slice(None, None, 2),) * x.ndim], x)


def offset(x):
    """The middle of a larger array."""
    room = poisoned(tuple(n + 3 for n in x.shape), x.dtype)
    return filled(room[tuple(slice(1, n + 1) for n in x.shape)], x)


def unaligned(x):
    """At an odd address."""
    room = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    return filled(room, x)


def read_only(x):
    """Not to be written."""
    x = x.copy()
    x.flags.writeable = False
    return x


def zero_stride(x):
    """One entry along the first axis (other values than x): every row the first, as `broadcast_to` makes them."""
    return np.broadcast_to(x[:1].copy(), x.shape) if x.ndim else x.copy()


def zero_stride_last(x):
    """One entry along the last axis (other values than x)."""
    return np.broadcast_to(x[..., :1].copy(), x.shape) if x.ndim else x.copy()


def overlapping(x):
    """Windows that share their entries (other values than x): x[..., i, j] stands at i + j."""
    if x.ndim < 2:
        return x.copy()
    line = np.concatenate([x[..., :, 0], x[..., -1, 1:]], axis=-1)     # (..., n + m - 1)
    return sliding_window_view(line, x.shape[-1], axis=-1)             # (..., n, m)


LAYOUTS = {"Fortran order": in_fortran_order, "transposed": transposed, "negative strides": reversed_in_memory,
           "every second entry": every_second, "offset": offset, "unaligned": unaligned, "read-only": read_only,
           "zero stride": zero_stride, "zero stride, last axis": zero_stride_last, "overlapping": overlapping}


def assert_layouts(f, inputs, f_backward=None, out=None, backward_out=None, names=None, tol=None,
                   leave_out=(), views=False) -> None:
    """An op's results must not depend on how its inputs, its upstream gradient or `out=` lie in memory.

    Each array is handed over in C, Fortran and transposed order, with negative strides, with gaps, offset,
    unaligned, read-only, with zero strides and overlapping: one at a time, then all of them. Wanted are the
    results of the plain call on C-ordered copies: shapes, dtypes, values. Inputs must stay as they are,
    what lies around them too, and no result may share memory with an input or with another result.

    Parameters
    ----------
    f : callable
        `f(*inputs) -> (out, cache)` with `f_backward`; without it, `f(*inputs)` -> an array, or a tuple,
        list or dict of them, all of it compared.
    inputs : sequence
        Arrays of any shape, also in tuples, lists and dicts; anything else is passed on.
    f_backward : callable, optional
        `f_backward(dout, cache) -> grads`.
    out : True or callable, optional
        f takes `out=`. True: it receives what f returns (first). Otherwise `out(*f(*inputs))` says
        which array it receives, e.g. `lambda loss, cache: cache[0]`.
    backward_out : True or callable, optional
        The same for f_backward; True: `out=` receives the first gradient.
    names : sequence of str, optional
        Names of the inputs, for messages.
    tol : float, optional
        Default: by the dtype of the result (1e-10 in float64, 3e-5 in float32, 4e-3 in float16).
    leave_out : sequence of str
        Layouts that the inputs cannot have, by their names in `LAYOUTS`; "out=overlapping" and its like
        for the layouts of `out=`, "out=an input" for `f(x, out=x)`.
    views : bool
        The results are views of the inputs, and documented as such.

    Raises
    ------
    Mismatch, AssertionError
        naming the input and its layout
    """
    op = Op(f, f_backward, tol, views, names)
    leaves = list(arrays_in(inputs))
    ways = {name: way for name, way in LAYOUTS.items() if name not in leave_out}
    for name, way in {"C order": plain, **ways}.items():
        alone = [[i] for i in range(len(leaves))]
        for chosen in alone + [range(len(leaves))] * (len(leaves) > 1):
            if any(leaves[i].size for i in chosen):
                op.check(rearranged(inputs, chosen, way),
                         f"{op.whose(inputs, chosen)} in layout {name!r}")
        if f_backward is not None:
            op.check(inputs, f"the upstream gradient in layout {name!r}", upstream=way)
    for pick, which in ((out, "f"), (backward_out, "backward")):
        if pick is not None:
            check_out(op, inputs, first if pick is True else pick, which, leave_out)


class Op:
    """A function and its backward, called on inputs that were laid out; see `assert_layouts`."""

    def __init__(self, f, f_backward, tol, views, names):
        self.f, self.f_backward, self.tol, self.views, self.names = f, f_backward, tol, views, names

    def check(self, inputs, said: str, upstream=plain) -> None:
        """The results on these inputs against those on C-ordered copies of the same numbers."""
        wanted = self.results(mapped(inputs, plain), lambda x: plain(upstream(x)))
        kept = kept_bytes(inputs)
        with adding(said):
            got = self.results(inputs, upstream)
            compare(got, wanted, self.tol)
            refuse_bytes(kept, "input")
            if not self.views:
                refuse_sharing(got, inputs)

    def results(self, inputs, upstream=plain) -> dict:
        """{"out": ..., "grads": ...} on these inputs; the upstream gradient laid out by `upstream`."""
        result = self.f(*inputs)
        if self.f_backward is None:
            return {"the result": result}
        out, cache = pair(result)
        dout = mapped(upstream_of(out), lambda x: laid_out(x, upstream))
        kept = kept_bytes(dout)
        grads = self.f_backward(dout, cache)
        refuse_bytes(kept, "upstream gradient")
        if not self.views:
            refuse_sharing({"the gradients": grads}, [dout], "the upstream gradient")
        return {"out": out, "the gradients": grads}

    def whose(self, inputs, chosen) -> str:
        """`input x`, or `all inputs`."""
        if len(chosen) > 1:
            return "all inputs"
        owners = [i for i, value in enumerate(inputs) for _ in arrays_in(value)]
        place = owners[chosen[0]]
        return f"input {self.names[place] if self.names else place}"


def check_out(op: Op, inputs, pick, which: str, leave_out=()) -> None:
    """`out=` in every layout: the plain results, written where they were asked for, or a ValueError.

    Read-only room must be refused. Room that overlaps itself or an input may be refused; a result that is
    given must be right.
    """
    fresh = lambda: mapped(inputs, plain)
    wanted, like = call_into(op, fresh(), pick, which)
    for name, way in {"C order": plain, **LAYOUTS}.items():
        if name == "read-only" or f"out={name}" in leave_out:
            continue
        room = writeable(laid_out(poisoned(like.shape, like.dtype), way))
        before = root(room).tobytes("A")
        with adding(f"{which} with out= in layout {name!r}"):
            try:
                got, placed = call_into(op, fresh(), pick, which, room)
            except ValueError:
                if may_refuse(name):
                    continue
                raise
            compare(got, wanted, op.tol)
            if room.size and not np.shares_memory(placed, room):
                raise AssertionError("the result is not in the array that was given as out=")
            room[...] = poisoned(room.shape, room.dtype)
            if root(room).tobytes("A") != before:
                raise AssertionError("something was written beside the array that was given as out=")
    refuse_read_only(op, fresh(), pick, which, like)
    for i, leaf in enumerate(arrays_in(inputs)):
        if which == "f" and leaf.shape == like.shape and leaf.dtype == like.dtype and leaf.size:
            for name, shift in (("an input", 0), ("an input, shifted", 1)):
                if f"out={name}" not in leave_out:
                    check_shared(op, fresh(), pick, wanted, i, shift)


def call_into(op: Op, inputs, pick, which: str, room=None):
    """(all results, the array that `out=` receives), with `out=room` for f or for its backward."""
    more = {} if room is None else {"out": room}
    if which == "f":
        result = op.f(*inputs, **more)
        parts = result if isinstance(result, tuple) else (result,)
        placed = pick(*parts)
        if op.f_backward is None:
            return {"the result": result}, placed
        out, cache = pair(result)
        got = {"out": copied(out), "what out= receives": np.copy(placed)}
        return got | {"the gradients": op.f_backward(upstream_of(out), cache)}, placed
    out, cache = pair(op.f(*inputs))
    grads = op.f_backward(upstream_of(out), cache, **more)
    parts = grads if isinstance(grads, tuple) else (grads,)
    return {"the gradients": grads}, pick(*parts)


def refuse_read_only(op: Op, inputs, pick, which: str, like) -> None:
    """Room that must not be written is a ValueError."""
    try:
        call_into(op, inputs, pick, which, read_only(np.zeros_like(like)))
    except ValueError:
        return
    if like.size:
        raise AssertionError(f"{which}(out=) accepts a read-only array")


def check_shared(op: Op, inputs, pick, wanted, i: int, shift: int) -> None:
    """`f(x, out=x)`, and the same `shift` entries on: right or refused. No backward, since x is gone."""
    leaf = list(arrays_in(inputs))[i]
    line = np.concatenate([leaf.ravel(), np.zeros(shift, leaf.dtype)])
    shared = line[:leaf.size].reshape(leaf.shape)
    shared[...] = leaf
    inputs = mapped(inputs, lambda x: shared if x is leaf else x)
    with adding(f"f with out= the memory of array {i} of its own inputs, {shift} entries on"):
        try:
            result = op.f(*inputs, out=line[shift:].reshape(leaf.shape))
        except ValueError:
            return
        if op.f_backward is None:
            return compare({"the result": result}, wanted, op.tol)
        got = {"out": pair(result)[0], "what out= receives": pick(*result)}
        compare(got, {name: wanted[name] for name in got}, op.tol)


class adding:
    """Put a word about the case in front of what fails in the block."""

    def __init__(self, said: str):
        self.said = said

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Mismatch):
            raise Mismatch(error.what, f"{self.said}: {error.text}", error.got, error.expected) from None
        if kind is AssertionError:
            raise AssertionError(f"{self.said}: {error}") from None
        if error is not None and isinstance(error, Exception) and not isinstance(error, NotImplementedError):
            error.add_note(self.said) if hasattr(error, "add_note") else None


def arrays_in(value):
    """Every array of a nested value, in order.

    Parameters
    ----------
    value : ndarray, or tuples, lists and dicts of them, or anything else
    """
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(item)


def mapped(value, change):
    """A nested value with `change(array)` for each array."""
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(item, change) for item in value) if type(value) in (tuple, list) else value
    return value


def rearranged(inputs, chosen, way):
    """The inputs with the chosen arrays laid out by `way`, the others in C order."""
    count = iter(range(10_000))
    return mapped(inputs, lambda x: laid_out(x, way) if next(count) in chosen else plain(x))


def laid_out(x, way):
    """A copy laid out by `way`; a single number lies in one way only."""
    return way(plain(x)) if x.ndim else plain(x)


def copied(value):
    """A nested value with copies of its arrays."""
    return mapped(value, np.copy)


def upstream_of(out):
    """Fixed random weights for an output, or for each of a tuple, in its dtype."""
    if isinstance(out, (tuple, list)):
        return tuple(upstream_of(part) for part in out)
    if isinstance(out, float) and not isinstance(out, np.generic):
        return float(upstream_like(np.asarray(out)))
    return np.asarray(upstream_like(np.asarray(out)), dtype=np.asarray(out).dtype)


def first(*parts):
    """The first of several."""
    return parts[0]


def pair(result) -> tuple:
    """(out, cache), or a Mismatch."""
    if isinstance(result, tuple) and len(result) == 2:
        return result
    raise Mismatch("out", "the forward pass should return (out, cache); it returned "
                   + ("None: is a return missing?" if result is None else f"a {type(result).__name__}"))


def compare(got: dict, wanted: dict, tol) -> None:
    """Results by name: structure, shape, dtype, value."""
    for name, expected in wanted.items():
        compare_exactly(got[name], expected, tol, name)


def compare_exactly(got, expected, tol, what: str) -> None:
    """`assert_close` with the dtype of the expected array, all the way down."""
    if isinstance(expected, (tuple, list, dict)):
        keys = list(expected) if isinstance(expected, dict) else range(len(expected))
        if type(got) is not type(expected) or len(got) != len(expected):
            raise Mismatch(what, f"{what} is a {type(got).__name__}, expected a {type(expected).__name__} of "
                           f"{len(expected)}")
        for key in keys:
            compare_exactly(got[key], expected[key], tol, f"{what}[{key!r}]")
    elif isinstance(expected, (np.ndarray, np.generic, float)):
        dtype = np.asarray(expected).dtype
        exact = tol if tol is not None else ROUNDING.get(dtype.itemsize, 1e-10) if dtype.kind == "f" else 0.0
        assert_close(got, expected, exact, what, dtype if dtype.kind == "f" else None)


def poisoned(shape, dtype):
    """An array of what must not be read: NaN, or the largest integer.

    Parameters
    ----------
    shape : tuple of int
    """
    kind = np.dtype(dtype)
    return np.full(shape, np.nan if kind.kind in "fc" else True if kind.kind == "b" else np.iinfo(kind).max, kind)


def filled(room, x):
    """`room` with the numbers of x in it."""
    room[...] = x
    return room


def writeable(x):
    """A view of x that can be written to: what `broadcast_to` gives cannot."""
    return x if x.flags.writeable else np.lib.stride_tricks.as_strided(
        root(x).copy(), x.shape, x.strides, writeable=True)


def root(x: np.ndarray) -> np.ndarray:
    """The array that owns the memory of a view, as far as arrays go."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def kept_bytes(value) -> list:
    """[(the owner of an array's memory, what is in it)]."""
    return [(root(x), root(x).tobytes("A")) for x in arrays_in(value)]


def refuse_bytes(kept, what: str) -> None:
    """Fail where an array, or what lies around it, is no longer what it was."""
    for i, (owner, before) in enumerate(kept):
        if owner.tobytes("A") != before:
            raise AssertionError(f"{what} {i} was changed in place" if len(kept) > 1 else
                                 f"the {what} was changed in place")


def may_refuse(layout: str) -> bool:
    """May `out=` of this layout be refused? Where entries lie on one another."""
    return layout.startswith(("zero stride", "overlapping"))


def refuse_sharing(got: dict, inputs, whose: str = "an input") -> None:
    """Fail where a result shares memory with an input, or with another result."""
    results = [(name, x) for name, value in got.items() for x in arrays_in(value)]
    for name, x in results:
        if any(x.size and np.may_share_memory(x, root(y)) for y in arrays_in(inputs)):
            raise AssertionError(f"memory of {name} is that of {whose}: a later write to one changes the other")
    for i, (name, x) in enumerate(results):
        for other, y in results[:i]:
            if x.size and np.may_share_memory(x, y) and np.shares_memory(x, y):
                raise AssertionError(f"two of {name} share memory" if name == other else
                                     f"{other} and {name} share memory")


def refuse_common(a, b, what: str) -> None:
    """Fail where two results share memory."""
    for x in arrays_in(a):
        if any(x.size and np.may_share_memory(x, y) for y in arrays_in(b)):
            raise AssertionError(f"{what} share memory")
