# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:5562bfdcfed92000
"""What a chapter's tests import: comparing, checking gradients, golden cases."""
from __future__ import annotations

from dataclasses import dataclass, field

from tangled.comparing import Mismatch, assert_close, expect_value_error, rng
from tangled.dtypes import assert_dtypes
from tangled.gradients import check_gradients, check_module_gradients, numeric_gradient, upstream_like
from tangled.layouts import LAYOUTS, assert_layouts
from tangled.repeating import assert_repeatable

__all__ = ["LAYOUTS", "Case", "Mismatch", "assert_close", "assert_dtypes", "assert_layouts", "assert_repeatable",
           "check_gradients", "check_module_gradients", "expect_value_error", "numeric_gradient", "rng",
           "upstream_like"]


@dataclass
class Case:
    """One golden case: what goes in, what must come out.

    Attributes
    ----------
    name : str
    inputs : dict
        Arrays, and plain values such as ints, strings and tuples; also dicts and lists of arrays.
    outputs : dict of ndarray
    upstream : dict of ndarray
        The weights of the outputs with which `grads` were taken.
    grads : dict of ndarray
    """

    name: str
    inputs: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    upstream: dict = field(default_factory=dict)
    grads: dict = field(default_factory=dict)
