# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:c8377f7b48c1149d
"""Chapter 3: what all optimisers and schedules share, for levels 1 to 3 and for yours."""

import math
import numbers

import numpy as np


def number(name, value, least, below=math.inf, positive=False):
    """`value` as a float, if finite, at least `least`, less than `below` (and not 0)."""
    fits = isinstance(value, (numbers.Real, np.ndarray)) and np.ndim(value) == 0
    fits = fits and not isinstance(value, bool) and least <= float(value) < below
    if not fits or (positive and value == 0):
        start = f"more than {least}" if positive else f"at least {least}"
        end = "finite" if below == math.inf else f"less than {below}"
        raise ValueError(f"{name} = {value!r}; expected a number, {start} and {end}")
    return float(value)


def count(name, value, least):
    """`value` as an int, if it is an integer of at least `least`."""
    array = np.asarray(value)                               # True is of kind b, 2.0 of kind f
    if array.ndim or array.dtype.kind not in "iu" or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer of at least {least}")
    return int(value)


def pair(name, values):
    """Two decay rates, each at least 0 and less than 1."""
    try:
        first, second = values
        return number(name, first, 0, 1), number(name, second, 0, 1)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {values!r}; expected two numbers, "
                         "each at least 0 and less than 1") from None


def parameter_list(parameters):
    """The parameters as a list: at least one, each with an array of floats, none in two."""
    parameters = list(parameters)
    if not parameters:
        raise ValueError("parameters has 0 entries; expected at least one")
    for k, p in enumerate(parameters):
        data = getattr(p, "data", None)
        floats = isinstance(data, np.ndarray) and data.dtype in (np.float32, np.float64)
        if not floats or not hasattr(p, "grad"):
            kind = f"{type(p).__name__} with .data of type {getattr(data, 'dtype', type(data).__name__)}"
            raise ValueError(f"parameters: number {k} is {kind}; expected an object with .data, "
                             "an array of float32 or float64, and .grad")
    if len({id(p) for p in parameters}) < len(parameters):
        raise ValueError("parameters has the same object twice; expected each once")
    refuse_common_memory([p.data for p in parameters])
    return parameters


def refuse_common_memory(arrays):
    """Two parameters (any shapes) on one array would be updated twice, or come apart."""
    ends = [np.lib.array_utils.byte_bounds(array) for array in arrays]
    furthest = None
    for k in sorted((k for k, array in enumerate(arrays) if array.size), key=ends.__getitem__):
        if furthest is not None and np.shares_memory(arrays[furthest], arrays[k]):
            first, second = sorted((furthest, k))
            raise ValueError(f"parameters: numbers {first} and {second} share memory; expected arrays "
                             "of their own (tie weights by one parameter whose gradients are added)")
        if furthest is None or ends[k][1] > ends[furthest][1]:
            furthest = k


def gradient(k, p):
    """The gradient of parameter k as an array, checked against the shape of its data."""
    if np.shape(p.grad) != p.data.shape:
        raise ValueError(f"grad of parameter {k} has shape {np.shape(p.grad)}; "
                         f"expected {p.data.shape}")
    return np.asarray(p.grad)


class Optimizer:
    """Walks over the parameters; a rule names its buffers and says what one update is.

    Attributes
    ----------
    parameters : list of objects with `.data` (floats, any shape) and `.grad` (or None)
    state, counts : lists of each parameter's buffers, zeros at first, and number of updates
    """

    buffers = ()

    def __init__(self, parameters, lr, weight_decay):
        self.parameters = parameter_list(parameters)
        self.lr = lr
        self.weight_decay = number("weight_decay", weight_decay, 0)
        self.counts = [0] * len(self.parameters)
        self.state = self._allocate()

    def _allocate(self):
        """For each parameter a dict of its buffers, zeros in its shape."""
        return [{name: np.zeros_like(p.data) for name in self.buffers}
                for p in self.parameters]

    def step(self):
        """Update every parameter that has a gradient, in place."""
        gradients = [None if p.grad is None else gradient(k, p)
                     for k, p in enumerate(self.parameters)]
        for k, g in enumerate(gradients):
            if g is not None:
                p = self.parameters[k]
                self.counts[k] += 1
                self.update(p.data, g, self.state[k], self.counts[k])
                p.data = p.data                          # an engine that counts writes sees this one

    def update(self, w, g, state, t):
        """One update, the t-th, of an array w (any shape) by its gradient g, in place."""
        raise NotImplementedError

    @property
    def lr(self):
        """The learning rate, at least 0, a Python float."""
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = number("lr", value, 0)

    def zero_grad(self):
        """Set every gradient that there is to zeros, in the array where it is."""
        for p in self.parameters:
            if isinstance(p.grad, np.ndarray):
                p.grad.fill(0)
            elif p.grad is not None:                         # a NumPy scalar, of shape ()
                p.grad = np.zeros_like(p.data)

    def state_dict(self):
        """Copies of all that a bit-exact continuation needs, besides the parameters.

        Returns
        -------
        dict : "lr"; for each parameter k its count "k.t" and its buffers "k.name", in its shape
        """
        state = {"lr": self.lr}
        for k, (t, arrays) in enumerate(zip(self.counts, self.state)):
            state[f"{k}.t"] = t
            state |= {f"{k}.{name}": array.copy() for name, array in arrays.items()}
        return state

    def load_state_dict(self, state):
        """Take back what `state_dict` gave, of the same rule and the same shapes."""
        expected = self.state_dict()
        if odd := sorted(expected.keys() ^ state.keys()):
            word = "lacks" if odd[0] in expected else "has"
            raise ValueError(f"state {word} {odd[0]!r}; expected the keys of "
                             f"{type(self).__name__} with {len(self.parameters)} parameters")
        for key, value in expected.items():
            if np.shape(state[key]) != np.shape(value):
                raise ValueError(f"state: {key!r} has shape {np.shape(state[key])}; "
                                 f"expected {np.shape(value)}")
        counts = [count(f"state: '{k}.t'", state[f"{k}.t"], 0) for k in range(len(self.counts))]
        self.lr, self.counts = state["lr"], counts
        for k, arrays in enumerate(self.state):
            for name, array in arrays.items():
                array[...] = state[f"{k}.{name}"]


class Schedule:
    """Sets `optimizer.lr` to value(0) at once and to value(t) in the t-th step()."""

    def __init__(self, optimizer):
        if not hasattr(optimizer, "lr"):
            raise ValueError(f"optimizer is {type(optimizer).__name__}; "
                             "expected one with .lr")
        self.optimizer, self.base, self.t = optimizer, optimizer.lr, 0
        optimizer.lr = self.value(0)

    def value(self, t):
        """The learning rate after t updates, t an integer of shape ()."""
        raise NotImplementedError

    def step(self):
        """Call it after each update: one more is done."""
        self.t += 1
        self.optimizer.lr = self.value(self.t)

    def state_dict(self):
        """What a continuation needs: the rate at the start, and the updates done."""
        return {"base": self.base, "t": self.t}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave, and set the rate that belongs to it."""
        for key in ("base", "t"):
            if key not in state:
                raise ValueError(f"state lacks {key!r}; expected 'base' and 't'")
        base, t = number("state: base", state["base"], 0), count("state: t", state["t"], 0)
        self.base, self.t = base, t
        self.optimizer.lr = self.value(self.t)
