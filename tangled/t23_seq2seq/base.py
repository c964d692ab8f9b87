# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:6b588cd3fbb4f69f
"""Chapter 23: what a search needs of a decoder's state, whatever it is made of."""

import numpy as np


def select(state, rows):
    """The state of these rows, any of them several times or not at all, in that order.

    Parameters
    ----------
    state : ndarray whose first axis counts rows; a tuple, list or dict of states; None; or an object
        with a method `select(rows)`
    rows : integers of shape (n,)
    """
    if state is None:
        return None
    if isinstance(state, np.ndarray):
        return state[rows]
    if isinstance(state, dict):
        return {name: select(part, rows) for name, part in state.items()}
    if isinstance(state, (tuple, list)):
        return type(state)(select(part, rows) for part in state)
    return state.select(rows)


def rows_of(state):
    """How many rows a state has: those of the first array in it, or its len()."""
    while isinstance(state, (tuple, list, dict)):
        parts = state.values() if isinstance(state, dict) else state
        state = next((part for part in parts if part is not None), np.empty(0))
    return len(state)
