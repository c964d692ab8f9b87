# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:0f55c69e9f0f8194
"""Chapter 23: worked answers to the graded exercises."""

import heapq

import numpy as np

from tangled.t23_seq2seq.base import rows_of, select


def search_errors(step, state, found, references, bos, eos):
    """How many references the model finds more probable than what a search has found.

    Parameters
    ----------
    step, state : as for `beam_search`; the state has N rows
    found, references : lists of N integer ndarrays, without BOS and EOS
    bos, eos : int

    Returns
    -------
    count : int, of the n with log p(reference) > log p(found) + 1e-9, both with EOS
    """
    def log_prob(row, tokens):
        now, total, last = select(state, np.array([row])), 0.0, bos
        for token in (*tokens, eos):
            log_p, now = step(now, np.array([last]))
            total, last = total + float(log_p[0, token]), token
        return total
    return sum(log_prob(n, references[n]) > log_prob(n, found[n]) + 1e-9
               for n in range(rows_of(state)))


def best_first(step, state, bos, eos, n, max_len):
    """The n most probable sentences, exactly.

    Parameters
    ----------
    step : as for `beam_search`
    state : of one row
    bos, eos, n : int
    max_len : int, the most tokens of a sentence, EOS among them

    Returns
    -------
    list of at most n pairs (log_prob float, tuple of tokens, no BOS or EOS), best first
    """
    queue, found, count = [(0.0, 0, (), state)], [], 0      # -log p, arrival, tokens, state
    while queue and len(found) < n:
        cost, _, tokens, now = heapq.heappop(queue)
        if tokens[-1:] == (eos,):
            found.append((-cost, tokens[:-1]))
            continue
        if len(tokens) == max_len:
            continue
        log_p, now = step(now, np.array([tokens[-1] if tokens else bos]))
        for token in np.flatnonzero(np.isfinite(log_p[0])):
            count += 1                                          # states are never compared
            heapq.heappush(
                queue, (cost - float(log_p[0, token]), count, (*tokens, int(token)), now))
    return found
