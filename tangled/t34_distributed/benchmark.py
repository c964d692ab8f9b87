# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:c6f17ec0e26a231d
"""Chapter 34: what the levels cost: ranks that take turns, the work of all of them together."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t34_distributed import level1_naive, level2_vectorized, level3_memory_efficient
from tangled.t34_distributed.group import simulate

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, LONG, STEP = "ring, 4 ranks, 1,000 numbers", "ring, 4 ranks, 2^20 numbers", "sharded AdamW, 4 ranks, 2^20 weights"


def _ours(level, xs):
    """All ranks add up xs (R, n) into a result of their own."""
    outs = np.empty_like(xs)
    return lambda: simulate(len(xs), lambda g: level.ring_all_reduce(g, xs[g.rank], out=outs[g.rank]))


def _gloo(xs):
    """gloo's ranks in threads that stay, tensors that stay."""
    from concurrent.futures import ThreadPoolExecutor

    import torch
    import torch.distributed as dist

    from tangled.t34_distributed.level4_pytorch_reference import connect
    store, pool = dist.HashStore(), ThreadPoolExecutor(len(xs))
    groups = list(pool.map(lambda rank: connect(store, rank, len(xs)), range(len(xs))))
    tensors = [torch.from_numpy(x.copy()) for x in xs]
    return lambda: list(pool.map(lambda g, t: g.allreduce([t]).wait(), groups, tensors))


def _steps(level, n):
    """One step of the sharded optimiser on 4 ranks."""
    weights, gradient = np.zeros((4, n), np.float32), np.full(n, 1e-3, np.float32)
    made = simulate(4, lambda g: level.ShardedAdamW(g, weights[g.rank]))

    def step(group):
        made[group.rank].group = group
        made[group.rank].step(gradient, 3)
    return lambda: simulate(4, step)


def ladders():
    """Sums over four ranks, float32."""
    for name, n in ((TINY, 1000), (LONG, 1 << 20)):
        xs = np.zeros((4, n), np.float32)
        calls = {key: _ours(level, xs) for key, level in LEVELS.items() if key != "level 1" or name == TINY}
        if torch_available():
            calls["level 4"] = _gloo(xs)
        yield Ladder(name, calls, note="all four ranks on one core, float32")
    yield Ladder(STEP, {key: _steps(LEVELS[key], 1 << 20) for key in ("level 2", "level 3")}, note="float32")
