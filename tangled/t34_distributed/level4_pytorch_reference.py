# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:a7e2744869e70ffc
"""Sums over ranks by PyTorch's gloo. NumPy in, NumPy out."""

import contextlib
import datetime
import itertools

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

import tangled.t34_distributed.checks as check
from tangled.t34_distributed.level2_vectorized import draw_share, part
from tangled.testing import Case

__all__ = ["ShardedAdamW", "all_gather", "broadcast", "connect", "draw_share", "golden_cases", "part",
           "reduce_scatter", "ring_all_reduce", "synchronise", "tree_all_reduce"]


def connect(store, rank, size, seconds=60.0):
    """gloo's group of `size` ranks, which meet in `store`; it waits at most so many seconds for a neighbour."""
    options = dist.ProcessGroupGloo._Options()
    options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    options._timeout = datetime.timedelta(seconds=seconds)
    return dist.ProcessGroupGloo(store, rank, size, options)


def _with(group, work, x):
    """work(gloo's group, a copy of x (any shape) as a tensor), as an array."""
    tensor = torch.from_numpy(np.array(x, order="C"))
    if group.size > 1 and tensor.numel():
        if not hasattr(group, "gloo"):
            store = group.common("store", dist.HashStore)
            with group.outside():
                group.gloo = connect(store, group.rank, group.size)
        with group.outside():
            work(group.gloo, tensor)
    return tensor.numpy()


def _into(out, result):
    if out is None:
        return result
    out[...] = result
    return out


def ring_all_reduce(group, x, out=None):
    """As level 2, x of any shape, by gloo's all-reduce, which chooses its own way."""
    x = check.reals("x", x)
    return _into(check.out(out, x), _with(group, lambda gloo, t: gloo.allreduce([t]).wait(), x))


def tree_all_reduce(group, x, out=None):
    """As `ring_all_reduce`, x of any shape."""
    return ring_all_reduce(group, x, out)


def reduce_scatter(group, x):
    """As level 2, x of any shape: this rank's piece (n_r,) of an all-reduce."""
    total = ring_all_reduce(group, x).ravel()
    return total[slice(*part(len(total), group.rank, group.size))].copy()


def all_gather(group, piece, n):
    """As level 2, piece (n_r,): gloo wants equal pieces, so that others are zeros and the sum is the whole."""
    a, b = part(n, group.rank, group.size)
    whole = np.zeros(n, check.piece(piece, n, (a, b)).dtype)
    whole[a:b] = piece
    return ring_all_reduce(group, whole)


def broadcast(group, x):
    """As level 2, x of any shape, in place."""
    x = check.writable("x", x)
    x[...] = _with(group, lambda gloo, t: gloo.broadcast(t, 0).wait(), x)
    return x


def synchronise(group, gradients, counts, max_norm=None, reduce=None):
    """As level 2, gradients (A, n)."""
    gradients, counts, max_norm = check.weighted(gradients, counts, max_norm)
    weights = torch.from_numpy(np.array(counts))
    sums = torch.cat([weights @ torch.from_numpy(np.array(gradients)), weights.sum()[None]]).numpy()
    sums = (reduce or ring_all_reduce)(group, sums)
    check.some_tokens(sums[-1])
    holder = torch.nn.Parameter(torch.zeros(gradients.shape[1], dtype=torch.from_numpy(sums).dtype))
    holder.grad = torch.from_numpy(sums[:-1]) / float(sums[-1])
    norm = float(torch.linalg.vector_norm(holder.grad))
    if max_norm is not None:
        torch.nn.utils.clip_grad_norm_([holder], max_norm)
    return holder.grad.numpy(), norm


class ShardedAdamW:
    """As level 2, but nothing is in shares: torch.optim.AdamW on all weights (n,)."""

    def __init__(self, group, weights, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, decayed=None):
        weights, self.lr, betas, eps, decay, edge = check.options(weights, lr, betas, eps, weight_decay, decayed)
        self.group, self.weights, self.t = group, broadcast(group, weights), 0
        self.parts = [torch.nn.Parameter(torch.from_numpy(piece)) for piece in (weights[:edge], weights[edge:])]
        groups = [{"params": [p], "weight_decay": d} for p, d in zip(self.parts, (decay, 0.0))]
        self.optimizer = torch.optim.AdamW(groups, lr, betas, eps)

    @property
    def held(self):
        """Numbers that this rank keeps, an int: all of them."""
        return 2 * len(self.weights)

    def step(self, gradient, count, max_norm=None):
        """As level 2, gradient (n,)."""
        gradient, _, _ = check.mean(gradient, count, max_norm, len(self.weights))
        gradient, norm = synchronise(self.group, gradient[None], [count], max_norm)
        edge = len(self.parts[0])
        for p, piece, group in zip(self.parts, (gradient[:edge], gradient[edge:]), self.optimizer.param_groups):
            p.grad, group["lr"] = torch.from_numpy(piece.copy()), self.lr
        self.optimizer.step()
        self.t += 1
        return norm

    def state_dict(self):
        """t, and m and v of shape (n,)."""
        states = [self.optimizer.state[p] for p in self.parts]
        moments = {name: np.concatenate([s[key].numpy() if s else np.zeros(len(p), self.weights.dtype)
                                         for s, p in zip(states, self.parts)])
                   for name, key in (("m", "exp_avg"), ("v", "exp_avg_sq"))}
        return {"t": self.t, **moments}

    def load_state_dict(self, state):
        """As level 2, from m and v of shape (n,)."""
        edge, (self.t, found) = len(self.parts[0]), check.moments(state, len(self.weights))
        for p, piece in zip(self.parts, (slice(0, edge), slice(edge, None))):
            m, v = (torch.from_numpy(found[name][piece].copy()) for name in "mv")
            self.optimizer.state[p] = {"step": torch.tensor(float(self.t)), "exp_avg": m, "exp_avg_sq": v}


class _Threads:
    """A rank for the golden cases: gloo's ranks are threads here, and nobody takes turns."""

    def __init__(self, store, rank, size):
        self.store, self.rank, self.size = store, rank, size

    def common(self, name, make):
        """The store, whatever the name."""
        return self.store

    outside = staticmethod(contextlib.nullcontext)


def _ranks(size, f):
    """[f(group)] of gloo's ranks, in threads."""
    from concurrent.futures import ThreadPoolExecutor
    store = dist.HashStore()
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: f(_Threads(store, rank, size)), range(size)))


def _tokens(rng, lengths):
    """A layer, its samples in micro-batches, gradients of their means (A, n), and that of the mean of all."""
    w = torch.from_numpy(rng.standard_normal((4, 3))).requires_grad_()
    xs = [torch.from_numpy(rng.standard_normal((m, 4))) for m in lengths]
    ys = [torch.from_numpy(rng.integers(0, 3, m)) for m in lengths]
    gradient = lambda x, y: torch.autograd.grad(F.cross_entropy(x @ w, y), w)[0].numpy().ravel()
    return np.stack([gradient(x, y) for x, y in zip(xs, ys)]), gradient(torch.cat(xs), torch.cat(ys))


def golden_cases(rng):
    """Sums by gloo on 2, 3 and 4 ranks; a gradient of all tokens, by autograd in one process; steps of AdamW."""
    for size, shape in itertools.product((2, 3, 4), ((7, 5), (3,), (2, 3, 4))):
        x = rng.standard_normal((size, *shape))
        total = _ranks(size, lambda group, x=x: ring_all_reduce(group, x[group.rank]))[0]
        yield Case(f"sum-{size}-{len(shape)}", {"x": x}, {"sum": total})
    lengths = (5, 1, 2, 9, 3)
    gradients, whole = _tokens(rng, lengths)
    yield Case("tokens", {"gradients": gradients, "counts": np.array(lengths), "ranks": (0, 0, 2, 2, 2), "size": 3},
               {"gradient": whole, "norm": np.linalg.norm(whole)})
    w, g, counts = rng.standard_normal(11), rng.standard_normal((6, 3, 11)), rng.integers(0, 9, (6, 3))
    start = w.copy()
    p = [torch.nn.Parameter(torch.from_numpy(piece)) for piece in (w[:7], w[7:])]
    optimizer = torch.optim.AdamW([{"params": p[:1], "weight_decay": 0.2}, {"params": p[1:], "weight_decay": 0.0}],
                                  0.03, (0.8, 0.95), 1e-6)
    for step, count in zip(g, counts):
        mean = torch.from_numpy(count @ step / count.sum())
        p[0].grad, p[1].grad = mean[:7], mean[7:]
        optimizer.step()
    yield Case("adamw", {"weights": start, "gradients": g, "counts": counts}, {"weights": w})
