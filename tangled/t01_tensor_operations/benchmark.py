# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:5907ff602a09dbd1
"""The measured ladders of chapter 01."""

import functools
import time

import numpy as np

from tangled.measuring import Ladder, torch_available
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


def scattering(y, k):
    """Ones scattered into zeros, the best call for labels."""
    import torch
    rows = torch.from_numpy(y)[:, None]
    return lambda: torch.zeros(len(y), k).scatter_(1, rows, 1.0)


def ladder(task, first, function, *args, operations=""):
    """A Ladder of `function`, called with `args`, from level `first` on; PyTorch if it is there."""
    calls = {f"level {k}": functools.partial(getattr(level, function), *args)
             for k, level in enumerate(LEVELS, 1) if k >= first}
    if torch_available():
        calls["level 4"] = with_torch(function, *args)
        expected = calls["level 2"]()
        if function == "one_hot":
            calls["best PyTorch"] = scattering(*args)
        for name in [name for name in calls if "level" not in name or name == "level 4"]:
            np.testing.assert_allclose(calls[name](), expected, atol=1e-5 * np.abs(expected).max())
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


SIZES = (96, 192, 384, 768, 1536, 3072)


def asides(repeats=5, k=32):
    """Nanoseconds for a multiply-add of float32 (n, k) by (k, n): "name at n = 96" -> float."""
    matmul, outer = level3_memory_efficient.matmul, level3_memory_efficient.outer_products
    ways = {
        "outer products, whole": lambda a, b: matmul(a, b, len(a), outer),
        "outer products, tiles of 256": lambda a, b: matmul(a, b, 256, outer),
        "np.matmul": np.matmul,
    }
    best = {f"{name} at n = {n}": np.inf for name in ways for n in SIZES}
    for n in SIZES:
        a, b = rng(0).standard_normal((2, n, k)).astype(np.float32)
        for _ in range(repeats):                                 # interleaved, the best of each
            for name, way in ways.items():
                start, key = time.perf_counter(), f"{name} at n = {n}"
                way(a, b.T)
                best[key] = min(best[key], (time.perf_counter() - start) / (n * n * k) * 1e9)
    return best | exponentials()


def exponentials(count=65_536, rounds=40):
    """Nanoseconds an entry of exp and exp2, in place: "exp2, float32" -> float."""
    best = {}
    for dtype in (np.float32, np.float64):
        x = -5 * rng(0).random(count).astype(dtype)
        out = np.empty_like(x)
        for function in [np.exp, np.exp2] * rounds:
            start, key = time.perf_counter(), f"{function.__name__}, {np.dtype(dtype).name}"
            function(x, out=out)
            best[key] = min(best.get(key, np.inf), (time.perf_counter() - start) / count * 1e9)
    return best
