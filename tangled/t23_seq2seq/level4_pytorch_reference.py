# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:0af0a8fdb7264c47
"""Sequence to sequence by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t23_seq2seq.checks as check
from tangled.t23_seq2seq.base import rows_of, select
from tangled.t23_seq2seq.phrases import load_phrases
from tangled.testing import Case


def _leaf(array):
    """A tensor that wants a gradient."""
    return torch.from_numpy(np.array(array, check.working(array.dtype))).requires_grad_()


def _gradients(douts, cache):
    """Gradients of the leaves, zeros for what is not used."""
    outs, leaves, dtype = cache
    given = [torch.from_numpy(np.array(d, dtype=out.detach().numpy().dtype)) for d, out in zip(douts, outs)]
    grads = torch.autograd.grad(outs, leaves, given, retain_graph=True, allow_unused=True)
    return tuple((torch.zeros_like(leaf) if grad is None else grad).numpy().astype(dtype)
                 for grad, leaf in zip(grads, leaves))


def _mean_loss(logits, targets, mask):
    """The mean over true places, by ignore_index; torch's own is NaN for none."""
    targets = torch.from_numpy(np.where(mask, targets, -100).astype(np.int64))
    total = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="sum")
    return total / max(int(mask.sum()), 1)


def masked_cross_entropy(logits, targets, mask):
    """As level 2, logits (..., V), by ignore_index."""
    logits, targets, mask = check.masked(logits, targets, mask)
    leaf = _leaf(logits)
    loss = _mean_loss(leaf, targets, mask)
    return logits.dtype.type(loss.item()), ((loss,), [leaf], logits.dtype)


def masked_cross_entropy_backward(dloss, cache):
    """As level 2, dloss a number to dlogits (..., V)."""
    return _gradients([check.scalar("dloss", dloss)], cache)[0]


def lengths_to_mask(lengths, T):
    """As level 2, lengths (B,)."""
    T = check.whole("T", T, 0)
    lengths = torch.from_numpy(check.lengths("lengths", lengths, np.shape(lengths)[:1], T))
    return (torch.arange(T) < lengths[:, None]).numpy()


def last_outputs(out, lengths):
    """As level 2, out (B, T, H), by gather."""
    out = check.floats("out", out, ("B", "T", "H"))
    lengths = check.lengths("lengths", lengths, out.shape[:1], out.shape[1], 1)
    leaf = _leaf(out)
    places = torch.from_numpy(lengths - 1)[:, None, None].expand(-1, 1, out.shape[2])
    last = leaf.gather(1, places)[:, 0]
    return last.detach().numpy().astype(out.dtype), ((last,), [leaf], out.dtype)


def last_outputs_backward(dlast, cache):
    """As level 2, dlast (B, H)."""
    (last,), _, dtype = cache
    return _gradients([check.gradient("dlast", dlast, tuple(last.shape), dtype)], cache)[0]


def teacher_forced_loss(h0, tokens, lengths, table, w_ih, w_hh, b_ih, b_hh, w_out, b_out, inputs=None):
    """As level 2, h0 (B, H), by torch's fused GRU."""
    (h0, tokens, lengths, *arrays), inputs = check.teacher(
        h0, tokens, lengths, (table, w_ih, w_hh, b_ih, b_hh, w_out, b_out), inputs)
    leaves = [_leaf(a) for a in (h0, *arrays)]
    start, table, w_ih, w_hh, b_ih, b_hh, w_out, b_out = leaves
    x = F.embedding(torch.from_numpy((tokens[:, :-1] if inputs is None else inputs).astype(np.int64)), table)
    if 0 in x.shape:                                            # which torch refuses
        out = start[:, None].expand(-1, x.shape[1], -1)
    else:
        out, _ = torch.gru(x, start[None], [w_ih.T, w_hh.T, b_ih, b_hh], True, 1, 0.0, False, False, True)
    loss = _mean_loss(out @ w_out + b_out, tokens[:, 1:], lengths_to_mask(lengths, x.shape[1]))
    return h0.dtype.type(loss.item()), ((loss,), leaves, h0.dtype)


def teacher_forced_loss_backward(dloss, cache):
    """As level 2, dloss a number, by autograd."""
    return _gradients([check.scalar("dloss", dloss)], cache)


def greedy_decode(step, state, bos, eos, max_len):
    """As level 2: all rows to the end, then cut."""
    bos, eos, max_len, _, _ = check.searching(bos, eos, max_len)
    last, found = torch.full((rows_of(state),), bos), []
    for _ in range(max_len if len(last) else 0):
        log_p, state = step(state, last.numpy())
        last = torch.from_numpy(check.log_probs(log_p, len(last), eos)).argmax(1)
        found.append(last)
    table = torch.stack(found, 1).tolist() if found else []
    return [np.array(row[:row.index(eos)] if eos in row else row, np.int64) for row in table]


def beam_search(step, state, bos, eos, beam=4, max_len=100, length_penalty=0.0):
    """As level 2, N rows, by torch's stable sort."""
    bos, eos, max_len, beam, alpha = check.searching(bos, eos, max_len, beam, length_penalty)
    found = [_search(step, select(state, np.array([n])), bos, eos, beam, max_len, alpha) for n in range(rows_of(state))]
    return [tokens for tokens, _ in found], np.array([score for _, score in found], np.float64)


def _search(step, state, bos, eos, beam, max_len, alpha):
    """One sentence, with no early end: all that the beam holds runs to max_len."""
    tokens, log_p = torch.full((1, 1), bos), torch.zeros(1, dtype=torch.float64)
    ended = []
    for t in range(1, max_len + 1):
        found, state = step(state, tokens[:, -1].numpy())
        found = torch.from_numpy(check.log_probs(found, len(tokens), eos))
        total = (log_p[:, None] + found).reshape(-1)
        log_p, order = total.sort(descending=True, stable=True)
        kept = int(min(beam, torch.isfinite(log_p).sum()))
        log_p, order = log_p[:kept], order[:kept]
        parents, words = order // found.shape[1], order % found.shape[1]
        tokens = torch.cat([tokens[parents], words[:, None]], 1)
        done = words == eos
        ended += [(s.item() / ((5 + t) / 6) ** alpha, row[1:-1]) for s, row in zip(log_p[done], tokens[done])]
        beam -= int(done.sum())
        tokens, log_p, state = tokens[~done], log_p[~done], select(state, parents[~done].numpy())
        if not len(tokens):
            break
    if not ended:
        ended = [(s.item() / ((5 + max_len) / 6) ** alpha, row[1:]) for s, row in zip(log_p, tokens)]
    score, best = max(ended, key=lambda pair: pair[0], default=(-np.inf, torch.zeros(0, dtype=torch.int64)))
    return best.numpy(), score
