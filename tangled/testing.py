# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:03ad7bbeee5d38b6
"""What a chapter's tests import: comparing, gradient checks, golden cases."""
from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tangled.comparing import Mismatch, assert_close, expect_value_error, rng
from tangled.gradients import check_gradients, check_module_gradients, numeric_gradient, upstream_like
from tangled.levels import ROOT

__all__ = ["Case", "Mismatch", "assert_close", "check_gradients", "check_module_gradients",
           "expect_value_error", "numeric_gradient", "rng", "upstream_like"]


@dataclass
class Case:
    """One golden case: what goes in, what must come out.

    Attributes
    ----------
    name : str
    inputs : dict
        Arrays, and plain values such as ints, strings, tuples; also dicts and lists of arrays.
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


PARTS = ("inputs", "outputs", "upstream", "grads")


def flatten(value, key: str) -> dict[str, np.ndarray]:
    """A value as arrays under keys: "k" an array, "k:json" a plain value, "k.name" and "k[0]" nested.

    Parameters
    ----------
    value : ndarray, or a plain value, or a dict or list of them
    key : str
    """
    if isinstance(value, np.ndarray):
        return {key: value}
    if isinstance(value, np.generic):
        return {key: np.asarray(value)}
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in flatten(item, f"{key}.{name}").items()}
    if isinstance(value, (list, tuple)) and any(isinstance(v, (np.ndarray, dict)) for v in value):
        return {k: v for i, item in enumerate(value) for k, v in flatten(item, f"{key}.#{i}").items()}
    return {key + ":json": np.array(json.dumps(value))}


def unflatten(arrays: dict[str, np.ndarray]) -> dict:
    """The inverse of `flatten`, for keys without their first part; lists come back as tuples."""
    tree: dict = {}
    for key, array in arrays.items():
        key, _, kind = key.partition(":")
        *parents, name = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = tuples(json.loads(str(array))) if kind == "json" else np.copy(array)
    return lists(tree)


def lists(node):
    """Dicts with the keys #0, #1, … as tuples, all the way down."""
    if not isinstance(node, dict):
        return node
    node = {name: lists(value) for name, value in node.items()}
    return tuple(node.values()) if node and all(n.startswith("#") for n in node) else node


def tuples(value):
    """JSON's lists as tuples, all the way down."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def golden_path(topic: int) -> Path:
    """golden/t27.npz."""
    return ROOT / "golden" / f"t{topic:02d}.npz"


_stored: dict[Path, tuple[float, dict]] = {}


def stored_cases(topic: int) -> dict[str, dict[str, np.ndarray]]:
    """Every case of a topic, as stored: name -> {"inputs.x": array, …}. Read once."""
    path = golden_path(topic)
    again = f"run: make golden TOPIC={topic}"
    if not path.is_file():
        raise AssertionError(f"golden/{path.name} is missing; {again}")
    stamp = path.stat().st_mtime
    if path in _stored and _stored[path][0] == stamp:
        return _stored[path][1]
    cases: dict = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                name, _, rest = key.partition("/")
                cases.setdefault(name, {})[rest] = file[key]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise AssertionError(f"golden/{path.name} cannot be read ({error}); {again}") from None
    _stored[path] = stamp, cases
    return cases


def load_case(topic: int, name: str) -> Case:
    """A fresh copy of one golden case."""
    cases = stored_cases(topic)
    if name not in cases:
        raise AssertionError(f"golden/t{topic:02d}.npz has no case {name!r}, only {', '.join(cases)}; "
                             f"run: make golden TOPIC={topic}")
    tree = unflatten(cases[name])
    return Case(name, **{part: tree.get(part, {}) for part in PARTS})
