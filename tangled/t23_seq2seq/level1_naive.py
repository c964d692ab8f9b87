# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:091e1e4322e2423f
"""Sequence to sequence, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t23_seq2seq.checks as check
from tangled.t18_rnn.level1_naive import embedding, embedding_backward
from tangled.t20_gru.level1_naive import gru, gru_backward
from tangled.t23_seq2seq.base import rows_of, select


def masked_cross_entropy(logits, targets, mask):
    """logits (..., V), targets (...), mask (...): the mean over true places, and a cache."""
    logits, targets, mask = check.masked(logits, targets, mask)
    count, total, p = int(mask.sum()), 0.0, np.zeros(logits.shape)
    for place in np.ndindex(*mask.shape):
        if mask[place]:
            row = [float(v) for v in logits[place]]
            top = max(row)
            norm = top + math.log(sum(math.exp(v - top) for v in row))
            total += norm - row[targets[place]]                 # eq. 23.5
            p[place] = [math.exp(v - norm) for v in row]
    loss = logits.dtype.type(total / max(count, 1))
    return loss, (p, targets.copy(), mask.copy(), count, logits.dtype)


def masked_cross_entropy_backward(dloss, cache):
    """dloss a number: dlogits (..., V), zeros where the mask is false."""
    p, targets, mask, count, dtype = cache
    dloss, dlogits = check.scalar("dloss", dloss), np.zeros(p.shape)
    for place in np.ndindex(*mask.shape):
        if mask[place]:
            for k in range(p.shape[-1]):
                hit = float(k == targets[place])
                dlogits[(*place, k)] = (p[(*place, k)] - hit) * dloss / count   # eq. 23.6
    return dlogits.astype(dtype)


def lengths_to_mask(lengths, T):
    """lengths (B,): bool (B, T), true at the first lengths[n] places of row n."""
    T = check.whole("T", T, 0)
    lengths = check.lengths("lengths", lengths, np.shape(lengths)[:1], T)
    mask = np.zeros((len(lengths), T), bool)
    for n, t in np.ndindex(*mask.shape):
        mask[n, t] = t < lengths[n]
    return mask


def last_outputs(out, lengths):
    """out (B, T, H), lengths (B,): (B, H), the output at the last real step, and a cache."""
    out = check.floats("out", out, ("B", "T", "H"))
    lengths = check.lengths("lengths", lengths, out.shape[:1], out.shape[1], 1)
    last = np.empty((out.shape[0], out.shape[2]), out.dtype)
    for n, j in np.ndindex(*last.shape):
        last[n, j] = out[n, lengths[n] - 1, j]
    return last, (lengths, out.shape, out.dtype)


def last_outputs_backward(dlast, cache):
    """dlast (B, H): dout (B, T, H), zeros but for the last real steps."""
    lengths, shape, dtype = cache
    dlast = check.gradient("dlast", dlast, (shape[0], shape[2]), dtype)
    dout = np.zeros(shape, dtype)
    for n, j in np.ndindex(*dlast.shape):
        dout[n, lengths[n] - 1, j] = dlast[n, j]
    return dout


def teacher_forced_loss(h0, tokens, lengths, table, w_ih, w_hh, b_ih, b_hh, w_out, b_out, inputs=None):
    """h0 (B, H), tokens (B, T + 1), lengths (B,), the decoder's arrays: the loss, and a cache."""
    (h0, tokens, lengths, table, w_ih, w_hh, b_ih, b_hh, w_out, b_out), inputs = check.teacher(
        h0, tokens, lengths, (table, w_ih, w_hh, b_ih, b_hh, w_out, b_out), inputs)
    x, of_table = embedding(tokens[:, :-1] if inputs is None else inputs, table)
    (out, _), of_gru = gru(x, h0, w_ih, w_hh, b_ih, b_hh)
    logits = np.zeros((*out.shape[:2], len(b_out)))
    for n, t, k in np.ndindex(*logits.shape):
        dot = sum(float(out[n, t, j]) * float(w_out[j, k]) for j in range(out.shape[2]))
        logits[n, t, k] = dot + float(b_out[k])
    mask = lengths_to_mask(lengths, out.shape[1])
    loss, of_loss = masked_cross_entropy(logits, tokens[:, 1:], mask)
    return h0.dtype.type(loss), (of_table, of_gru, of_loss, out, w_out)


def teacher_forced_loss_backward(dloss, cache):
    """dloss a number: gradients of h0 and of the decoder's seven arrays, in their order."""
    of_table, of_gru, of_loss, out, w_out = cache
    dlogits = masked_cross_entropy_backward(dloss, of_loss)
    dout, dw_out, db_out = np.zeros(out.shape), np.zeros(w_out.shape), np.zeros(w_out.shape[1])
    for n, t, k in np.ndindex(*dlogits.shape):
        g = float(dlogits[n, t, k])
        db_out[k] += g
        for j in range(out.shape[2]):
            dout[n, t, j] += g * float(w_out[j, k])
            dw_out[j, k] += g * float(out[n, t, j])
    dx, dh0, *grads = gru_backward(dout.astype(out.dtype), None, of_gru)
    dtable = embedding_backward(dx, of_table)
    return dh0, dtable, *grads, dw_out.astype(out.dtype), db_out.astype(out.dtype)


def beam_search(step, state, bos, eos, beam=4, max_len=100, length_penalty=0.0):
    """A state of N rows: N lists of tokens as arrays, scores (N,)."""
    bos, eos, max_len, beam, alpha = check.searching(
        bos, eos, max_len, beam, length_penalty)
    tokens, scores = [], []
    for n in range(rows_of(state)):
        best, score = _search(
            step, select(state, np.array([n])), bos, eos, beam, max_len, alpha)
        tokens.append(np.array(best, np.int64))
        scores.append(score)
    return tokens, np.array(scores, np.float64)


def _search(step, state, bos, eos, beam, max_len, alpha):
    """The best sentence, a list of tokens, and its score."""
    live, best, best_score = [(0.0, [])], None, -math.inf
    for t in range(1, max_len + 1):
        last = np.array([words[-1] if words else bos for _, words in live])
        found, state = step(state, last)
        found, candidates = check.log_probs(found, len(live), eos), []
        for row, (log_p, words) in enumerate(live):
            for k in range(found.shape[1]):
                if found[row, k] > -math.inf:
                    candidates.append((log_p + float(found[row, k]), row, [*words, k]))
        candidates.sort(key=lambda candidate: -candidate[0])    # equals keep their order
        rows, live = [], []
        for log_p, row, words in candidates[:beam]:
            if words[-1] != eos:
                rows.append(row)
                live.append((log_p, words))
                continue
            beam -= 1                                           # its place stays empty
            # the score, eq. 23.9
            if best is None or log_p / ((5 + t) / 6) ** alpha > best_score:
                best, best_score = words[:-1], log_p / ((5 + t) / 6) ** alpha
        # the bound, eq. 23.10
        if not live or live[0][0] / ((5 + max_len) / 6) ** alpha <= best_score:
            break
        if t < max_len:
            state = select(state, np.array(rows))
    if best is None and live:
        best, best_score = live[0][1], live[0][0] / ((5 + max_len) / 6) ** alpha
    return best or [], best_score
