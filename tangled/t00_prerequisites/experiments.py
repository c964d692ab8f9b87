# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:f5ade32d4b66aec3
"""The experiment of chapter 00."""

import numpy as np

from tangled.t00_prerequisites import softmax


def softmax_errors(count=60):
    """Magnitudes of eight logits, and what leaving out the shift costs: two ndarrays (count,)."""
    magnitudes, base = np.geomspace(1, 5000, count), np.linspace(-1, 1, 8)
    errors = []
    with np.errstate(over="ignore", invalid="ignore"):
        for magnitude in magnitudes:
            terms = np.exp(base * magnitude)
            errors.append(np.abs(terms / terms.sum() - softmax(base * magnitude)).max())
    return magnitudes, np.array(errors)
