# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:2b7d43aed39f6e49
"""The measured ladders of chapter 01."""

import functools
from dataclasses import dataclass

import numpy as np

from tangled.measuring import BYTES, SECONDS, Ladder, scaled, torch_available
from tangled.t01_tensor_operations import level1_naive, level2_vectorized, level3_memory_efficient
from tangled.testing import rng

LEVELS = level1_naive, level2_vectorized, level3_memory_efficient


def with_torch(function, *args):
    """The same in PyTorch alone: tensors are made now, nothing is checked or converted later."""
    import torch
    args = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in args]
    return functools.partial({
        "matmul": torch.matmul, "einsum2": torch.einsum,
        "unbroadcast": torch.Tensor.sum_to_size,         # what autograd calls for `expand`
        "softmax": functools.partial(torch.softmax, dim=-1),
        "logsumexp": functools.partial(torch.logsumexp, dim=-1),
        "one_hot": lambda y, k: torch.nn.functional.one_hot(y, k).float(),
    }[function], *args)


def ladder(task, first, function, *args, operations=""):
    """A Ladder of `function`, called with `args`, from level `first` on; PyTorch if it is there."""
    calls = {f"level {k}": functools.partial(getattr(level, function), *args)
             for k, level in enumerate(LEVELS, 1) if k >= first}
    if torch_available():
        calls["level 4"] = with_torch(function, *args)
        expected = calls["level 2"]()
        np.testing.assert_allclose(calls["level 4"](), expected, atol=1e-5 * np.abs(expected).max())
    return Ladder(f"{function}, {task}", calls, operations=operations)


def ladders():
    """Yields Ladders: a small and a large product, then the operations that move data."""
    for n, first in ((48, 1), (512, 2)):
        a, b = rng(0).standard_normal((2, n, n)).astype(np.float32)
        yield ladder(f"n = k = m = {n}", first, "matmul", a, b, operations=f"{2 * n**3:,}")
    g = rng(1).standard_normal((64, 64, 256)).astype(np.float32)
    q = rng(2).standard_normal((2, 4, 128, 8, 64)).astype(np.float32)
    x = rng(3).standard_normal((512, 1000)).astype(np.float32)
    yield ladder("(64, 64, 256) to (256,)", 2, "unbroadcast", g, (256,))
    yield ladder("(64, 64, 256) to (64, 64, 1)", 2, "unbroadcast", g, (64, 64, 1))
    yield ladder("attention scores", 2, "einsum2", "bthd,bshd->bhts", *q)
    yield ladder("(512, 1000)", 2, "softmax", x)
    yield ladder("(8, 64000)", 2, "logsumexp", x.reshape(8, 64000))
    yield ladder("2,048 labels of 1,000", 2, "one_hot", rng(4).integers(0, 1000, 2048), 1000)


@dataclass
class Overview:
    """Measured ladders as one table: time of levels 2 and 3 against level 4, and peak memory."""

    results: list

    def _repr_markdown_(self):
        lines = ["| task | level 2, time | level 3, time | level 2, memory | level 3, memory |",
                 "|:---|---:|---:|---:|---:|"]
        for result in self.results:
            rows = [result.row(name) for name in ("level 2", "level 3")]
            times = [scaled(r.seconds, SECONDS) if r.ratio is None else f"{r.ratio:.2f}" for r in rows]
            cells = [f"`{result.name}`", *times, *(scaled(r.peak, BYTES) for r in rows)]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)
