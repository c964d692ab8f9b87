# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:86a7b1a9b2cfa964
"""LSTM, a memory with gates."""

from tangled.t19_lstm.level2_vectorized import (
    LSTM,
    from_pytorch,
    lstm,
    lstm_backward,
    lstm_step,
    lstm_step_backward,
    to_pytorch,
)

__all__ = [
    "LSTM",
    "from_pytorch",
    "lstm",
    "lstm_backward",
    "lstm_step",
    "lstm_step_backward",
    "to_pytorch",
]
