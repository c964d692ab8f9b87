# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:cab0b24dee37a1e6
"""Chapter 27: how scores of rotated vectors depend on their distance. Nothing is drawn here."""

import numpy as np

from tangled.t27_positional_encodings import rope, rope_tables

STARTS = (0, 10, 50, 200)


def score_curves(dim=64, reach=256, seed=0):
    """Scores / sqrt(D) against distance 0 .. reach - 1.

    Returns
    -------
    dict : "starts" (4, reach), one q and one k from four starting points; "equal" (reach,), the mean over
        200 vectors with q = k; "expected" (reach,), the sum of cosines for it; "independent" (40, reach)
    """
    generator = np.random.default_rng(seed)
    cos, sin = rope_tables(reach + max(STARTS), dim)
    distances = np.arange(reach)

    def scores(q, k, start=0):
        """q, k (N, D) at positions start and start + distance: (N, reach)."""
        q = rope(q[:, None, None], cos, sin, [start])[0]                    # (N, 1, 1, D)
        k = np.repeat(k[:, None, None], reach, 2)                           # (N, 1, reach, D)
        k = rope(k, cos, sin, start + distances)[0]
        return (q * k).sum(-1)[:, 0] / dim ** 0.5

    q, k = generator.standard_normal((2, 40, dim))
    equal = generator.standard_normal((200, dim))
    return {"starts": np.stack([scores(q[:1], k[:1], start)[0] for start in STARTS]),
            "equal": scores(equal, equal).mean(0),
            "expected": 2 * cos[:reach].sum(1) / dim ** 0.5,                # eq. 27.6
            "independent": scores(q, k)}
