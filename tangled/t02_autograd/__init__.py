# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:ee355ae2a6b097cd
"""Autograd engine from scratch."""

from tangled.t02_autograd.level1_naive import (
    Value,
)

from tangled.t02_autograd.level2_vectorized import (
    SGD,
    Tensor,
    no_grad,
)

__all__ = [
    "SGD",
    "Tensor",
    "Value",
    "no_grad",
]
