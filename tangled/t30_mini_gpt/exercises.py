# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:ccbde246f55898f9
"""Chapter 30: worked answers to the graded exercises."""

import math


def banned_tokens(ids, n):
    """Tokens that would complete an n-gram which the text already has.

    Parameters
    ----------
    ids : sequence of int, of shape (T,), the text so far
    n : int, at least 1; 1 bans all that has occurred

    Returns
    -------
    set of int : empty while the text is shorter than n
    """
    ids = list(ids)
    if len(ids) < n:
        return set()
    last = ids[len(ids) - n + 1:]                               # the n - 1 tokens before the next
    return {ids[k + n - 1] for k in range(len(ids) - n + 1) if ids[k:k + n - 1] == last}


def marginal(data, log_p):
    """Log-probability of bytes, summed over all ways of cutting them into tokens, and its gradient.

    Parameters
    ----------
    data : bytes, of length (n,)
    log_p : dict from bytes to float; each token is drawn independently of the others

    Returns
    -------
    total : float, the log of the sum over all cuts of the product of p; -inf if there is none
    grads : dict with the keys of log_p : d total / d log_p, how often a token is expected to occur
    """
    n, grads = len(data), dict.fromkeys(log_p, 0.0)
    longest = max(map(len, log_p), default=0)
    spans = [(i, j) for j in range(1, n + 1) for i in range(max(0, j - longest), j) if data[i:j] in log_p]
    alpha, beta = [0.0] + [-math.inf] * n, [-math.inf] * n + [0.0]
    for i, j in spans:                                          # the first i bytes, then this token
        alpha[j] = _add(alpha[j], alpha[i] + log_p[data[i:j]])
    for i, j in sorted(spans, reverse=True):                    # this token, then the rest
        beta[i] = _add(beta[i], log_p[data[i:j]] + beta[j])
    if alpha[n] > -math.inf:
        for i, j in spans:
            token = data[i:j]
            grads[token] += math.exp(alpha[i] + log_p[token] + beta[j] - alpha[n])
    return alpha[n], grads


def _add(a, b):
    """log(exp(a) + exp(b))."""
    top = max(a, b)
    return top if top == -math.inf else top + math.log(math.exp(a - top) + math.exp(b - top))
