# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:63b3837ea854e1bf
"""Chapter 10: worked answers to the graded exercises."""

import numpy as np


class ResumableLoader:
    """Batches that can stop in mid-epoch and go on, in another process, without losing one.

    Parameters
    ----------
    arrays : tuple of ndarrays with N rows each, N at least 1
    batch_size : int, at least 1; the last batch of an epoch may be smaller
    rng : numpy.random.Generator; one permutation is drawn for each epoch, when it begins

    Iterating yields what is left of the current epoch, as tuples of arrays; after its last batch a
    new epoch begins. A batch counts as done once it has been handed out.
    """

    def __init__(self, arrays, batch_size, rng):
        self.arrays, self.batch_size, self.rng = arrays, batch_size, rng
        self.order, self.done = np.arange(len(arrays[0])), 0

    def __len__(self):
        """Batches in a whole epoch."""
        return -(-len(self.arrays[0]) // self.batch_size)

    def __iter__(self):
        if self.done in (0, len(self)):                         # at the end nothing is left
            self.order, self.done = self.rng.permutation(len(self.arrays[0])), 0
        while self.done < len(self):
            start = self.done * self.batch_size
            rows = self.order[start:start + self.batch_size]
            self.done += 1                                      # before it is out of our hands
            yield tuple(array[rows] for array in self.arrays)

    def state_dict(self):
        """{"order": ndarray of shape (N,), "done": int}, a copy; the generator is kept elsewhere."""
        return {"order": self.order.copy(), "done": self.done}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave, also after `save_checkpoint` and `load_checkpoint`."""
        self.order, self.done = np.array(state["order"]), int(state["done"])


def reliability(logits, target, bins):
    """How often answers are right, by how sure the network was of them; Guo et al. (2017).

    Parameters
    ----------
    logits : ndarray of shape (N, K), floating
    target : integer ndarray of shape (N,)
    bins : int; bin b holds probabilities in (b / bins, (b + 1) / bins]

    Returns
    -------
    sure, right : ndarrays of shape (bins,), float64: mean probability of what was said, and share of
        right answers; NaN in an empty bin
    count : ndarray of shape (bins,), int64
    """
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    probability = 1 / np.exp(z).sum(axis=1)                     # (N,), of what was said
    where = np.clip(np.ceil(probability * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    total = lambda values: np.bincount(where, values, minlength=bins)
    with np.errstate(invalid="ignore"):                         # 0/0 is NaN, and meant
        return (total(probability) / count, total(z.argmax(axis=1) == target) / count,
                count.astype(np.int64))


def best_temperature(logits, target, low=1e-3, high=1e3):
    """The T for which the mean cross-entropy of logits / T is least.

    Parameters
    ----------
    logits : ndarray of shape (N, K), floating
    target : integer ndarray of shape (N,)
    low, high : float; T is looked for between them

    Returns
    -------
    float, to a relative 1e-6; an end of the range if the loss is least there
    """
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    aim = z[np.arange(len(z)), target]                          # (N,)

    def slope(temperature):
        """Derivative of the loss by 1 / T: mean of E[z] - z_y, which grows with 1 / T."""
        p = np.exp(z / temperature)
        return np.mean((p * z).sum(axis=1) / p.sum(axis=1) - aim)
    if slope(high) >= 0 or slope(low) <= 0:
        return float(high if slope(high) >= 0 else low)
    while high / low > 1 + 1e-7:
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return float(np.sqrt(low * high))
