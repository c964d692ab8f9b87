# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:f18e940f84555a31
"""Sums over ranks, level 2: whole pieces; gradients weighted by tokens, optimiser state in shares."""

import math

import numpy as np

import tangled.t34_distributed.checks as check
from tangled.t03_optimizers import AdamW
from tangled.t06_backpropagation import Module, Parameter


def part(n, rank, size):
    """The piece of n things that belongs to a rank; pieces differ by at most one thing.

    Parameters
    ----------
    n, rank, size : int

    Returns
    -------
    start, stop : int, int; n may be less than size, and pieces then empty
    """
    n, rank, size = check.share(n, rank, size)
    return n * rank // size, n * (rank + 1) // size


def _pieces(flat, size):
    """Views of a vector (n,), one for each rank."""
    return [flat[slice(*part(len(flat), k, size))] for k in range(size)]


def reduce_scatter(group, x):
    """This rank's piece of the sum over ranks; Patarasuk and Yuan (2009), eq. 34.3.

    Parameters
    ----------
    group : Group
    x : ndarray of any shape, n numbers, float32 or float64; the same shape on every rank

    Returns
    -------
    ndarray of shape (n_r,), the entries `part(n, rank, size)` of the flattened sum
    """
    x = check.reals("x", x)
    rank, size = group.rank, group.size
    pieces = _pieces(x.ravel().copy(), size)
    for step in range(size - 1):
        give, take = pieces[(rank - step - 1) % size], pieces[(rank - step - 2) % size]
        came = np.empty_like(take)
        sent = group.send(give, (rank + 1) % size)
        group.recv(came, (rank - 1) % size)
        sent.wait()                             # before `give` may change
        take += came
    return pieces[rank].copy()


def all_gather(group, piece, n):
    """All pieces side by side; the second half of the ring, eq. 34.4.

    Parameters
    ----------
    piece : ndarray of shape (n_r,), this rank's `part` of n numbers

    Returns
    -------
    ndarray of shape (n,), the same bits on every rank
    """
    rank, size = group.rank, group.size
    piece = check.piece(piece, n, part(n, rank, size))
    whole = np.empty(n, piece.dtype)
    pieces = _pieces(whole, size)
    pieces[rank][...] = piece
    for step in range(size - 1):
        give, came = pieces[(rank - step) % size], pieces[(rank - step - 1) % size]
        sent = group.send(give, (rank + 1) % size)
        group.recv(came, (rank - 1) % size)
        sent.wait()                             # before `give` may change
    return whole


def ring_all_reduce(group, x, out=None):
    """The sum over all ranks, in pieces that travel round; eq. 34.3, eq. 34.4.

    Parameters
    ----------
    x : ndarray of any shape, float32 or float64; the same shape on every rank
    out : ndarray like x for the result, which may be x itself; or None

    Returns
    -------
    ndarray in the shape of x; the same bits on every rank

    Raises
    ------
    ValueError : if a dtype or a shape is not as above
    """
    x = check.reals("x", x)
    out = check.out(out, x)
    return _into(out, all_gather(group, reduce_scatter(group, x), x.size).reshape(x.shape))


def _into(out, result):
    """The result, in `out` where there is one."""
    if out is None:
        return result
    out[...] = result
    return out


def broadcast(group, x):
    """What rank 0 has, on every rank.

    Parameters
    ----------
    x : ndarray of any shape, float32 or float64, that can be written; rank 0's stays as it is

    Returns
    -------
    x
    """
    x, distance = check.writable("x", x), 1
    while distance < group.size:
        distance *= 2
    while distance > 1:
        distance //= 2
        place = group.rank % (2 * distance)
        if place == 0 and group.rank + distance < group.size:
            sent = group.send(x, group.rank + distance)
            sent.wait()
        elif place == distance:
            group.recv(x, group.rank - distance)
    return x


def tree_all_reduce(group, x, out=None):
    """The sum over all ranks, on every rank, by a binomial tree up and down; eq. 34.5.

    Parameters
    ----------
    x : ndarray of any shape, float32 or float64; the same shape on every rank
    out : ndarray like x for the result, which may be x itself; or None

    Returns
    -------
    ndarray in the shape of x; the same bits on every rank
    """
    x = check.reals("x", x)
    out, total, distance = check.out(out, x), x.copy(), 1
    while distance < group.size:
        if group.rank % (2 * distance):
            group.send(total, group.rank - distance).wait()
            break
        if group.rank + distance < group.size:
            came = np.empty_like(total)
            group.recv(came, group.rank + distance)
            total += came
        distance *= 2
    return _into(out, broadcast(group, total))


def synchronise(group, gradients, counts, max_norm=None, reduce=None):
    """The gradient of the mean loss over all tokens of all ranks; eq. 34.1.

    Parameters
    ----------
    gradients : ndarray of shape (A, n), float32 or float64; row a is the gradient of a mean over counts[a] tokens
    counts : sequence of int, of length A; A may be 0 on some ranks; a row with 0 tokens counts for nothing
    max_norm : float, positive; a longer gradient is shortened to it, the same on all ranks; None: it is not
    reduce : callable (group, vector) -> the sum over all ranks; default `ring_all_reduce`

    Returns
    -------
    gradient : ndarray of shape (n,), the same bits on every rank
    norm : float, before it was shortened

    Raises
    ------
    ValueError : on every rank, if no rank has a token
    """
    gradients, counts, max_norm = check.weighted(gradients, counts, max_norm)
    reduce = reduce or ring_all_reduce
    sums = np.append(counts @ gradients, counts.sum())              # (n + 1,)
    sums = reduce(group, sums)
    gradient = sums[:-1] / check.some_tokens(sums[-1])              # (n,), eq. 34.1
    norm = _norm(gradient)
    if max_norm is not None and norm > max_norm:
        gradient *= max_norm / norm                                 # eq. 34.2
    return gradient, norm


def _norm(gradient):
    """The length of a vector (n,), as a float."""
    return math.sqrt(np.square(gradient, dtype=np.float64).sum())


def draw_share(rng, n, count, rank, size):
    """This rank's part of the places that a step looks at.

    Parameters
    ----------
    rng : numpy.random.Generator in the same state on every rank; it is in the same state afterwards, too
    n, count : int; `count` places are drawn from 0 to n - 1
    rank, size : int

    Returns
    -------
    ndarray of int of shape (count_r,); the parts of all ranks, side by side, are what one process would draw
    """
    n, count = check.whole("n", n, 1), check.whole("count", count, 0)
    places = rng.integers(0, n, count)
    return places[slice(*part(count, rank, size))]


class ShardedAdamW:
    """AdamW on weights that every rank has, with moments for this rank's piece alone.

    Parameters
    ----------
    group : Group
    weights : ndarray of shape (n,), float32 or float64, without gaps; from now on the same on every rank
    lr, betas, eps, weight_decay : as for `AdamW`
    decayed : int, so many weights at the front decay; None: all

    Attributes
    ----------
    held : int, numbers of state that this rank keeps, 2 n / size
    """

    def __init__(self, group, weights, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
                 weight_decay=0.01, decayed=None):
        weights, lr, *rest, decay, edge = check.options(
            weights, lr, betas, eps, weight_decay, decayed)
        self.group, self.weights = group, weights
        broadcast(group, weights)
        self.start, self.stop = part(len(weights), group.rank, group.size)
        edge = min(max(edge, self.start), self.stop)
        self.parts = [
            (slice(a - self.start, b - self.start),
             AdamW([Parameter(weights[a:b])], lr, *rest, each))
            for a, b, each in ((self.start, edge, decay), (edge, self.stop, 0.0)) if b > a]
        self.lr, self.t = lr, 0

    @property
    def held(self):
        """Numbers that this rank keeps, an int."""
        return sum(array.size for _, each in self.parts for array in each.state[0].values())

    def step(self, gradient, count, max_norm=None):
        """One update of all weights; all ranks must call it.

        gradient : ndarray of shape (n,), of a mean over `count` tokens; count may be 0
        Returns the norm of the gradient over all ranks, before max_norm shortens it.
        """
        gradient, counts, max_norm = check.mean(
            gradient, count, max_norm, len(self.weights))
        tokens = check.some_tokens(ring_all_reduce(self.group, counts)[0])
        mine = reduce_scatter(self.group, gradient * counts[0]) / tokens            # (n_r,)
        norm = math.sqrt(ring_all_reduce(self.group, np.array([_norm(mine)**2]))[0])
        if max_norm is not None and norm > max_norm:
            mine *= max_norm / norm
        updated = np.empty_like(mine)
        for piece, optimizer in self.parts:
            (parameter,) = optimizer.parameters
            optimizer.lr, parameter.grad = self.lr, mine[piece]
            parameter.data[...] = self.weights[self.start:self.stop][piece]
            optimizer.step()
            updated[piece] = parameter.data
        self.weights[...] = all_gather(self.group, updated, len(self.weights))
        self.t += 1
        return norm

    def state_dict(self):
        """The whole state, the same on every rank, however many there are; all ranks must call it.

        Returns
        -------
        dict : "t", the updates made, and the moments "m" and "v", ndarrays of shape (n,)
        """
        found = {"t": self.t}
        for name in "mv":
            mine = np.concatenate([each.state[0][name] for _, each in self.parts] or [np.empty(0, self.weights.dtype)])
            found[name] = all_gather(self.group, mine, len(self.weights))
        return found

    def load_state_dict(self, state):
        """Take this rank's part of what `state_dict` gave, on however many ranks."""
        self.t, found = check.moments(state, len(self.weights))
        for name, moment in found.items():
            mine = moment[self.start:self.stop]
            for piece, each in self.parts:
                each.state[0][name][...] = mine[piece]
                each.counts[0] = self.t


class Checkpointed(Module):
    """Modules one after another that keep one input in `every`; Chen et al. (2016).

    Parameters
    ----------
    modules : list of Modules, each with one input and one output, ndarrays of any shape
    every : int, modules in a segment
    generators : the numpy.random.Generators that the modules draw from

    Attributes
    ----------
    runs : int, how often a module was run forward
    """

    def __init__(self, modules, every, generators=()):
        self.layers, self.every = list(modules), check.whole("every", every, 1)
        self.generators, self.runs = tuple(generators), 0

    def forward(self, x):
        """x of any shape through all modules."""
        self.cache = []
        for start in range(0, len(self.layers), self.every):
            self.cache.append((x, [g.bit_generator.state for g in self.generators]))
            x = self._segment(start, x)
            for layer in self.layers[start:start + self.every]:
                _forget(layer)
        return x

    def backward(self, dout):
        """dout in the shape of the output: dx; each segment is run once more."""
        now = [g.bit_generator.state for g in self.generators]
        for k, (x, states) in reversed(list(enumerate(self.kept()))):
            for generator, state in zip(self.generators, states):
                generator.bit_generator.state = state
            self._segment(k * self.every, x)
            for layer in reversed(self.layers[k * self.every:(k + 1) * self.every]):
                dout = layer.backward(dout)
                _forget(layer)
        for generator, state in zip(self.generators, now):
            generator.bit_generator.state = state
        return dout

    def _segment(self, start, x):
        for layer in self.layers[start:start + self.every]:
            x = layer(x)
            self.runs += 1
        return x


def _forget(module):
    """Drop what a module and all below it have kept."""
    for each in module.modules():
        each.cache = None
