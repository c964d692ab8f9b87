# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:8c344506167c779c
"""Chapter 12: two rows of outputs at once, for kernels of three rows at stride 1 (Winograd)."""

import numpy as np

from tangled.t12_im2col.columns import multiply, runs

ENOUGH = 64 * 192                                   # weights of a row and group, for which it pays


def pay(at, weights, width):
    """Whether four products take less time than six; weights (KH, G, F / G, KW c), width of x."""
    return ((at.kernel[0], at.stride, at.dilation[0]) == (3, (1, 1), 1) and at.outputs[0] > 2
            and at.outputs[1] == width > 0 and weights[0, 0].size >= ENOUGH)


def window(at):
    """The Window of the padded rows 2 t to 2 t + 3, which outputs 2 t and 2 t + 1 read."""
    return at._replace(kernel=(4, 1), stride=(2, 1), sides=(at.sides[0], (0, 0)),
                       outputs=(-(-at.outputs[0] // 2), at.outputs[1]))


def weights(rows):
    """Three rows of weights (3, ...) as four, (4, ...), eq. 12.12."""
    first, middle, last = rows
    with np.errstate(invalid="ignore", over="ignore"):
        return np.stack([first, (first + last + middle) / 2, (first + last - middle) / 2, last])


def weight_gradient(four):
    """The adjoint of `weights`: (4, ...) to (3, ...)."""
    half = (four[1] + four[2]) / 2
    return np.stack([four[0] + half, (four[1] - four[2]) / 2, half + four[3]])


def sums(views, at):
    """The four sums of four views (G, c, columns), one after the other, shifted: (G, KW c, columns)."""
    first, second, third, fourth = views
    (G, c, columns), (KW, W) = first.shape, (at.kernel[1], at.outputs[1])
    total, parts = np.empty(first.shape, first.dtype), np.empty((G, KW, c, columns // W, W), first.dtype)
    shifts = [_shift(parts[:, j], total, j * at.dilation[1] - at.sides[1][0]) for j in range(KW)]
    for function, left, right in ((np.subtract, first, third), (np.add, second, third),
                                  (np.subtract, third, second), (np.subtract, fourth, second)):
        function(left, right, out=total)
        for part, whole, edge in shifts:
            part[...] = whole
            edge[...] = 0
        yield parts.reshape(G, KW * c, columns)


def _shift(part, whole, k):
    """part (G, c, rows, W) is to be whole, k further on in each row: two runs, and an edge of zeros."""
    return *runs(part, whole, k), part[..., -k:] if k > 0 else part[..., :-k]


def products(weights, sums):
    """Both rows of outputs (2, G, F / G, columns) of weights (4, G, F / G, KW c) and their sums."""
    sums = iter(sums)
    first = next(sums)
    even, odd, other = made = np.empty((3, *weights.shape[1:3], first.shape[-1]), weights.dtype)
    multiply(weights[0], first, even)
    even += multiply(weights[1], next(sums), odd)
    even += multiply(weights[2], next(sums), other)
    odd -= other
    odd += multiply(weights[3], next(sums), other)
    return made[:2]


def spread(even, odd):
    """The adjoint of the outputs' sums: two arrays of a shape to four."""
    return even, even + odd, even - odd, odd


def adding(dw, sums, sides):
    """Hand the sums on; on the way add each times its side, transposed, to dw (4, G, KW c, F / G)."""
    for total, part, side in zip(dw, sums, sides):
        total += part @ side.swapaxes(1, 2)
        yield part
