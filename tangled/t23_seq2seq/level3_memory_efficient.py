# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:e3cd7a58a51c79b2
"""Sequence to sequence, level 3: logits of real places alone, all sentences of a search in one batch."""

import numpy as np

import tangled.t23_seq2seq.checks as check
from tangled.t18_rnn.level3_memory_efficient import embedding, embedding_backward
from tangled.t20_gru.level3_memory_efficient import GRU, gru, gru_backward
from tangled.t23_seq2seq import level2_vectorized as plain
from tangled.t23_seq2seq.base import rows_of, select
from tangled.t23_seq2seq.level2_vectorized import (
    chrf,
    exact_match,
    greedy_decode,
    last_outputs,
    last_outputs_backward,
    length_norm,
    lengths_to_mask,
    scheduled_inputs,
)

__all__ = ["Decoder", "Encoder", "Seq2Seq", "beam_search", "chrf", "exact_match", "greedy_decode", "last_outputs",
           "last_outputs_backward", "length_norm", "lengths_to_mask", "masked_cross_entropy",
           "masked_cross_entropy_backward", "scheduled_inputs", "teacher_forced_loss", "teacher_forced_loss_backward"]


def _loss_in_place(z, targets):
    """z (n, V) becomes softmax minus one-hot, the gradient; returns the sum of losses."""
    z -= z.max(axis=1, keepdims=True)
    rows = np.arange(len(z))
    right = z[rows, targets]
    np.exp(z, out=z)
    norm = z @ np.ones(z.shape[1], z.dtype)                     # (n,)
    z /= norm[:, None]
    z[rows, targets] -= 1                                       # eq. 23.6
    return (np.log(norm) - right).sum()                         # eq. 23.5


def masked_cross_entropy(logits, targets, mask):
    """As level 2; keeps one array (n, V) for the n places that count."""
    logits, targets, mask = check.masked(logits, targets, mask)
    z = logits[mask].astype(check.working(logits.dtype), copy=False)
    loss = _loss_in_place(z, targets[mask]) / max(len(z), 1)
    return logits.dtype.type(loss), (z, mask.copy(), logits.dtype)


def masked_cross_entropy_backward(dloss, cache):
    """As level 2, dloss a number to dlogits (..., V)."""
    dz, mask, dtype = cache
    dlogits = np.zeros((*mask.shape, dz.shape[1]), dtype)
    dlogits[mask] = dz * dz.dtype.type(check.scalar("dloss", dloss) / max(len(dz), 1))
    return dlogits


def teacher_forced_loss(h0, tokens, lengths, table, w_ih, w_hh, b_ih, b_hh, w_out, b_out,
                        inputs=None):
    """As level 2, h0 (B, H); logits of the n real places alone, (n, V)."""
    (h0, tokens, lengths, table, *of_gru, w_out, b_out), inputs = check.teacher(
        h0, tokens, lengths, (table, w_ih, w_hh, b_ih, b_hh, w_out, b_out), inputs)
    x, of_table = embedding(tokens[:, :-1] if inputs is None else inputs, table)
    (out, _), of_gru = gru(x, h0, *of_gru)
    mask, work = lengths_to_mask(lengths, out.shape[1]), check.working(out.dtype)
    rows = out[mask].astype(work, copy=False)                   # (n, H): without padding
    z = rows @ w_out.astype(work, copy=False)
    z += b_out
    loss = _loss_in_place(z, tokens[:, 1:][mask]) / max(len(z), 1)
    return h0.dtype.type(loss), (of_table, of_gru, mask, rows, z, w_out)


def teacher_forced_loss_backward(dloss, cache):
    """As level 2, dloss a number; scaled where the arrays are smallest."""
    of_table, of_gru, mask, rows, dz, w_out = cache
    dtype, work = w_out.dtype, dz.dtype
    scale = work.type(check.scalar("dloss", dloss) / max(len(dz), 1))
    dw_out = rows.T @ dz                                        # eq. 23.7
    dw_out *= scale
    db_out = np.ones(len(dz), work) @ dz * scale
    dout = np.zeros((*mask.shape, rows.shape[1]), work)
    dout[mask] = dz @ (w_out.T.astype(work, copy=False) * scale)
    dx, dh0, *grads = gru_backward(dout.astype(dtype, copy=False), None, of_gru)
    dtable = embedding_backward(dx, of_table)
    return (dh0, dtable, *grads,
            dw_out.astype(dtype, copy=False), db_out.astype(dtype, copy=False))


def beam_search(step, state, bos, eos, beam=4, max_len=100, length_penalty=0.0):
    """As level 2; one call of `step` for all hypotheses of all sentences that are not done."""
    bos, eos, max_len, beam, alpha = check.searching(bos, eos, max_len, beam, length_penalty)
    N = rows_of(state)
    best, scores = [None] * N, np.full(N, -np.inf)
    owner, width = np.arange(N), np.full(N, beam)               # of the rows; of the sentences
    tokens, log_p = np.full((N, 1), bos), np.zeros(N)
    for t in range(1, max_len + 1):
        if not len(owner):
            break
        found, state = step(state, tokens[:, -1])
        total = log_p[:, None] + check.log_probs(found, len(owner), eos)        # (rows, V)
        starts, V = np.flatnonzero(_first(owner)), total.shape[1]
        rank = np.arange(len(owner)) - np.repeat(starts, np.diff(np.r_[starts, len(owner)]))
        grid = np.full((len(starts), rank.max() + 1, V), -np.inf)       # one row a sentence
        grid[np.cumsum(_first(owner)) - 1, rank] = total
        grid, k = grid.reshape(len(starts), -1), width[owner[starts]]
        size = grid.shape[1]
        least = np.partition(grid, max(size - beam, 0), axis=1)[:, max(size - beam, 0)]
        row, place = np.nonzero((grid >= least[:, None]) & (grid > -np.inf))
        order = np.lexsort((place, -grid[row, place], row))             # ties by place, as level 2
        row, place = row[order], place[order]
        nth = np.arange(len(row)) - np.searchsorted(row, np.arange(len(starts)))[row]
        row, place = row[nth < k[row]], place[nth < k[row]]
        parents, words = starts[row] + place // V, place % V
        tokens = np.concatenate([tokens[parents], words[:, None]], axis=1)
        owner, log_p, ended = owner[parents], total[parents, words], words == eos
        for k in np.flatnonzero(ended):
            n, score = owner[k], log_p[k] / length_norm(t, alpha)
            width[n] -= 1
            if best[n] is None or score > scores[n]:
                best[n], scores[n] = tokens[k, 1:-1], score
        going = ~ended
        first = np.flatnonzero(going)[_first(owner[going])]             # each sentence's best that goes on
        bound = np.full(N, -np.inf)
        bound[owner[first]] = log_p[first] / length_norm(max_len, alpha)
        going &= bound[owner] > scores[owner]                           # eq. 23.10
        tokens, log_p, owner = tokens[going], log_p[going], owner[going]
        if t < max_len:
            state = select(state, parents[going])
    for k in np.flatnonzero(_first(owner)):                     # not one hypothesis of theirs has ended
        if best[owner[k]] is None:
            best[owner[k]], scores[owner[k]] = tokens[k, 1:], log_p[k] / length_norm(max_len, alpha)
    return [np.empty(0, np.int64) if found is None else found for found in best], scores


def _first(owner):
    """True (n,) where a sentence's rows begin; owner (n,) is sorted."""
    return np.r_[True, owner[1:] != owner[:-1]][:len(owner)]


class Encoder(plain.Encoder):
    """As level 2, by the GRU of level 3."""

    cell = GRU


class Decoder(plain.Decoder):
    """As level 2, by the GRU and the loss of level 3."""

    cell, op, op_backward = GRU, staticmethod(teacher_forced_loss), staticmethod(teacher_forced_loss_backward)


class Seq2Seq(plain.Seq2Seq):
    """As level 2, by the modules of level 3."""

    parts = Encoder, Decoder
