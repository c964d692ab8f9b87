# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:9356742525d13791
"""Chapter 29: worked answers to the graded exercises."""

import numpy as np


def average_weights(states):
    """The mean of several checkpoints, of which only one is held at a time.

    Parameters
    ----------
    states : iterable of dict of ndarray, all with the same names and shapes (...); at least one

    Returns
    -------
    dict of ndarray : means by name, in the shapes and dtypes of the first
    """
    total, dtypes, count = {}, {}, 0
    for state in states:
        count += 1
        dtypes = dtypes or {name: a.dtype for name, a in state.items()}
        for name, a in state.items():
            total[name] = total.get(name, 0.0) + a.astype(np.float64)
    if count == 0:
        raise ValueError("states has 0 checkpoints; expected at least one")
    return {name: (a / count).astype(dtypes[name]) for name, a in total.items()}


def parallel_greedy(logits_of, bos, eos, max_len, draft=()):
    """Greedy decoding that guesses all symbols at once and mends the guess until it stands.

    Parameters
    ----------
    logits_of : function, integers (t,) from BOS on to logits (t, V): a causal decoder
    bos, eos : int
    max_len : int, the most tokens of the output, EOS among them
    draft : integers (n,), a first guess without BOS and EOS

    Returns
    -------
    tokens : integer ndarray, exactly those of greedy decoding, without BOS and EOS
    passes : int, how often logits_of was called
    """
    guess, passes, sure = [*map(int, draft)][:max_len], 0, 0    # guess[:sure] is greedy
    while True:
        said = logits_of(np.array([bos, *guess], np.int64)).argmax(axis=1).tolist()
        passes += 1
        while sure < len(guess) and guess[sure] == said[sure] and said[sure] != eos:
            sure += 1                                           # read and predicted agree
        if sure == max_len or said[sure] == eos:
            return np.array(guess[:sure], np.int64), passes
        guess = (guess[:sure] + said[sure:])[:max_len]  # before said[sure] all is right
        sure += 1
