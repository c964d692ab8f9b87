# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:9d3f1abdd4a314aa
"""Level 1: a graph of single numbers; every arrow carries a slope."""

import math

import numpy as np


class Value:
    """A number of shape () that remembers how it was computed: edges are (operand, slope) pairs."""

    __slots__ = ("data", "edges", "grad")
    __array_ufunc__ = None              # a NumPy number on the left leaves the operation to us

    def __init__(self, data, edges=()):
        self.data, self.edges, self.grad = float(data), edges, 0.0

    def __add__(self, other):
        other = _value(other)
        return Value(self.data + other.data, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other):
        other = _value(other)
        return Value(self.data * other.data, ((self, other.data), (other, self.data)))

    def __pow__(self, other):
        other = _value(other)
        x, p = self.data, other.data
        y = _ieee(np.power, x, p)
        by_base = p * _ieee(np.power, x, p - 1) if p else 0.0           # x ** 0 is flat, also at x = 0
        by_exponent = 0.0 if x == 0 and p >= 0 else y * _ieee(np.log, x)
        return Value(y, ((self, by_base), (other, by_exponent)))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -_value(other)

    def __truediv__(self, other):
        return self * _value(other) ** -1.0

    def __rsub__(self, other):
        return _value(other) + -self

    def __rtruediv__(self, other):
        return _value(other) * self ** -1.0

    def __rpow__(self, other):
        return _value(other) ** self

    def exp(self):
        """e to this value."""
        y = _ieee(np.exp, self.data)
        return Value(y, ((self, y),))

    def log(self):
        """The natural logarithm; -inf at 0, NaN below, as IEEE 754 has it."""
        return Value(_ieee(np.log, self.data), ((self, _ieee(np.divide, 1.0, self.data)),))

    def tanh(self):
        """The hyperbolic tangent."""
        y = math.tanh(self.data)
        return Value(y, ((self, 1.0 - y * y),))

    def relu(self):
        """This value where positive, else 0. Written so that NaN stays NaN."""
        if self.data <= 0:
            return Value(0.0, ((Value(0.0), 0.0),))      # hangs on a constant: not even 0 * inf arrives
        return Value(self.data, ((self, 1.0),))

    def backward(self):
        """Add the derivative of this value with respect to each leaf to that leaf's `grad`."""
        order = _topological_order(self)
        for node in order:
            if node.edges:
                node.grad = 0.0                          # an inner node starts afresh
        self.grad += 1.0                                 # eq. 2.2: the adjoint of the last step
        for node in reversed(order):
            for operand, slope in node.edges:
                operand.grad += slope * node.grad        # eq. 2.5

    def zero_grad(self):
        """Forget the gradient."""
        self.grad = 0.0

    def __repr__(self):
        return f"Value({self.data:g}, grad={self.grad:g})"


def _value(number):
    """A number as a constant; a Value as it is."""
    return number if isinstance(number, Value) else Value(number)


def _ieee(function, *numbers):
    """A NumPy function of floats, as a float: infinite or NaN where Python's own would raise."""
    with np.errstate(all="ignore"):
        return float(function(*numbers))


def _topological_order(root):
    """All nodes that `root` depends on, operands before users, `root` last."""
    order, opened, stack = [], set(), [root]
    while stack:
        node = stack.pop()
        if node is None:                         # all operands of the node below are in the list
            order.append(stack.pop())
        elif node not in opened:
            opened.add(node)
            stack += node, None
            for operand, _ in node.edges:
                if operand not in opened:
                    stack.append(operand)
    return order
