# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:005b2423eed5d939
"""Attention over a source, level 2: whole arrays, a loop over the steps of the decoder, and the modules."""

import math

import numpy as np

import tangled.t24_bahdanau_attention.checks as check
from tangled.t06_backpropagation import Linear, Module, Parameter
from tangled.t18_rnn import Embedding, embedding, embedding_backward
from tangled.t20_gru import GRU, gru_step, gru_step_backward
from tangled.t23_seq2seq import (
    Encoder,
    last_outputs,
    last_outputs_backward,
    lengths_to_mask,
    masked_cross_entropy,
    masked_cross_entropy_backward,
)


def additive_score(query, keys, w_query, v, w_key=None):
    """How well each query fits each key, by a small network; Bahdanau et al. (2015), A.1.2.

    Parameters
    ----------
    query : ndarray of shape (B, Tq, D), floating
    keys : ndarray of shape (B, S, K); (B, S, A), already projected, if w_key is None
    w_query : ndarray of shape (D, A)
    v : ndarray of shape (A,)
    w_key : ndarray of shape (K, A), or None

    Returns
    -------
    scores : ndarray of shape (B, Tq, S)
    cache : for `additive_score_backward`

    Raises
    ------
    ValueError
        where a shape or a dtype is another
    """
    given = check.additive(query, keys, w_query, v, w_key)
    query, keys, w_query, v, w_key = check.wide(given)
    q = query @ w_query                                         # (B, Tq, A)
    k = keys if w_key is None else keys @ w_key                 # (B, S, A)
    tanh = np.tanh(q[:, :, None] + k[:, None])                  # (B, Tq, S, A)
    scores = tanh @ v                                           # eq. 24.1
    cache = tanh, query, keys, w_query, v, w_key, given[0].dtype
    return scores.astype(given[0].dtype), cache


def additive_score_backward(dscores, cache):
    """Gradients of `additive_score`.

    Parameters
    ----------
    dscores : ndarray of shape (B, Tq, S)
    cache : from `additive_score`

    Returns
    -------
    dquery, dkeys, dw_query, dv, and dw_key if w_key was given : ndarrays, as the inputs
    """
    tanh, query, keys, w_query, v, w_key, dtype = cache
    dscores = check.gradient("dscores", dscores, tanh.shape[:3], query.dtype)
    dv = np.einsum("bts,btsa->a", dscores, tanh)                # eq. 24.12
    du = dscores[..., None] * v * (1 - tanh * tanh)             # (B, Tq, S, A)   eq. 24.13
    dq, dk = du.sum(axis=2), du.sum(axis=1)                     # eq. 24.14
    grads = [dq @ w_query.T, dk, np.einsum("btd,bta->da", query, dq), dv]
    if w_key is not None:
        grads[1] = dk @ w_key.T
        grads.append(np.einsum("bsk,bsa->ka", keys, dk))
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def dot_score(query, keys):
    """Inner products; Luong et al. (2015).

    Parameters
    ----------
    query, keys : ndarrays of shapes (B, Tq, D), (B, S, D), floating

    Returns
    -------
    scores : ndarray of shape (B, Tq, S)
    cache : for `dot_score_backward`
    """
    given = check.dot(query, keys)
    query, keys = check.wide(given)
    scores = query @ keys.swapaxes(1, 2)                        # eq. 24.3
    return scores.astype(given[0].dtype), (query, keys, given[0].dtype)


def dot_score_backward(dscores, cache):
    """dscores (B, Tq, S): dquery (B, Tq, D), dkeys (B, S, D)."""
    query, keys, dtype = cache
    shape = (*query.shape[:2], keys.shape[1])
    dscores = check.gradient("dscores", dscores, shape, query.dtype)
    dquery, dkeys = dscores @ keys, dscores.swapaxes(1, 2) @ query          # eq. 24.15
    return dquery.astype(dtype, copy=False), dkeys.astype(dtype, copy=False)


def general_score(query, keys, w):
    """Inner products of projected queries with keys; Luong et al. (2015).

    Parameters
    ----------
    query, keys : ndarrays of shapes (B, Tq, D), (B, S, K), floating
    w : ndarray of shape (D, K)

    Returns
    -------
    scores : ndarray of shape (B, Tq, S)
    cache : for `general_score_backward`
    """
    given = check.general(query, keys, w)
    query, keys, w = check.wide(given)
    scores = (query @ w) @ keys.swapaxes(1, 2)                  # eq. 24.4
    return scores.astype(given[0].dtype), (query, keys, w, given[0].dtype)


def general_score_backward(dscores, cache):
    """dscores (B, Tq, S): dquery (B, Tq, D), dkeys (B, S, K), dw (D, K)."""
    query, keys, w, dtype = cache
    shape = (*query.shape[:2], keys.shape[1])
    dscores = check.gradient("dscores", dscores, shape, query.dtype)
    dasked = dscores @ keys                                     # (B, Tq, K)
    dkeys = dscores.swapaxes(1, 2) @ (query @ w)                # eq. 24.16
    dw = np.einsum("btd,btk->dk", query, dasked)
    return tuple(grad.astype(dtype, copy=False) for grad in (dasked @ w.T, dkeys, dw))


SCORES = {"additive": (additive_score, additive_score_backward),
          "dot": (dot_score, dot_score_backward),
          "general": (general_score, general_score_backward)}


def attend(query, keys, values, mask=None, score="dot", weights=()):
    """Averages of the values, weighted by how keys fit; Bahdanau et al. (2015), eqs. 5, 6.

    Parameters
    ----------
    query, keys, values : ndarrays of shapes (B, Tq, D), (B, S, K), (B, S, C), floating
    mask : bool of shape (B, S), True at real places; or None. The rest has no influence
    score : "additive", "dot" or "general"
    weights : arrays behind query and keys in the score's arguments

    Returns
    -------
    (context, p) : ndarrays of shapes (B, Tq, C) and (B, Tq, S); 0 where no place is real
    cache : for `attend_backward`
    """
    query, keys, values, mask, weights = check.attended(
        query, keys, values, mask, score, weights)
    dtype = query.dtype
    keys, values = (np.where(mask[..., None], a, 0) for a in (keys, values))
    query, keys, values, *weights = check.wide([query, keys, values, *weights])
    scores, of_score = SCORES[score][0](query, keys, *weights)              # (B, Tq, S)
    scores = np.where(mask[:, None], scores, -np.inf)
    top = scores.max(axis=2, keepdims=True, initial=-np.inf)        # (B, Tq, 1)
    e = np.exp(scores - np.where(top == -np.inf, 0, top))
    total = e.sum(axis=2, keepdims=True)
    p = e / np.where(total == 0, 1, total)                          # eq. 24.5
    context = p @ values                                        # (B, Tq, C) eq. 24.6
    return (context.astype(dtype), p.astype(dtype)), (p, values, score, of_score, dtype)


def attend_backward(dcontext, dp, cache):
    """Gradients of `attend`.

    Parameters
    ----------
    dcontext : ndarray of shape (B, Tq, C)
    dp : ndarray of shape (B, Tq, S), or None for zeros
    cache : from `attend`

    Returns
    -------
    dquery, dkeys, dvalues : ndarrays of the shapes of the inputs; zeros at padding
    and one for each of `weights`
    """
    p, values, score, of_score, dtype = cache
    shape = (*p.shape[:2], values.shape[2])
    dcontext = check.gradient("dcontext", dcontext, shape, p.dtype)
    dvalues = p.swapaxes(1, 2) @ dcontext                       # eq. 24.9
    total = dcontext @ values.swapaxes(1, 2)                    # (B, Tq, S)
    if dp is not None:
        total = total + check.gradient("dp", dp, p.shape, p.dtype)
    dscores = p * (total - (p * total).sum(axis=2, keepdims=True))  # eq. 24.11
    dquery, dkeys, *dweights = SCORES[score][1](dscores, of_score)
    grads = dquery, dkeys, dvalues, *dweights
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def project_keys(annotations, w_key):
    """annotations (B, S, C), w_key (C, A): the keys (B, S, A) of all steps."""
    return annotations @ w_key                                  # eq. 24.2


def attention_step(x, h, annotations, keys, mask, w_query, v, w_ih, w_hh, b_ih, b_hh):
    """One step of a GRU that looks at a source; Bahdanau et al. (2015), appendix A.2.2.

    Parameters
    ----------
    x, h : ndarrays of shapes (B, E), (B, H): what is read, the state before the step
    annotations, keys : ndarrays of shapes (B, S, C), (B, S, A), from `project_keys`
    mask : bool of shape (B, S), or None
    w_query, v : ndarrays of shapes (H, A), (A,)
    w_ih, w_hh, b_ih, b_hh : (E + C, 3H), (H, 3H), (3H,), (3H,), as for `gru_step`

    Returns
    -------
    (h_new, context, p) : ndarrays of shapes (B, H), (B, C) and (B, S)
    cache : for `attention_step_backward`
    """
    x, h, annotations, keys, mask, w_query, v, *gru = check.step(
        x, h, annotations, keys, mask, w_query, v, w_ih, w_hh, b_ih, b_hh)
    (seen, p), of_attend = attend(h[:, None], keys, annotations, mask, "additive", (w_query, v))
    context = seen[:, 0]
    read = np.concatenate([x, context], axis=1)                 # (B, E + C)
    h_new, of_gru = gru_step(read, h, *gru)                     # eq. 24.7
    return (h_new, context, p[:, 0]), (of_attend, of_gru, x.shape[1])


def attention_step_backward(dh_new, dcontext, cache):
    """dh_new (B, H), dcontext (B, C): gradients of all arrays, in their order."""
    of_attend, of_gru, E = cache
    dread, dh, *dgru = gru_step_backward(dh_new, of_gru)
    dseen = dcontext + dread[:, E:]                             # eq. 24.17
    dquery, dkeys, dvalues, dw_query, dv = attend_backward(dseen[:, None], None, of_attend)
    dh = dh + dquery[:, 0]                                      # eq. 24.18
    return dread[:, :E], dh, dvalues, dkeys, dw_query, dv, *dgru


def attention_decoder(x, h0, annotations, mask, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh):
    """A GRU that looks at a source before each of its steps.

    Parameters
    ----------
    x, h0 : ndarrays of shapes (B, T, E), (B, H)
    annotations : ndarray of shape (B, S, C);  mask : bool of shape (B, S), or None
    w_query, w_key, v : ndarrays of shapes (H, A), (C, A), (A,)
    w_ih, w_hh, b_ih, b_hh : ndarrays of shapes (E + C, 3H), (H, 3H), (3H,), (3H,)

    Returns
    -------
    (out, contexts, p) : ndarrays of shapes (B, T, H), (B, T, C) and (B, T, S)
    cache : for `attention_decoder_backward`
    """
    arrays, mask = check.decoder(
        x, h0, annotations, mask, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh)
    x, h, annotations, w_query, w_key, v, *gru = check.wide(arrays)
    (B, T, _), (_, S, C), dtype = x.shape, annotations.shape, arrays[0].dtype
    annotations = np.where(mask[..., None], annotations, 0)
    out, contexts, p = (np.empty((B, T, n), x.dtype) for n in (h.shape[1], C, S))
    keys = [project_keys(annotations, w_key)] * T                   # one array, T times
    caches = []
    for t in range(T):
        (h, contexts[:, t], p[:, t]), cache = attention_step(
            x[:, t], h, annotations, keys[t], mask, w_query, v, *gru)
        out[:, t] = h
        caches.append(cache)
    results = tuple(a.astype(dtype, copy=False) for a in (out, contexts, p))
    return results, (caches, [a.shape for a in arrays], annotations, w_key, dtype)


def attention_decoder_backward(dout, dcontexts, cache):
    """Gradients of `attention_decoder`; the weights p are for looking at, and take none.

    Parameters
    ----------
    dout, dcontexts : ndarrays of shapes (B, T, H), (B, T, C)
    cache : from `attention_decoder`

    Returns
    -------
    dx, dh0, dannotations, dw_query, dw_key, dv, dw_ih, dw_hh, db_ih, db_hh : as the inputs
    """
    caches, shapes, annotations, w_key, dtype = cache
    (B, T, _), (_, H), work = shapes[0], shapes[1], annotations.dtype
    dout = check.gradient("dout", dout, (B, T, H), work)
    dcontexts = check.gradient("dcontexts", dcontexts, (B, T, annotations.shape[2]), work)
    dx, dh = np.empty(shapes[0], work), np.zeros((B, H), work)
    dvalues = np.zeros(annotations.shape, work)
    dkeys = np.zeros((*annotations.shape[:2], w_key.shape[1]), work)
    totals = [np.zeros(shape, work) for shape in (shapes[3], *shapes[5:])]
    for t in reversed(range(T)):
        dx[:, t], dh, *grads = attention_step_backward(
            dout[:, t] + dh, dcontexts[:, t], caches[t])
        for total, grad in zip((dvalues, dkeys, *totals), grads, strict=True):
            total += grad
    dannotations = dvalues + dkeys @ w_key.T                        # eq. 24.19
    dw_key = np.einsum("bsc,bsa->ca", annotations, dkeys)
    dw_query, *rest = totals
    grads = dx, dh, dannotations, dw_query, dw_key, *rest
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


class AnnotatingEncoder(Encoder):
    """All outputs of a GRU over each source (B, S), and the state behind its last real symbol."""

    def forward(self, ids, lengths):
        """ids (B, S), lengths (B,) from 1 to S: annotations (B, S, H), last (B, H)."""
        outputs, _ = self.gru(self.table(ids))
        last, self.cache = last_outputs(outputs, lengths)
        return outputs, last

    def backward(self, dout):
        """(dannotations (B, S, H), dlast (B, H)); integers have no gradient."""
        dannotations, dlast = dout
        total = dannotations + last_outputs_backward(dlast, self.kept())
        self.table.backward(self.gru.backward((total, None)))


class AttentionDecoder(Module):
    """A GRU that looks at annotations, reads a token and predicts the next.

    Parameters
    ----------
    V, embedding, hidden : int, the sizes of the vocabulary, of a symbol's vector, of state and annotations
    align : int, the width of the additive score
    rng : numpy.random.Generator

    Attributes
    ----------
    p : ndarray of shape (B, T, S), the weights of the last forward pass
    """

    cell, op, op_backward = GRU, staticmethod(attention_decoder), staticmethod(attention_decoder_backward)
    look = staticmethod(attention_step)

    def __init__(self, V, embedding, hidden, align, rng=None):
        rng = np.random.default_rng(0) if rng is None else check.generator(rng)
        draw = lambda *shape: Parameter(
            rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(shape[0])))
        self.table, self.gru = Embedding(V, embedding, rng), self.cell(embedding + hidden, hidden, rng=rng)
        self.w_query, self.w_key, self.v = draw(hidden, align), draw(hidden, align), draw(align)
        self.out = Linear(2 * hidden, V, rng)
        self.out.weight.data *= np.float32(0.1)

    def of_op(self):
        """The Parameters of `attention_decoder`, in its order."""
        return [self.w_query, self.w_key, self.v, *self.gru.of_layer(0)]

    def forward(self, h0, annotations, mask, tokens, lengths, inputs=None):
        """h0 (B, H), annotations (B, S, H), mask (B, S), tokens (B, T + 1), lengths (B,),
        inputs (B, T) or None for tokens[:, :-1]: the mean loss."""
        x, of_table = embedding(tokens[:, :-1] if inputs is None else inputs, self.table.weight.data)
        (out, contexts, self.p), of_op = self.op(x, h0, annotations, mask, *(p.data for p in self.of_op()))
        real = lengths_to_mask(lengths, x.shape[1])
        rows = np.concatenate([out, contexts], axis=2)[real]    # (n, 2H)
        z = rows @ self.out.weight.data + self.out.bias.data    # eq. 24.8
        loss, of_loss = masked_cross_entropy(z, tokens[:, 1:][real], np.ones(len(z), bool))
        self.cache = of_table, of_op, real, rows, of_loss
        return loss

    def backward(self, dloss=1.0):
        """dloss a number: dh0 (B, H), dannotations (B, S, H)."""
        of_table, of_op, real, rows, of_loss = self.kept()
        dz, H = masked_cross_entropy_backward(dloss, of_loss), rows.shape[1] // 2
        self.out.weight.accumulate(rows.T @ dz)
        self.out.bias.accumulate(dz.sum(axis=0))
        both = np.zeros((*real.shape, 2 * H), dz.dtype)
        both[real] = dz @ self.out.weight.data.T
        dx, dh0, dannotations, *grads = self.op_backward(both[..., :H], both[..., H:], of_op)
        for parameter, grad in zip(self.of_op(), grads, strict=True):
            parameter.accumulate(grad)
        self.table.weight.accumulate(embedding_backward(dx, of_table))
        return dh0, dannotations

    def start(self, h0, annotations, mask):
        """h0 (B, H), annotations (B, S, H), mask (B, S): a state for `step`, with the keys in it."""
        keys = project_keys(annotations, self.w_key.data)
        return {"h": h0, "annotations": annotations, "keys": keys, "mask": mask}

    def step(self, state, tokens):
        """A state of n rows, tokens (n,): log-probabilities (n, V) of the next token, the next state."""
        w_query, _, v, *gru = (p.data for p in self.of_op())
        (h, context, _), _ = self.look(self.table.weight.data[tokens], state["h"], state["annotations"],
                                       state["keys"], state["mask"], w_query, v, *gru)
        z = np.concatenate([h, context], axis=1) @ self.out.weight.data + self.out.bias.data
        z -= z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True)), state | {"h": h}


class AttentionSeq2Seq(Module):
    """An encoder, and a decoder that looks at all of its outputs.

    Parameters
    ----------
    source_vocab, target_vocab, embedding, hidden, align : int
    rng : numpy.random.Generator
    """

    parts = AnnotatingEncoder, AttentionDecoder

    def __init__(self, source_vocab, target_vocab, embedding, hidden, align, rng=None):
        rng = np.random.default_rng(0) if rng is None else check.generator(rng)
        encoder, decoder = self.parts
        self.encoder = encoder(source_vocab, embedding, hidden, rng)
        self.decoder = decoder(target_vocab, embedding, hidden, align, rng)

    def forward(self, source, source_lengths, tokens, lengths, inputs=None):
        """source (B, S), tokens (B, T + 1), lengths (B,) of both, inputs (B, T) or None: the loss."""
        annotations, last = self.encoder(source, source_lengths)
        mask = lengths_to_mask(source_lengths, source.shape[1])
        return self.decoder(last, annotations, mask, tokens, lengths, inputs)

    def backward(self, dloss=1.0):
        """dloss a number; integers have no gradient."""
        dlast, dannotations = self.decoder.backward(dloss)
        self.encoder.backward((dannotations, dlast))

    def start(self, source, source_lengths):
        """source (B, S), its lengths (B,): the state with which decoding begins."""
        annotations, last = self.encoder(source, source_lengths)
        return self.decoder.start(last, annotations, lengths_to_mask(source_lengths, source.shape[1]))

    def step(self, state, tokens):
        """As `AttentionDecoder.step`, tokens (n,)."""
        return self.decoder.step(state, tokens)

    def alignments(self, source, source_lengths, tokens, lengths):
        """Weights (B, T, S) of the source's places for each token that is predicted."""
        self(source, source_lengths, tokens, lengths)
        return self.decoder.p
