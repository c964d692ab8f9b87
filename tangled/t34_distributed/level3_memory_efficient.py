# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:ac5c3fdf803f819d
"""Sums over ranks, level 3: in the place of the result, in blocks; moments in two vectors that stay."""

import math

import numpy as np

import tangled.t34_distributed.checks as check
from tangled.t34_distributed.level2_vectorized import Checkpointed, _norm, _pieces, broadcast, draw_share, part

__all__ = ["Checkpointed", "ShardedAdamW", "all_gather", "broadcast", "draw_share", "part", "reduce_scatter",
           "ring_all_reduce", "synchronise", "tree_all_reduce"]

BLOCK = 1 << 16                                                 # numbers that travel together


def _blocks(piece):
    """Views of a piece (n,), each of at most BLOCK numbers."""
    return [piece[a:a + BLOCK] for a in range(0, len(piece), BLOCK)]


def _scatter(group, pieces):
    """Adds up in place: this rank's one of `pieces`, views of a vector, is complete."""
    rank, size = group.rank, group.size
    room = np.empty(min(BLOCK, max(map(len, pieces))), pieces[0].dtype)
    for step in range(size - 1):
        sent = [group.send(block, (rank + 1) % size)
                for block in _blocks(pieces[(rank - step - 1) % size])]
        for block in _blocks(pieces[(rank - step - 2) % size]):
            group.recv(room[:len(block)], (rank - 1) % size)
            block += room[:len(block)]                          # eq. 34.3
        for message in sent:
            message.wait()


def _gather(group, pieces):
    """Fills in place: all `pieces`, views of one vector, from this rank's."""
    rank, size = group.rank, group.size
    for step in range(size - 1):
        sent = [group.send(block, (rank + 1) % size)
                for block in _blocks(pieces[(rank - step) % size])]
        for block in _blocks(pieces[(rank - step - 1) % size]):
            group.recv(block, (rank - 1) % size)                # eq. 34.4
        for message in sent:
            message.wait()


def _result(x, out):
    """The result with x in it, and a vector of it without gaps: a view if it can be one."""
    x = check.reals("x", x)
    out = check.out(out, x)
    out = np.empty(x.shape, x.dtype) if out is None else out
    if out is not x:
        out[...] = x
    return out, out.reshape(-1) if out.flags.c_contiguous else out.ravel()


def _written(out, flat):
    """The result (any shape), with the vector (n,) in it."""
    if not np.may_share_memory(out, flat):
        out[...] = flat.reshape(out.shape)
    return out


def reduce_scatter(group, x):
    """As level 2, x of any shape: this rank's piece (n_r,)."""
    _, flat = _result(x, None)
    pieces = _pieces(flat, group.size)
    _scatter(group, pieces)
    return pieces[group.rank].copy()


def all_gather(group, piece, n):
    """As level 2, piece (n_r,): all of them, (n,)."""
    piece = check.piece(piece, n, part(n, group.rank, group.size))
    flat = np.empty(n, piece.dtype)
    pieces = _pieces(flat, group.size)
    pieces[group.rank][...] = piece
    _gather(group, pieces)
    return flat


def ring_all_reduce(group, x, out=None):
    """As level 2, x of any shape; with `out=x` nothing is held but a block."""
    out, flat = _result(x, out)
    pieces = _pieces(flat, group.size)
    _scatter(group, pieces)
    _gather(group, pieces)
    return _written(out, flat)


def tree_all_reduce(group, x, out=None):
    """As level 2, x of any shape, in blocks."""
    out, flat = _result(x, out)
    room, distance = np.empty(min(BLOCK, len(flat)), flat.dtype), 1
    while distance < group.size:
        if group.rank % (2 * distance):
            for message in [group.send(block, group.rank - distance) for block in _blocks(flat)]:
                message.wait()
            break
        if group.rank + distance < group.size:
            for block in _blocks(flat):
                group.recv(room[:len(block)], group.rank + distance)
                block += room[:len(block)]                      # eq. 34.5
        distance *= 2
    broadcast(group, flat)
    return _written(out, flat)


def synchronise(group, gradients, counts, max_norm=None, reduce=None):
    """As level 2, gradients (A, n): one vector for the sums, which the gradient is a view of."""
    gradients, counts, max_norm = check.weighted(gradients, counts, max_norm)
    sums = np.empty(gradients.shape[1] + 1, gradients.dtype)
    np.matmul(counts, gradients, out=sums[:-1])
    sums[-1] = counts.sum()
    sums = reduce(group, sums) if reduce else ring_all_reduce(group, sums, out=sums)
    gradient = sums[:-1]
    gradient *= 1 / check.some_tokens(sums[-1])                 # eq. 34.1
    norm = _norm_of(gradient)
    if max_norm is not None and norm > max_norm:
        gradient *= max_norm / norm
    return gradient, norm


def _norm_of(gradient):
    """The length of a vector (n,), block by block in float64."""
    return math.sqrt(sum(_norm(block)**2 for block in _blocks(gradient)))


class ShardedAdamW:
    """As level 2; the moments of this rank's piece, and one vector (n,) for the sums, made once."""

    def __init__(self, group, weights, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, decayed=None):
        given = check.options(weights, lr, betas, eps, weight_decay, decayed)
        self.weights, self.lr, self.betas, self.eps, self.weight_decay, edge = given
        self.group, self.t = group, 0
        broadcast(group, self.weights)
        self.start, self.stop = part(len(self.weights), group.rank, group.size)
        self.decayed = max(0, min(edge, self.stop) - self.start)                # of this rank's piece
        self.sums = np.empty_like(self.weights)
        self.m, self.v = np.zeros((2, self.stop - self.start), self.weights.dtype)

    @property
    def held(self):
        """Numbers that this rank keeps, an int."""
        return self.m.size + self.v.size

    def step(self, gradient, count, max_norm=None):
        """As level 2, gradient (n,) of a mean over `count` tokens: the norm."""
        gradient, counts, max_norm = check.mean(gradient, count, max_norm, len(self.weights))
        tokens = check.some_tokens(ring_all_reduce(self.group, counts)[0])
        np.multiply(gradient, counts[0], out=self.sums)
        pieces = _pieces(self.sums, self.group.size)
        _scatter(self.group, pieces)
        mine = pieces[self.group.rank]
        mine *= 1 / tokens
        norm = math.sqrt(ring_all_reduce(self.group, np.array([_norm_of(mine)**2]))[0])
        if max_norm is not None and norm > max_norm:
            mine *= max_norm / norm
        self.t += 1
        spare = np.empty(min(BLOCK, len(mine)), mine.dtype)
        for a in range(0, len(mine), BLOCK):
            self._update(slice(a, min(a + BLOCK, len(mine))), mine, spare)
        _gather(self.group, _pieces(self.weights, self.group.size))
        return norm

    def _update(self, block, mine, spare):
        """One block of this rank's weights, in place; mine (n_r,) is the gradient, spare (BLOCK,) scratch."""
        (b1, b2), g, m, v = self.betas, mine[block], self.m[block], self.v[block]
        w, s = self.weights[self.start:self.stop][block], spare[:len(mine[block])]
        w[:max(0, self.decayed - block.start)] *= 1 - self.lr * self.weight_decay
        m *= b1
        m += np.multiply(g, 1 - b1, out=s)
        v *= b2
        np.multiply(g, g, out=s)
        v += np.multiply(s, 1 - b2, out=s)
        np.multiply(v, 1 / (1 - b2**self.t), out=s)
        np.sqrt(s, out=s)
        s += self.eps
        np.divide(m, s, out=s)
        s *= self.lr / (1 - b1**self.t)
        w -= s

    def state_dict(self):
        """As level 2: t, and m and v of shape (n,)."""
        return {"t": self.t, **{name: all_gather(self.group, getattr(self, name), len(self.weights)) for name in "mv"}}

    def load_state_dict(self, state):
        """As level 2, from m and v of shape (n,)."""
        self.t, found = check.moments(state, len(self.weights))
        for name, moment in found.items():
            getattr(self, name)[...] = moment[self.start:self.stop]
