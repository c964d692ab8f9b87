# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:6d8add887f76ab70
"""Positional encodings."""

from tangled.t27_positional_encodings.level2_vectorized import (
    add_positions,
    add_positions_backward,
    alibi_bias,
    alibi_slopes,
    interleaved_to_half,
    learned_positions,
    learned_positions_backward,
    rope,
    rope_backward,
    rope_tables,
    sinusoidal_table,
)

__all__ = [
    "add_positions",
    "add_positions_backward",
    "alibi_bias",
    "alibi_slopes",
    "interleaved_to_half",
    "learned_positions",
    "learned_positions_backward",
    "rope",
    "rope_backward",
    "rope_tables",
    "sinusoidal_table",
]
