# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:f0212066613869e7
"""Parameters, modules, their check: what every layer, cell and block of the book is made of."""

import copy
import math
import sys
import time
from contextlib import contextmanager

import numpy as np

import tangled.t06_backpropagation.checks as check


class Parameter:
    """An array that learns.

    Parameters
    ----------
    data : array_like of floats, any shape; copied

    Attributes
    ----------
    data : ndarray
    grad : ndarray of the shape and dtype of `data`, zeros at first
    """

    def __init__(self, data):
        self.data = check.parameter(data)
        self.grad = np.zeros_like(self.data)

    def accumulate(self, grad):
        """Add to `grad`, in place; a ValueError for another shape than that of `data`."""
        check.same_shape("grad", grad, self.data.shape)
        if self.grad is None:
            self.zero_grad()
        self.grad += grad                               # never the caller's array itself

    def zero_grad(self):
        """Fill `grad` with zeros, in place if it has the shape and dtype of `data`."""
        old = self.grad
        if old is None or (old.shape, old.dtype) != (self.data.shape, self.data.dtype):
            self.grad = np.zeros_like(self.data)
        else:
            self.grad.fill(0)

    def astype(self, dtype):
        """Make `data` an array of another dtype, and `grad` zeros of it; returns the parameter."""
        self.data, self.grad = self.data.astype(check.floating(dtype)), None
        self.zero_grad()
        return self

    def __repr__(self):
        """Such as "Parameter(shape=(3,), dtype=float32)"."""
        return f"Parameter(shape={self.data.shape}, dtype={self.data.dtype})"


class Module:
    """Anything with parameters. Subclasses write `forward` and `backward`.

    `forward` takes one array or several and returns one, or a tuple. `backward` takes the
    gradient of what was returned, in the same form, and returns that of each input, in
    their order: an array, or a tuple, with None for inputs without one (classes, masks).

    Attributes
    ----------
    training : bool, set by `train()` and `eval()` for this module and all below
    input_grad : bool; where False, `backward` may return None in place of dx
    cache : what the last `forward` keeps for its `backward`; a module that stands in two
        places of a network is two modules, which may share their Parameters
    buffer_names : tuple of str, attributes that are saved but do not learn
    """

    training, input_grad, cache, buffer_names = True, True, None, ()

    def forward(self, x):
        """The output for an input, of the shapes that the subclass says."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dout):
        """Add to the parameters' `grad`; return the gradient dx, in the shape of x."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, *inputs, **options):
        return self.forward(*inputs, **options)

    def kept(self):
        """What the last `forward` left in `cache`; a RuntimeError before the first."""
        if self.cache is None:
            raise RuntimeError(f"{type(self).__name__}.backward() came before forward()")
        return self.cache

    def members(self):
        """[(name, Parameter or Module)] of the attributes, in their order, and of what lies in
        lists, tuples and dicts among them."""
        found = []
        for name, value in vars(self).items():
            if name != "cache":
                found += _members_in(name, value)
        return found

    def named_modules(self, name=""):
        """[(name, Module)]: this one, under the name "", and all below; each once."""
        found = {id(self): (name, self)}
        for inner, member in self.members():
            if isinstance(member, Module):
                for path, module in member.named_modules(f"{name}.{inner}".lstrip(".")):
                    found.setdefault(id(module), (path, module))
        return list(found.values())

    def modules(self):
        """This module and all below, each once."""
        return [module for _, module in self.named_modules()]

    def _paths(self, name=""):
        """[(name, Parameter)] of this module and all below, under every name."""
        found = []
        for inner, member in self.members():
            path = f"{name}.{inner}".lstrip(".")
            found += [(path, member)] if isinstance(member, Parameter) else member._paths(path)
        return found

    def named_parameters(self):
        """[(name, Parameter)] of this module and all below; a shared one only once."""
        found = {}
        for name, parameter in self._paths():
            found.setdefault(id(parameter), (name, parameter))
        return list(found.values())

    def parameters(self):
        """The parameters of this module and all below, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self):
        """Fill every gradient with zeros."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self, mode=True):
        """Training mode for this module and all below; evaluation, if `mode` is False."""
        self.training = mode
        for _, member in self.members():
            if isinstance(member, Module):
                member.train(mode)
        return self

    def eval(self):
        """Evaluation mode for this module and all below."""
        return self.train(False)

    def buffers(self):
        """{name: the array itself} of this module's attributes in `buffer_names`."""
        return {name: getattr(self, name) for name in self.buffer_names}

    def _arrays(self, name=""):
        """{name: the array itself} of all parameters and buffers, at any depth."""
        arrays = {}
        for inner, member in self.members():
            path = f"{name}.{inner}".lstrip(".")
            arrays |= {path: member.data} if isinstance(member, Parameter) else member._arrays(path)
        return arrays | {f"{name}.{k}".lstrip("."): a for k, a in self.buffers().items()}

    def state_dict(self):
        """{name: copy of the array} of all parameters and buffers."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def load_state_dict(self, state):
        """Copy arrays of the same names and shapes into parameters and buffers, or none."""
        arrays = self._arrays()
        check.state(arrays, state)
        for name, array in arrays.items():
            array[...] = state[name]

    def astype(self, dtype):
        """All parameters and all buffers of floats in another dtype; returns the module.

        Ties stay tied, gradients become 0, caches are forgotten. An optimiser that was made
        before holds arrays that are no longer in use.
        """
        for parameter in self.parameters():
            parameter.astype(dtype)
        for module in self.modules():
            module.cache = None
            for name, array in module.buffers().items():
                if array.dtype.kind == "f":
                    setattr(module, name, array.astype(check.floating(dtype)))
        return self


def _members_in(name, value):
    """[(name, Parameter or Module)] of a value: itself, or what lies in it, at any depth."""
    if isinstance(value, (Parameter, Module)):
        return [(name, value)]
    items = ()
    if isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif isinstance(value, dict):
        items = value.items()
    return [pair for k, item in items for pair in _members_in(f"{name}.{k}", item)]


@contextmanager
def evaluating(model):
    """A model in evaluation mode inside a `with`; afterwards each module has its own mode again.

    Parameters
    ----------
    model : Module; what has no modules, such as a function, is left alone
    """
    modes = [(m, m.training) for m in getattr(model, "modules", list)()]
    if modes:
        model.eval()
    try:
        yield model
    finally:                                            # also after an error
        for module, mode in modes:
            module.training = mode


class Progress:
    """A bar on one line of stderr: [######----] 12/50  loss 0.0123.

    Parameters
    ----------
    total : int, steps until the bar is full
    show : True to show it if stderr is a terminal, "always", or False
    """

    WIDTH, PAUSE = 30, 0.1              # characters; seconds between two prints

    def __init__(self, total, show=True):
        self.total, self.done, self.last, self.longest = total, 0, -math.inf, 0
        self.shown = show == "always" or (bool(show) and sys.stderr.isatty())

    def advance(self, text):
        """One step further; `text` stands behind the bar."""
        self.done += 1
        now = time.monotonic()
        if self.shown and (now - self.last >= self.PAUSE or self.done == self.total):
            self.last = now
            bar = "#" * (self.WIDTH * self.done // self.total)
            line = f"[{bar:-<{self.WIDTH}}] {self.done}/{self.total}  {text}"
            self.longest = max(self.longest, len(line))
            print(f"\r{line:<{self.longest}}", end="", file=sys.stderr, flush=True)

    def close(self):
        """End the line."""
        if self.shown and self.done:
            print(file=sys.stderr)


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
