"""Golden cases as files: a `Case` as named arrays, and back. No pickle."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from tangled.testing import Case

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("inputs", "outputs", "upstream", "grads")
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError)
_stored: dict[Path, tuple[int, dict]] = {}


def flatten(value, key: str) -> dict[str, np.ndarray]:
    """A value as arrays under keys: "k" an array, "k:json" a plain value, "k.name" and "k.#0" nested.

    Parameters
    ----------
    value : ndarray, or a plain value, or a dict or list of them
    key : str
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return {key: np.asarray(value)}
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in flatten(item, f"{key}.{name}").items()}
    if isinstance(value, (list, tuple)) and any(isinstance(v, (np.ndarray, dict)) for v in value):
        return {k: v for i, item in enumerate(value) for k, v in flatten(item, f"{key}.#{i}").items()}
    return {key + ":json": np.array(json.dumps(value))}


def unflatten(arrays: dict[str, np.ndarray]) -> dict:
    """The inverse of `flatten`, with fresh copies; lists come back as tuples."""
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
    if node and all(name.startswith("#") for name in node):
        return tuple(node[name] for name in sorted(node, key=lambda n: int(n[1:])))
    return node


def tuples(value):
    """JSON's lists as tuples, all the way down."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def stored_cases(topic: int) -> dict[str, dict[str, np.ndarray]]:
    """Every case of a topic, as stored: name -> {"inputs.x": array, …}; read once."""
    path = ROOT / "golden" / f"t{topic:02d}.npz"
    again = f"run: make golden TOPIC={topic}"
    if not path.is_file():
        raise AssertionError(f"golden/{path.name} is missing; {again}")
    stamp = path.stat().st_mtime_ns
    if path not in _stored or _stored[path][0] != stamp:
        cases: dict = {}
        try:
            with np.load(path, allow_pickle=False) as file:
                for key in file.files:
                    name, _, rest = key.partition("/")
                    cases.setdefault(name, {})[rest] = file[key]
        except UNREADABLE as error:
            text = str(error).split("\n")[0] or type(error).__name__
            raise AssertionError(f"golden/{path.name} cannot be read ({text}); {again}") from None
        _stored[path] = stamp, cases
    return _stored[path][1]


def load_case(topic: int, name: str) -> Case:
    """A fresh copy of one golden case."""
    cases = stored_cases(topic)
    if name not in cases:
        raise AssertionError(f"golden/t{topic:02d}.npz has no case {name!r}, only {', '.join(cases)}; "
                             f"run: make golden TOPIC={topic}")
    tree = unflatten(cases[name])
    return Case(name, **{part: tree.get(part, {}) for part in PARTS})


def arrays_in(value, name: str):
    """(name, array) of every array in a nested value."""
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from arrays_in(item, f"{name}[{key!r}]")
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from arrays_in(item, f"{name}[{i}]")
