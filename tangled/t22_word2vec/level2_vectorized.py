# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:61e0987ab309202c
"""Word vectors: skip-gram and CBOW with negative sampling, in plain NumPy."""

import numpy as np

import tangled.t22_word2vec.checks as check
from tangled.t05_mlp_forward import softmax_cross_entropy


def negative_sampling(h, target, negatives, w_out):
    """The loss of telling a word that occurred from words that were drawn.

    Source: Mikolov et al. (2013), eq. 22.2.

    Parameters
    ----------
    h : ndarray of shape (B, D), floating: what predicts
    target : ndarray of shape (B,), integers below V: the words that occurred
    negatives : ndarray of shape (B, K), integers below V: drawn; those that equal the
        target of their row do not count
    w_out : ndarray of shape (V, D), of the dtype of h

    Returns
    -------
    loss : float, the mean over the B rows (0 for none), eq. 22.2
    dh : ndarray of shape (B, D)
    d_out : (ids (n,), rows (n, D)), the gradient of w_out, ids rising

    Raises
    ------
    ValueError : naming the argument, what it is and what was expected
    """
    return _sampled(*check.sampled(h, target, negatives, w_out))


def _sampled(h, target, negatives, w_out):
    """Of arguments that have been checked; h may be of a wider dtype than w_out."""
    dtype, (B, D) = h.dtype, h.shape
    h, ids = (h.astype(check.working(dtype)),
              np.concatenate([target[:, None], negatives], axis=1))     # (B, 1 + K)
    rows = w_out[ids].astype(h.dtype)                           # (B, 1 + K, D)
    z = np.einsum("bd,bkd->bk", h, rows)                        # (B, 1 + K)
    z[:, 0] *= -1
    counted = np.ones(z.shape, bool)
    counted[:, 1:] = negatives != target[:, None]
    loss = np.where(counted, np.logaddexp(0, z), 0).sum(dtype=np.float64) / max(B, 1)
    g = np.where(counted, np.exp(-np.logaddexp(0, -z)), 0) / max(B, 1)
    g[:, 0] *= -1                                                   # eq. 22.3
    dh = np.einsum("bk,bkd->bd", g, rows)                       # eq. 22.4
    d_rows = g[:, :, None] * h[:, None, :]                      # (B, 1 + K, D)
    found, sums = sum_rows(ids.reshape(-1), d_rows.reshape(-1, D))
    return float(loss), dh.astype(dtype), (found, sums.astype(dtype))


def skip_gram_step(centre, context, negatives, w_in, w_out):
    """A word predicts a word near it: loss and sparse gradients.

    Parameters
    ----------
    centre, context : ndarrays of shape (B,), integers below V
    negatives : ndarray of shape (B, K), integers below V
    w_in, w_out : ndarrays of shape (V, D), floating, of one dtype

    Returns
    -------
    loss : float, the mean over the pairs
    d_in, d_out : (ids (n,), rows (n, D)) each: the rows that have a gradient, ids rising
    """
    w_in, w_out = check.tables(w_in, w_out)
    centre = check.ids("centre", centre, ("B",), len(w_in))
    h, context, negatives, _ = check.sampled(
        w_in[centre], context, negatives, w_out, "context")
    loss, dh, d_out = negative_sampling(h, context, negatives, w_out)
    return loss, sum_rows(centre, dh), d_out


def cbow_step(context, mask, centre, negatives, w_in, w_out):
    """The mean of the words around predicts the word: loss and sparse gradients.

    Parameters
    ----------
    context : ndarray of shape (B, C), integers below V
    mask : ndarray of shape (B, C), bool: True where there is a word
    centre : ndarray of shape (B,), integers below V
    negatives, w_in, w_out, and the results : as for `skip_gram_step`
    """
    w_in, w_out = check.tables(w_in, w_out)
    context, mask = check.bag(context, mask, len(w_in))
    work = check.working(w_in.dtype)
    words = np.maximum(mask.sum(axis=1, keepdims=True), 1)      # (B, 1)
    rows = np.where(mask[:, :, None], w_in[context], 0)         # (B, C, D)
    h = rows.sum(axis=1, dtype=work) / words.astype(work)       # eq. 22.5
    _, *given = check.sampled(h.astype(w_in.dtype), centre, negatives, w_out, "centre")
    loss, dh, (found, sums) = _sampled(h, *given)
    share = dh / words.astype(work)                                 # (B, D)   eq. 22.5
    rows = np.broadcast_to(share[:, None], (*mask.shape, share.shape[1]))
    ids, d_in = sum_rows(context[mask], rows[mask])
    return loss, (ids, d_in.astype(w_in.dtype)), (found, sums.astype(w_in.dtype))


def sum_rows(ids, rows):
    """Add up rows that have the same id.

    Parameters
    ----------
    ids : ndarray of shape (n,), integers, not negative
    rows : ndarray of shape (n, D), floating

    Returns
    -------
    found : ndarray of shape (m,), int64: the different ids, rising
    sums : ndarray of shape (m, D), of the dtype of rows
    """
    ids, rows = check.sparse(ids, rows)
    found, place = np.unique(ids, return_inverse=True)
    sums = np.zeros((len(found), rows.shape[1]), check.working(rows.dtype))
    np.add.at(sums, place, rows)
    return found, sums.astype(rows.dtype)


def update_rows(table, grad, lr):
    """A step of gradient descent on the rows that have a gradient, in place.

    Parameters
    ----------
    table : ndarray of shape (V, D), floating; changed
    grad : (ids (n,), rows (n, D)), ids rising, in the dtype of table
    lr : float above 0
    """
    table, ids, rows = check.gradient(table, grad)
    table[ids] -= table.dtype.type(check.positive("lr", lr)) * rows


def init_tables(V, D, rng):
    """Two tables (V, D), float32: w_in uniform within 1 / (2 D), w_out zeros."""
    shape = check.whole("V", V), check.whole("D", D)
    w_in = ((rng.random(shape) - 0.5) / D).astype(np.float32)
    return w_in, np.zeros(shape, np.float32)


class AliasTable:
    """Draws from a distribution over V words in constant time; Walker (1977), Vose (1991).

    Parameters
    ----------
    weights : ndarray of shape (V,), not negative, finite, not all 0

    Attributes
    ----------
    probability : ndarray of shape (V,), float64: of keeping the column that was hit
    alias : ndarray of shape (V,), int64: what to take otherwise
    """

    def __init__(self, weights):
        weights = check.counts("weights", weights)
        weights = weights / weights.max()                       # no overflow of the sum
        filled = weights * (len(weights) / weights.sum())       # (V,), mean 1
        self.probability, self.alias = np.ones(len(filled)), np.arange(len(filled))
        poor, rich = (np.flatnonzero(part).tolist() for part in (filled < 1, filled >= 1))
        filled = filled.tolist()
        while poor and rich:
            k, donor = poor.pop(), rich[-1]
            self.probability[k], self.alias[k] = filled[k], donor
            filled[donor] -= 1 - filled[k]                      # eq. 22.10
            if filled[donor] < 1:
                poor.append(rich.pop())

    def draw(self, size, rng):
        """Integers of shape `size` (int or tuple), int64, with the weights' probabilities."""
        columns = rng.integers(0, len(self.alias), size)
        keep = rng.random(size) < self.probability[columns]
        return np.where(keep, columns, self.alias[columns])


def noise_weights(counts, power=0.75):
    """Weights (V,) of the negatives, from counts (V,): counts ** power, float64."""
    counts = check.counts("counts", counts)
    weights = counts ** check.positive("power", power)              # eq. 22.8
    return weights


def keep_probability(counts, threshold):
    """The probability (V,) with which an occurrence of each word stays; counts (V,)."""
    counts, threshold = (check.counts("counts", counts),
                         check.positive("threshold", threshold))
    frequency = counts / counts.sum()
    with np.errstate(divide="ignore"):
        return np.minimum(1, np.sqrt(threshold / frequency))    # eq. 22.9


def subsample(ids, keep, rng):
    """Which occurrences stay: bool (n,), for ids (n,) and words' probabilities keep (V,)."""
    keep = check.floats("keep", keep, ("V",))
    return rng.random(len(ids)) < keep[check.ids("ids", ids, ("n",), len(keep))]


def skip_gram_pairs(ids, sentence, window, rng):
    """All pairs of words that stand near each other in a sentence.

    Each word looks to both sides as far as a number drawn for it from 1 to `window`.

    Parameters
    ----------
    ids : ndarray of shape (n,), integers
    sentence : ndarray of shape (n,), integers: the sentence of each word, rising
    window : int
    rng : numpy.random.Generator; draws once, n integers

    Returns
    -------
    centre, context : ndarrays of shape (P,), int64, in any order
    """
    ids, sentence = check.text(ids, sentence)
    reach = rng.integers(1, check.whole("window", window) + 1, len(ids))
    centre, context = [ids[:0]], [ids[:0]]
    for distance in range(1, window + 1):
        left, right = ids[:-distance], ids[distance:]
        near = sentence[:-distance] == sentence[distance:]
        for a, b, far in ((left, right, reach[:-distance]),
                          (right, left, reach[distance:])):
            chosen = near & (far >= distance)
            centre.append(a[chosen])
            context.append(b[chosen])
    return np.concatenate(centre), np.concatenate(context)


def info_nce(queries, keys, temperature=1.0):
    """Cross-entropy of finding each query's own key among all keys.

    Source: van den Oord et al. (2018), eq. 22.11.

    Parameters
    ----------
    queries : ndarray of shape (N, D), floating
    keys : ndarray of shape (M, D), M >= N; key i belongs to query i
    temperature : float above 0

    Returns
    -------
    loss : scalar in the dtype of queries, the mean over the N queries, eq. 22.11
    cache : for `info_nce_backward`
    """
    queries, keys = check.pairs(queries, keys)
    work, temperature = (check.working(queries.dtype),
                         check.positive("temperature", temperature))
    q, k = queries.astype(work), keys.astype(work)              # copies, for the cache
    logits = (q @ k.T) / work.type(temperature)                 # (N, M)
    loss, (p, _) = softmax_cross_entropy(logits, np.arange(len(q)))
    return queries.dtype.type(loss), (q, k, p, temperature, queries.dtype)


def info_nce_backward(dloss, cache):
    """dloss, a number, to dqueries (N, D) and dkeys (M, D)."""
    q, k, p, temperature, dtype = cache
    g = p.copy()                                                # (N, M)
    g[np.arange(len(q)), np.arange(len(q))] -= 1
    g *= p.dtype.type(float(dloss) / (len(q) * temperature))
    return (g @ k).astype(dtype), (g.T @ q).astype(dtype)
