# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:bb29ff35c623a386
"""Gated recurrent units."""

from tangled.t20_gru.level2_vectorized import (
    GRU,
    from_pytorch,
    gru,
    gru_backward,
    gru_step,
    gru_step_backward,
    to_pytorch,
)

__all__ = [
    "GRU",
    "from_pytorch",
    "gru",
    "gru_backward",
    "gru_step",
    "gru_step_backward",
    "to_pytorch",
]
