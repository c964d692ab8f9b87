# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:6be40ad0d1b97340
"""Sums over ranks, level 1: number by number, in Python's floats. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t34_distributed.checks as check


def part(n, rank, size):
    """The piece of n things that is the rank's: (first, one behind the last), two ints."""
    n, rank, size = check.share(n, rank, size)
    return n * rank // size, n * (rank + 1) // size


def reduce_scatter(group, x):
    """x of any shape, n numbers: this rank's piece (n_r,) of the sum over all ranks."""
    x = check.reals("x", x)
    values, rank, size = x.ravel().tolist(), group.rank, group.size
    for step in range(size - 1):
        a, b = part(len(values), (rank - step - 1) % size, size)
        sent = group.send(np.array(values[a:b], x.dtype), (rank + 1) % size)
        a, b = part(len(values), (rank - step - 2) % size, size)
        came = np.empty(b - a, x.dtype)
        group.recv(came, (rank - 1) % size)
        for i, value in zip(range(a, b), came.tolist()):
            values[i] += value                                  # eq. 34.3
        sent.wait()
    a, b = part(len(values), rank, size)
    return np.array(values[a:b], x.dtype)


def all_gather(group, piece, n):
    """piece (n_r,): all pieces side by side, (n,)."""
    piece = check.piece(piece, n, part(n, group.rank, group.size))
    pieces, rank, size = {group.rank: piece.copy()}, group.rank, group.size
    for step in range(size - 1):
        sent = group.send(pieces[(rank - step) % size], (rank + 1) % size)
        take = (rank - step - 1) % size
        a, b = part(n, take, size)
        pieces[take] = np.empty(b - a, piece.dtype)
        group.recv(pieces[take], (rank - 1) % size)
        sent.wait()
    return np.array(
        [value for k in range(size) for value in pieces[k].tolist()], piece.dtype)


def ring_all_reduce(group, x, out=None):
    """x of any shape: the sum over all ranks, in the shape of x."""
    x = check.reals("x", x)
    result = all_gather(group, reduce_scatter(group, x), x.size).reshape(x.shape)
    return _into(check.out(out, x), result)


def _into(out, result):
    """The result, in `out` where there is one."""
    if out is None:
        return result
    out[...] = result
    return out


def broadcast(group, x):
    """x (any shape), written in place: what rank 0 has."""
    x, distance = check.writable("x", x), 1
    while distance < group.size:
        distance *= 2
    while distance > 1:
        distance //= 2
        place = group.rank % (2 * distance)
        if place == 0 and group.rank + distance < group.size:
            group.send(x.copy(), group.rank + distance).wait()
        elif place == distance:
            came = np.empty(x.shape, x.dtype)
            group.recv(came, group.rank - distance)
            for i in np.ndindex(*x.shape):
                x[i] = came[i]
    return x


def tree_all_reduce(group, x, out=None):
    """x of any shape: the sum over all ranks, by halves."""
    x = check.reals("x", x)
    values, distance = x.ravel().tolist(), 1
    while distance < group.size:
        if group.rank % (2 * distance):
            group.send(np.array(values, x.dtype), group.rank - distance).wait()
            break
        if group.rank + distance < group.size:
            came = np.empty(x.size, x.dtype)
            group.recv(came, group.rank + distance)
            values = [a + b for a, b in zip(values, came.tolist())]
        distance *= 2
    result = broadcast(group, np.array(values, x.dtype).reshape(x.shape))
    return _into(check.out(out, x), result)


def synchronise(group, gradients, counts, max_norm=None, reduce=None):
    """gradients (A, n) of means over `counts` tokens: the gradient (n,) of the mean over all, and its norm."""
    gradients, counts, max_norm = check.weighted(gradients, counts, max_norm)
    sums = [0.0] * (gradients.shape[1] + 1)
    for gradient, count in zip(gradients.tolist(), counts.tolist()):
        for i, value in enumerate(gradient):
            sums[i] += count * value                            # eq. 34.1
        sums[-1] += count
    *total, tokens = (reduce or ring_all_reduce)(group, np.array(sums, gradients.dtype)).tolist()
    mean = [value / check.some_tokens(tokens) for value in total]
    norm = math.sqrt(sum(value * value for value in mean))
    if max_norm is not None and norm > max_norm:
        mean = [value * max_norm / norm for value in mean]      # eq. 34.2
    return np.array(mean, gradients.dtype), norm


def draw_share(rng, n, count, rank, size):
    """This rank's part of `count` places drawn from n, an array of ints."""
    n, count = check.whole("n", n, 1), check.whole("count", count, 0)
    places = [int(rng.integers(n)) for _ in range(count)]
    a, b = part(count, rank, size)
    return np.array(places[a:b], int)


class ShardedAdamW:
    """AdamW on weights (n,) that every rank has, with the moments of this rank's piece alone."""

    def __init__(self, group, weights, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, decayed=None):
        given = check.options(weights, lr, betas, eps, weight_decay, decayed)
        self.weights, self.lr, self.betas, self.eps, self.weight_decay, self.decayed = given
        self.group, self.t = group, 0
        broadcast(group, self.weights)
        self.a, self.b = part(len(self.weights), group.rank, group.size)
        self.m, self.v = [0.0] * (self.b - self.a), [0.0] * (self.b - self.a)

    @property
    def held(self):
        """Numbers that this rank keeps, an int."""
        return len(self.m) + len(self.v)

    def step(self, gradient, count, max_norm=None):
        """gradient (n,) of a mean over `count` tokens: one update of all weights; the norm of the mean."""
        gradient, counts, max_norm = check.mean(gradient, count, max_norm, len(self.weights))
        tokens = check.some_tokens(ring_all_reduce(self.group, counts)[0])
        mine = reduce_scatter(self.group, gradient * counts[0])
        mine = [value / float(tokens) for value in mine.tolist()]
        norm = math.sqrt(ring_all_reduce(self.group, np.array([float(sum(g * g for g in mine))]))[0])
        shrink = max_norm / norm if max_norm is not None and norm > max_norm else 1.0
        self.t += 1
        (b1, b2), w = self.betas, self.weights[self.a:self.b].tolist()
        for i, g in enumerate(mine):
            g *= shrink
            self.m[i] = b1 * self.m[i] + (1 - b1) * g
            self.v[i] = b2 * self.v[i] + (1 - b2) * g * g
            first, second = self.m[i] / (1 - b1**self.t), self.v[i] / (1 - b2**self.t)
            decay = self.weight_decay if self.a + i < self.decayed else 0.0
            w[i] -= self.lr * (first / (math.sqrt(second) + self.eps) + decay * w[i])
        self.weights[:] = all_gather(self.group, np.array(w, self.weights.dtype), len(self.weights))
        return norm

    def state_dict(self):
        """The whole state, on every rank: t, and m and v of shape (n,); all ranks must call it."""
        n, dtype = len(self.weights), self.weights.dtype
        whole = {name: all_gather(self.group, np.array(getattr(self, name), dtype), n) for name in "mv"}
        return {"t": self.t, **whole}

    def load_state_dict(self, state):
        """Take this rank's part of what `state_dict` gave, on however many ranks."""
        self.t, found = check.moments(state, len(self.weights))
        self.m, self.v = (found[name][self.a:self.b].tolist() for name in "mv")
