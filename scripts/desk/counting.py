"""Arrays that count what is done to them: passes over memory, and arrays made. `counted(f, arguments)` -> Tally.

A pass is one operation of NumPy's that reads or writes whole arrays; taking a view is none. Its entries are those of
the largest array that it reads or writes. A product of matrices is one pass, whatever it does within.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import numpy as np

METHODS = ("copy", "astype", "take", "repeat", "cumsum", "cumprod", "argmax", "argmin", "sort", "argsort", "fill",
           "put", "choose", "compress", "nonzero", "partition", "argpartition", "round", "trace", "flatten", "ravel",
           "reshape", "dot", "tobytes", "tolist")
MAKE = ("zeros", "ones", "full", "arange", "linspace", "eye", "identity", "array", "asarray", "ascontiguousarray",
        "asfortranarray", "asanyarray", "frombuffer", "fromiter", "tri", "indices", "geomspace", "logspace")
EMPTY = ("empty",)                                  # an array is made, and none of it touched
SILENT = ("empty_like", "shape", "ndim", "size", "result_type", "can_cast", "may_share_memory", "shares_memory",
          "broadcast_shapes", "iscomplexobj", "isrealobj")


@dataclass
class Tally:
    """What was counted."""

    passes: int = 0
    entries: int = 0
    made: int = 0

    def add(self, result, inputs, out: bool, touched: bool = True) -> None:
        """One operation with its result and its inputs; `out`: it wrote into an array that was there."""
        results, given = arrays(result), arrays(inputs)
        new = [r for r in results if not out and not any(r is g or np.may_share_memory(r, g) for g in given)]
        self.made += len(new)
        if touched and (new or out or not results):
            self.passes += 1
            self.entries += max((a.size for a in [*results, *given]), default=0)


TALLY = Tally()


def arrays(value) -> list[np.ndarray]:
    """The arrays in a value, in tuples, lists and dicts too."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [a for each in value for a in arrays(each)] if isinstance(value, (tuple, list)) else []


def each(value, change):
    """A value with its arrays changed."""
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, dict):
        return {k: each(v, change) for k, v in value.items()}
    if type(value) in (tuple, list):
        return type(value)(each(v, change) for v in value)
    return value


def plain(value):
    """Without counting."""
    return each(value, lambda a: a.view(np.ndarray) if isinstance(a, Counted) else a)


def dressed(value):
    """With counting."""
    return each(value, lambda a: a if isinstance(a, Counted) or type(a) is not np.ndarray else a.view(Counted))


class Counted(np.ndarray):
    """An array whose operations are added to TALLY."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        more = {"out": plain(out)} if out is not None else {}
        given = plain(inputs)
        result = getattr(ufunc, method)(*given, **more, **plain(options))
        TALLY.add(result, given, out is not None or method == "at")
        return dressed(result) if out is None else out[0] if len(out) == 1 else out

    def __array_function__(self, function, types_, arguments, options):
        out = options.get("out")
        given = plain(arguments)
        result = function(*given, **plain(options))
        TALLY.add(result, given, out is not None or result is None, function.__name__ not in SILENT)
        return dressed(result) if out is None else out

    def __getitem__(self, index):
        own, index = plain(self), plain(index)
        result = own[index]
        if isinstance(result, np.ndarray):
            TALLY.add(result, [own], False)
        return dressed(result)

    def __setitem__(self, index, value):
        own, index = plain(self), plain(index)
        own[index] = plain(value)
        TALLY.passes += 1
        TALLY.entries += int(np.size(own[index]))


def method(name: str):
    """A method of arrays that is counted."""
    original = getattr(np.ndarray, name)

    def call(self, *arguments, **options):
        own = plain(self)
        result = original(own, *plain(arguments), **plain(options))
        TALLY.add(result, [own], result is None)
        return dressed(result)
    return call


for _name in METHODS:
    setattr(Counted, _name, method(_name))


class Numpy(types.ModuleType):
    """NumPy whose new arrays count."""

    def __init__(self):
        super().__init__("numpy")
        vars(self).update({name: value for name, value in vars(np).items() if not name.startswith("__")})
        vars(self).update({name: maker(name) for name in MAKE + EMPTY})


def maker(name: str):
    """A function of NumPy's that makes an array."""
    original = getattr(np, name)

    def make(*arguments, **options):
        given = plain(arguments)
        result = original(*given, **plain(options))
        if not any(result is a for a in arrays(given)):
            TALLY.add(result, given, False, name not in EMPTY)
        return dressed(result)
    return make


def counted(f, arguments: tuple, options: dict, own: types.ModuleType) -> Tally:
    """Call f on arguments that count; what it writes into them is lost with them."""
    global TALLY
    places = [own, *(m for n, m in list(sys.modules.items()) if n.startswith("tangled."))]
    places = [m for m in places if vars(m).get("np") is np]
    kept, TALLY, numpy = TALLY, Tally(), Numpy()
    try:
        for module in places:
            module.np = numpy
        f(*dressed(arguments), **dressed(options))
        return TALLY
    finally:
        for module in places:
            module.np = np
        TALLY = kept
