# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:d9bade8c46c98065
"""Word vectors, level 3: equal ids brought together by a radix sort and summed run by run."""

import numpy as np

import tangled.t22_word2vec.checks as check
from tangled.t22_word2vec import level2_vectorized as plain
from tangled.t22_word2vec.level2_vectorized import (
    info_nce,
    info_nce_backward,
    init_tables,
    keep_probability,
    noise_weights,
    skip_gram_pairs,
    subsample,
    update_rows,
)

__all__ = ["AliasTable", "cbow_step", "info_nce", "info_nce_backward", "init_tables", "keep_probability",
           "negative_sampling", "noise_weights", "skip_gram_pairs", "skip_gram_step", "subsample", "sum_rows",
           "update_rows"]

FEW = 24                                                # runs that are summed one by one


def _runs(ids):
    """The order (n,) that sorts ids (n,), where the runs start (m,), and their ids (m,)."""
    short = ids.size and ids.max() < 65536
    order = (ids.astype(np.uint16) if short else ids).argsort(kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(
        np.concatenate([[True], ordered[1:] != ordered[:-1]])[:len(ids)])
    return order, starts, ordered[starts]


def _sum_runs(rows, starts):
    """Sums (m, D) of the runs of rows (n, D) that start at starts (m,)."""
    lengths = np.diff(starts, append=len(rows))
    sums, longer, k = rows[starts], np.flatnonzero(lengths > 1), 1
    while len(longer) > FEW:
        sums[longer] += rows[starts[longer] + k]                # the k-th row of every run
        k += 1
        longer = longer[lengths[longer] > k]
    for run in longer.tolist():
        sums[run] += rows[starts[run] + k:starts[run] + lengths[run]].sum(axis=0)
    return sums


def sum_rows(ids, rows):
    """As level 2."""
    ids, rows = check.sparse(ids, rows)
    order, starts, found = _runs(ids)
    sums = _sum_runs(rows[order].astype(check.working(rows.dtype), copy=False), starts)
    return found, sums.astype(rows.dtype, copy=False)


def negative_sampling(h, target, negatives, w_out):
    """As level 2."""
    return _sampled(*check.sampled(h, target, negatives, w_out))


def _sampled(h, target, negatives, w_out):
    """Of arguments that have been checked; h may be of a wider dtype than w_out."""
    dtype, (B, D), width = h.dtype, h.shape, 1 + negatives.shape[1]
    work = check.working(dtype)
    h, ids = h.astype(work, copy=False), np.empty((B, width), np.int64)
    ids[:, 0], ids[:, 1:] = target, negatives
    flat = ids.reshape(-1)
    rows = w_out.take(flat, axis=0).astype(work, copy=False).reshape(B, width, D)
    z = np.matmul(rows, h[:, :, None])[:, :, 0]                 # (B, 1 + K)
    counted = ids != target[:, None]
    counted[:, 0] = True
    z[:, 0] *= -1
    e = np.exp(-np.abs(z))                                      # at most 1
    loss = np.where(counted, np.log1p(e) + np.maximum(z, 0), 0).sum(dtype=np.float64) / max(B, 1)
    g = np.where(z < 0, e, 1) / (1 + e)                         # sigma(z)
    g[:, 0] *= -1                                               # eq. 22.3
    g *= counted * work.type(1 / max(B, 1))
    dh = np.matmul(g[:, None, :], rows)[:, 0]                   # eq. 22.4
    order, starts, found = _runs(flat)
    d_rows = h.take(order // width, axis=0)                     # in sorted order
    d_rows *= g.reshape(-1)[order, None]
    sums = _sum_runs(d_rows, starts)
    return (float(loss), dh.astype(dtype, copy=False),
            (found, sums.astype(dtype, copy=False)))


def skip_gram_step(centre, context, negatives, w_in, w_out):
    """As level 2."""
    w_in, w_out = check.tables(w_in, w_out)
    centre = check.ids("centre", centre, ("B",), len(w_in))
    h = w_in.take(centre, axis=0)
    loss, dh, d_out = _sampled(*check.sampled(h, context, negatives, w_out, "context"))
    return loss, sum_rows(centre, dh), d_out


def cbow_step(context, mask, centre, negatives, w_in, w_out):
    """As level 2; no array (B, C, D)."""
    w_in, w_out = check.tables(w_in, w_out)
    context, mask = check.bag(context, mask, len(w_in))
    work, (B, C) = check.working(w_in.dtype), context.shape
    words = np.maximum(mask.sum(axis=1, keepdims=True), 1).astype(work)
    h = np.zeros((B, w_in.shape[1]), work)
    for c in range(C):
        h += np.where(mask[:, c, None], w_in.take(context[:, c], axis=0), 0)
    h /= words                                                  # eq. 22.5
    _, *given = check.sampled(h.astype(w_in.dtype, copy=False), centre, negatives, w_out, "centre")
    loss, dh, (found, sums) = _sampled(h, *given)
    order, starts, ids = _runs(context[mask])
    dh /= words
    d_in = _sum_runs(dh.take(np.nonzero(mask)[0][order], axis=0), starts)
    return (loss, (ids, d_in.astype(w_in.dtype)),
            (found, sums.astype(w_in.dtype, copy=False)))


class AliasTable(plain.AliasTable):
    """As level 2; one number a draw: its whole part is the column, the rest decides."""

    def draw(self, size, rng):
        """As level 2."""
        place = rng.random(size) * len(self.alias)
        columns = np.asarray(place).astype(np.int64)
        return np.where(place - columns < self.probability[columns],
                        columns, self.alias[columns])
