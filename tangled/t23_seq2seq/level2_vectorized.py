# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:2af0cdd477fd2a59
"""Sequence to sequence, level 2: whole arrays, one sentence at a time in the search, and the modules."""

from collections import Counter

import numpy as np

import tangled.t23_seq2seq.checks as check
from tangled.t06_backpropagation import Linear, Module
from tangled.t18_rnn import Embedding, embedding, embedding_backward
from tangled.t20_gru import GRU, gru, gru_backward, gru_step
from tangled.t23_seq2seq.base import rows_of, select


def masked_cross_entropy(logits, targets, mask):
    """Mean cross-entropy over the places that count.

    Parameters
    ----------
    logits : ndarray of shape (..., V), floating
    targets : integers of shape (...), below V where the mask is true
    mask : bool of shape (...)

    Returns
    -------
    loss : scalar in the dtype of logits; 0 if no place counts
    cache : for `masked_cross_entropy_backward`
    """
    logits, targets, mask = check.masked(logits, targets, mask)
    z = logits[mask].astype(check.working(logits.dtype), copy=False)            # (n, V)
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(z)), targets[mask]].sum() / max(len(z), 1)  # eq. 23.5
    return (logits.dtype.type(loss),
            (np.exp(log_p), targets[mask], mask.copy(), logits.dtype))


def masked_cross_entropy_backward(dloss, cache):
    """dloss a number: dlogits (..., V), zeros where the mask is false."""
    p, targets, mask, dtype = cache
    dz = p.copy()
    dz[np.arange(len(dz)), targets] -= 1                        # eq. 23.6
    dlogits = np.zeros((*mask.shape, p.shape[1]), dtype)
    dlogits[mask] = dz * (check.scalar("dloss", dloss) / max(len(dz), 1))
    return dlogits


def lengths_to_mask(lengths, T):
    """lengths (B,), 0 to T: bool (B, T), true at the first lengths[n] places of row n."""
    T = check.whole("T", T, 0)
    lengths = check.lengths("lengths", lengths, np.shape(lengths)[:1], T)
    return np.arange(T) < lengths[:, None]


def last_outputs(out, lengths):
    """The output at the last real step of each sequence.

    Parameters
    ----------
    out : ndarray of shape (B, T, H), floating
    lengths : integers of shape (B,), from 1 to T

    Returns
    -------
    last : ndarray of shape (B, H)
    cache : for `last_outputs_backward`
    """
    out = check.floats("out", out, ("B", "T", "H"))
    lengths = check.lengths("lengths", lengths, out.shape[:1], out.shape[1], 1)
    last = out[np.arange(len(out)), lengths - 1]                    # (B, H)   eq. 23.2
    return last, (lengths, out.shape, out.dtype)


def last_outputs_backward(dlast, cache):
    """dlast (B, H): dout (B, T, H), zeros but for the last real steps."""
    lengths, shape, dtype = cache
    dout = np.zeros(shape, dtype)
    dout[np.arange(len(lengths)), lengths - 1] = check.gradient(
        "dlast", dlast, (shape[0], shape[2]), dtype)
    return dout


def teacher_forced_loss(h0, tokens, lengths, table, w_ih, w_hh, b_ih, b_hh, w_out, b_out,
                        inputs=None):
    """Loss of a GRU decoder that is told the right symbols; Sutskever et al. (2014).

    Parameters
    ----------
    h0 : ndarray of shape (B, H), floating: what the encoder hands over
    tokens : integers of shape (B, T + 1): BOS, the target, EOS, padding
    lengths : integers of shape (B,): tokens to be predicted of each row, EOS among them
    table : ndarray of shape (V, E);  w_ih, w_hh : (E, 3H), (H, 3H);  b_ih, b_hh : (3H,)
    w_out, b_out : ndarrays of shapes (H, V), (V,)
    inputs : integers of shape (B, T), or None for tokens[:, :-1]: what the decoder reads

    Returns
    -------
    loss : scalar in the dtype of h0, the mean over all tokens to be predicted
    cache : for `teacher_forced_loss_backward`
    """
    (h0, tokens, lengths, table, *of_gru, w_out, b_out), inputs = check.teacher(
        h0, tokens, lengths, (table, w_ih, w_hh, b_ih, b_hh, w_out, b_out), inputs)
    read = tokens[:, :-1] if inputs is None else inputs             # BOS y1 ... yn
    targets = tokens[:, 1:]                                         # y1 ... yn EOS
    x, of_table = embedding(read, table)                        # (B, T, E)
    (out, _), of_gru = gru(x, h0, *of_gru)                      # (B, T, H)   eq. 23.3
    mask = lengths_to_mask(lengths, targets.shape[1])
    work = check.working(out.dtype)
    logits = out.astype(work, copy=False) @ w_out + b_out       # (B, T, V)   eq. 23.4
    loss, of_loss = masked_cross_entropy(logits, targets, mask)
    return h0.dtype.type(loss), (of_table, of_gru, of_loss, out, w_out)


def teacher_forced_loss_backward(dloss, cache):
    """Gradients of `teacher_forced_loss`.

    Parameters
    ----------
    dloss : number
    cache : from `teacher_forced_loss`

    Returns
    -------
    dh0 : ndarray of shape (B, H)
    dtable, dw_ih, dw_hh, db_ih, db_hh, dw_out, db_out : ndarrays, as the inputs
    """
    of_table, of_gru, of_loss, out, w_out = cache
    dlogits = masked_cross_entropy_backward(dloss, of_loss)     # (B, T, V), zero at padding
    rows, V = out.reshape(-1, out.shape[-1]).astype(dlogits.dtype), dlogits.shape[-1]
    dw_out, db_out = (rows.T @ dlogits.reshape(-1, V),          # eq. 23.7
                      dlogits.sum(axis=(0, 1)))
    dx, dh0, *grads = gru_backward((dlogits @ w_out.T).astype(out.dtype), None, of_gru)
    dtable = embedding_backward(dx, of_table)
    return dh0, dtable, *grads, dw_out.astype(out.dtype), db_out.astype(out.dtype)


def greedy_decode(step, state, bos, eos, max_len):
    """The most probable next token, again and again, until EOS.

    Parameters
    ----------
    step : callable; for n rows of state and tokens (n,): log-probabilities (n, V), a state
    state : of N rows, as `select` takes it
    bos, eos : int, the token before the first, and the one that ends a sentence
    max_len : int, the most tokens that are predicted, EOS among them

    Returns
    -------
    list of N integer ndarrays, without BOS and EOS
    """
    bos, eos, max_len, _, _ = check.searching(bos, eos, max_len)
    open_ = np.arange(rows_of(state))                           # rows that have not ended
    found, last = [[] for _ in open_], np.full(len(open_), bos)
    for _ in range(max_len):
        if not len(open_):
            break
        log_p, state = step(state, last)
        last = check.log_probs(log_p, len(open_), eos).argmax(axis=1)
        goes_on = np.flatnonzero(last != eos)
        open_, last, state = open_[goes_on], last[goes_on], select(state, goes_on)
        for row, token in zip(open_, last):
            found[row].append(token)
    return [np.array(row, np.int64) for row in found]


def length_norm(n, length_penalty):
    """What log p of n tokens, shape (...), is divided by; Wu et al. (2016), eq. 14."""
    return ((5 + n) / 6) ** length_penalty


def beam_search(step, state, bos, eos, beam=4, max_len=100, length_penalty=0.0):
    """The best sentence that a beam finds, by log-probability over `length_norm`.

    Parameters
    ----------
    step, state, bos, eos, max_len : as for `greedy_decode`
    beam : int, how many hypotheses go on at most; 1 is greedy
    length_penalty : float, at least 0; 0 compares plain log-probabilities

    Returns
    -------
    tokens : list of N integer ndarrays, without BOS and EOS; a beginning if none ended
    scores : ndarray of shape (N,), float64
    """
    bos, eos, max_len, beam, alpha = check.searching(
        bos, eos, max_len, beam, length_penalty)
    found = [_search(step, select(state, np.array([n])), bos, eos, beam, max_len, alpha)
             for n in range(rows_of(state))]
    return ([tokens for tokens, _ in found],
            np.array([score for _, score in found], np.float64))


def _search(step, state, bos, eos, beam, max_len, alpha):
    """One sentence: tokens (n,) and the score."""
    tokens, log_p = np.full((1, 1), bos), np.zeros(1)           # of what goes on
    best, best_score = None, -np.inf
    for t in range(1, max_len + 1):
        found, state = step(state, tokens[:, -1])               # (n, V)
        total = log_p[:, None] + check.log_probs(found, len(tokens), eos)
        order = np.argsort(-total, axis=None, kind="stable")[:beam]
        order = order[total.flat[order] > -np.inf]                      # the impossible is left out
        parents, words = np.divmod(order, total.shape[1])
        log_p = total.flat[order]
        tokens = np.concatenate([tokens[parents], words[:, None]], axis=1)
        ended, goes_on = words == eos, words != eos
        beam -= ended.sum()                                             # their places stay empty
        for k in np.flatnonzero(ended):
            score = log_p[k] / length_norm(t, alpha)                        # eq. 23.9, t with EOS
            if best is None or score > best_score:
                best, best_score = tokens[k, 1:-1], score
        tokens, log_p, state = (
            tokens[goes_on], log_p[goes_on], select(state, parents[goes_on]))
        if not len(tokens) or log_p[0] / length_norm(max_len, alpha) <= best_score:
            break                                                       # eq. 23.10
    if best is None and len(tokens):
        best, best_score = tokens[0, 1:], log_p[0] / length_norm(max_len, alpha)
    return (np.empty(0, np.int64) if best is None else best), best_score


def exact_match(hypotheses, references):
    """The share of texts, lists (N,) of str, that are their reference; 0 for none."""
    hypotheses, references = check.texts(hypotheses, references)
    return sum(h == r for h, r in zip(hypotheses, references)) / max(len(references), 1)


def chrf(hypotheses, references, order=6, beta=2.0):
    """The character n-gram F-score of a corpus; Popović (2015).

    Parameters
    ----------
    hypotheses, references : lists of str, of one length
    order : int, the longest n-grams
    beta : float; recall counts beta times what precision does

    Returns
    -------
    float from 0 to 100, as sacrebleu's CHRF with its defaults
    """
    hypotheses, references = check.texts(hypotheses, references)
    order, counts = check.whole("order", order), np.zeros((order, 3))  # ours, theirs, both
    for pair in zip(hypotheses, references):
        ours, theirs = ("".join(text.split()) for text in pair)         # without spaces
        for n in range(1, order + 1):
            h, r = (Counter(text[k:k + n] for k in range(len(text) - n + 1))
                    for text in (ours, theirs))
            counts[n - 1] += h.total() if r else 0, r.total(), (h & r).total()
    seen = counts[(counts[:, :2] > 0).all(axis=1)]
    if not len(seen):
        return 0.0
    precision, recall = (seen[:, 2] / seen[:, 0]).mean(), (seen[:, 2] / seen[:, 1]).mean()
    norm = beta ** 2 * precision + recall
    # eq. 23.11
    return float(100 * (1 + beta ** 2) * precision * recall / norm) if norm else 0.0


class Encoder(Module):
    """The state (B, H) of a GRU behind the last real symbol of each source (B, S).

    Parameters
    ----------
    V, embedding, hidden : int, the sizes of the vocabulary, of a symbol's vector, and of the state
    rng : numpy.random.Generator
    """

    cell = GRU

    def __init__(self, V, embedding, hidden, rng=None):
        rng = np.random.default_rng(0) if rng is None else rng
        self.table, self.gru = Embedding(V, embedding, rng), self.cell(embedding, hidden, rng=rng)

    def forward(self, ids, lengths):
        """ids (B, S), lengths (B,) from 1 to S: (B, H)."""
        outputs, _ = self.gru(self.table(ids))
        last, self.cache = last_outputs(outputs, lengths)
        return last

    def backward(self, dlast):
        """dlast (B, H); integers have no gradient."""
        dout = last_outputs_backward(dlast, self.kept())
        self.table.backward(self.gru.backward((dout, None)))


class Decoder(Module):
    """A GRU that reads a token and predicts the next, from a state that it is given.

    Parameters
    ----------
    V, embedding, hidden, rng : as for `Encoder`
    """

    cell, op, op_backward = GRU, staticmethod(teacher_forced_loss), staticmethod(teacher_forced_loss_backward)

    def __init__(self, V, embedding, hidden, rng=None):
        rng = np.random.default_rng(0) if rng is None else rng
        self.table, self.gru = Embedding(V, embedding, rng), self.cell(embedding, hidden, rng=rng)
        self.out = Linear(hidden, V, rng)
        self.out.weight.data *= np.float32(0.1)

    def of_op(self):
        """The Parameters of `teacher_forced_loss`, in its order."""
        return [self.table.weight, *self.gru.of_layer(0), self.out.weight, self.out.bias]

    def forward(self, h0, tokens, lengths, inputs=None):
        """h0 (B, H), tokens (B, T + 1), lengths (B,), inputs (B, T) or None: the loss."""
        loss, self.cache = self.op(h0, tokens, lengths, *(p.data for p in self.of_op()), inputs=inputs)
        return loss

    def backward(self, dloss=1.0):
        """dloss a number: dh0 (B, H)."""
        dh0, *grads = self.op_backward(dloss, self.kept())
        for parameter, grad in zip(self.of_op(), grads, strict=True):
            parameter.accumulate(grad)
        return dh0

    def step(self, h, tokens):
        """h (n, H), tokens (n,): log-probabilities (n, V) of the next token, and the state behind it."""
        table, *of_gru, w_out, b_out = (p.data for p in self.of_op())
        h, _ = gru_step(table[tokens], h, *of_gru)
        z = h @ w_out + b_out
        z -= z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True)), h


class Seq2Seq(Module):
    """An encoder, and a decoder that begins where it ends.

    Parameters
    ----------
    source_vocab, target_vocab, embedding, hidden : int
    rng : numpy.random.Generator
    """

    parts = Encoder, Decoder

    def __init__(self, source_vocab, target_vocab, embedding, hidden, rng=None):
        rng = np.random.default_rng(0) if rng is None else rng
        encoder, decoder = self.parts
        self.encoder = encoder(source_vocab, embedding, hidden, rng)
        self.decoder = decoder(target_vocab, embedding, hidden, rng)

    def forward(self, source, source_lengths, tokens, lengths, inputs=None):
        """source (B, S), tokens (B, T + 1), lengths (B,) of both, inputs (B, T) or None: the loss."""
        return self.decoder(self.encoder(source, source_lengths), tokens, lengths, inputs)

    def backward(self, dloss=1.0):
        """dloss a number; integers have no gradient."""
        self.encoder.backward(self.decoder.backward(dloss))

    def start(self, source, source_lengths):
        """source (B, S), its lengths (B,): the state (B, H) with which decoding begins."""
        return self.encoder(source, source_lengths)

    def step(self, state, tokens):
        """As `Decoder.step`, state (n, H), tokens (n,)."""
        return self.decoder.step(state, tokens)


def scheduled_inputs(step, state, tokens, rate, rng):
    """What a decoder reads under scheduled sampling; Bengio et al. (2015).

    Parameters
    ----------
    step, state : as for `greedy_decode`, B rows
    tokens : integers of shape (B, T + 1), BOS in front
    rate : float from 0 to 1, how probably a token is the decoder's own; the first is always BOS
    rng : numpy.random.Generator; draws B numbers a step

    Returns
    -------
    inputs : integers of shape (B, T), for `teacher_forced_loss`
    """
    tokens = check.ids("tokens", tokens)
    rate, rng, inputs = check.real("rate", rate), check.generator(rng), tokens[:, :-1].copy()
    for t in range(1, inputs.shape[1]):
        log_p, state = step(state, inputs[:, t - 1])            # what it has read decides what it says
        own = rng.random(len(inputs)) < rate
        inputs[own, t] = np.asarray(log_p).argmax(axis=1)[own]
    return inputs
