# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:47b45d15f3124485
"""What is tested: every operation, with broadcasting and with constants on both sides."""

import numpy as np

ROWS = np.array([2, 0, 2, -1])
MASK = np.array([True, False, True])
EXPRESSIONS = {                        # name: (function of tensors, shapes of its operands)
    "add": (lambda a, b: 2.0 + (a + b) + np.arange(4.0), [(3, 4), (4,)]),
    "add_outer": (lambda a, b: a + b, [(3, 1), (1, 4)]),
    "subtract": (lambda a, b: (1 - a) - (b - 3.0), [(3, 4), (3, 1)]),
    "multiply": (lambda a, b: np.arange(4.0) * a * b * 0.5, [(2, 3, 4), (3, 1)]),
    "divide": (lambda a, b: a / b + 1.0 / b - a / 4.0, [(3, 4), (4,)]),
    "quotient": (lambda a, b: a / b, [(3, 4), (3, 1)]),
    "power": (lambda a: a**3 + a**-1.5 + a**0, [(3, 4)]),
    "power_of_tensor": (lambda a, b: a**b + 2.0**b, [(3, 4), (4,)]),
    "negate": (lambda a: -a, [(3,)]),
    "exp": (lambda a: a.exp(), [(3, 4)]),
    "log": (lambda a: a.log(), [(3, 4)]),
    "tanh": (lambda a: a.tanh(), [(3, 4)]),
    "relu": (lambda a: a.relu(), [(3, 4)]),
    "matmul": (lambda a, b: a @ b, [(2, 3), (3, 4)]),
    "matmul_square": (lambda a, b: a @ b, [(3, 3), (3, 3)]),
    "matmul_by_one": (lambda a, b: a @ b, [(2, 3, 4), (4, 5)]),
    "matmul_stretched": (lambda a, b: a @ b, [(2, 1, 3, 4), (5, 4, 2)]),
    "matmul_inner": (lambda a, b: a @ b, [(4,), (4,)]),
    "matmul_row": (lambda a, b: a @ b, [(4,), (2, 4, 3)]),
    "matmul_column": (lambda a, b: a @ b, [(2, 3, 4), (4,)]),
    "matmul_array": (lambda a: np.arange(6.0).reshape(2, 3) @ a, [(3, 2)]),
    "sum": (lambda a: a.sum(), [(3, 4)]),
    "sum_axis": (lambda a: a.sum(axis=0), [(3, 4)]),
    "sum_axes": (lambda a: a.sum(axis=(0, -1), keepdims=True), [(2, 3, 4)]),
    "mean": (lambda a: a.mean(), [(3, 4)]),
    "mean_axis": (lambda a: a - a.mean(axis=-1, keepdims=True), [(3, 4)]),
    "mean_axes": (lambda a: a.mean(axis=(-1, 0)), [(2, 3, 4)]),
    "max": (lambda a: a.max(), [(3, 4)]),
    "max_axis": (lambda a: a.max(axis=1), [(3, 4)]),
    "max_axes": (lambda a: a.max(axis=(0, 2), keepdims=True), [(2, 3, 4)]),
    "reshape": (lambda a: a.reshape(2, -1) * a.reshape((2, 6)), [(3, 4)]),
    "transpose": (lambda a: a.transpose(2, 0, 1) @ a.transpose((0, -1, 1)).T[:, :, 0], [(2, 2, 3)]),
    "slice": (lambda a: a[1:, ::2] + a[0, 1], [(3, 4)]),
    "new_axis": (lambda a: a[None, ..., 1:] + a[:2, None, -1:], [(3, 4)]),
    "rows_repeated": (lambda a: a[ROWS], [(3, 4)]),
    "rows_grid": (lambda a: a[ROWS.reshape(2, 2)], [(3, 4)]),
    "places": (lambda a: a[ROWS, np.array([1, 1, 1, 0])], [(3, 4)]),
    "mask": (lambda a: a[MASK], [(3, 4)]),
    "concatenate": (lambda a, b: type(a).concatenate([a, b, a], axis=-1), [(2, 3), (2, 3)]),
    "concatenate_unequal": (lambda a, b: type(a).concatenate([a, np.ones((2, 3)), b]) ** 2,
                            [(1, 3), (4, 3)]),
    "sum_square": (lambda a: a.sum(axis=-2), [(3, 3)]),          # where a wrong axis fits, too
    "sum_first_of_cube": (lambda a: a.sum(axis=0) * np.arange(3.0), [(3, 3, 3)]),
    "sum_cube": (lambda a: a.sum(axis=-2, keepdims=True), [(3, 3, 3)]),
    "sum_of_two_of_cube": (lambda a: a.sum(axis=(-3, 1)), [(3, 3, 3)]),
    "sum_keepdims": (lambda a: a.sum(keepdims=True), [(3, 4)]),
    "mean_square": (lambda a: a.mean(axis=-2), [(3, 3)]),
    "mean_cube": (lambda a: a.mean(axis=1), [(3, 3, 3)]),
    "mean_keepdims": (lambda a: a.mean(keepdims=True), [(3, 4)]),
    "max_keepdims": (lambda a: a.max(keepdims=True), [(3, 4)]),
    "max_square": (lambda a: a.max(axis=-2), [(3, 3)]),
    "max_last_of_square": (lambda a: a.max(axis=-1), [(3, 3)]),
    "max_cube": (lambda a: a.max(axis=(0, -1), keepdims=True), [(3, 3, 3)]),
    "concatenate_square": (lambda a, b: type(a).concatenate([a, b], axis=-2), [(3, 3), (3, 3)]),
    "concatenate_cube": (lambda a, b: type(a).concatenate([b, a, b], axis=1), [(3, 3, 3), (3, 3, 3)]),
    "transpose_square": (lambda a: a.T * np.arange(9.0).reshape(3, 3), [(3, 3)]),
    "transpose_cube": (lambda a: a.transpose(-1, 0, 1) * np.arange(27.0).reshape(3, 3, 3),
                       [(3, 3, 3)]),
    "matmul_cube": (lambda a, b: a @ b, [(3, 3, 3), (3, 3, 3)]),
    "matmul_arrays_square": (lambda a: np.arange(9.0).reshape(3, 3) @ a @ np.eye(3)[::-1].copy(), [(3, 3)]),
    "columns_repeated": (lambda a: a[:, ROWS], [(3, 3)]),
    "network": (lambda a, b, c: ((a @ b).tanh() @ c).relu() + (a @ b).sum(axis=1, keepdims=True),
                [(5, 3), (3, 4), (4, 2)]),
}
SCALARS = {                            # functions of two numbers, for Value and for Tensor alike
    "scalar_arithmetic": lambda a, b: (2 - a) / b + a * b - 3 / a + (b - 1.5) * 4,
    "scalar_power": lambda a, b: a**b + a**3 + 2**b - a ** -0.5,
    "scalar_functions": lambda a, b: (a * b).exp() * a.log() + (a - b).tanh() - (b - a).relu(),
    "scalar_reuse": lambda a, b: (a * b) * (a * b + a),
}
POSITIVE = {"divide", "quotient", "power", "power_of_tensor", "log", *SCALARS}


def operands(name, rng):
    """Arrays for an expression: normal numbers, or from (0.5, 2) where they must be positive."""
    shapes = EXPRESSIONS[name][1] if name in EXPRESSIONS else [(), ()]
    draw = (lambda shape: rng.uniform(0.5, 2.0, shape)) if name in POSITIVE else rng.standard_normal
    return [np.asarray(draw(shape)) for shape in shapes]


def reused(out):
    """The result, used three times: a tree becomes a graph."""
    return out * out + out


def engines(module):
    """The classes of a module that differentiate single numbers: Value, Tensor, or both."""
    found = [getattr(module, name) for name in ("Value", "Tensor") if hasattr(module, name)]
    assert found, f"{module.__name__} has neither Value nor Tensor"
    return found
