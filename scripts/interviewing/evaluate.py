"""`python -m scripts.interviewing.evaluate ORDER RESULT`: expressions in a reader's file, in a process of its own.

ORDER is a JSON file: {"package", "exports", "functions", "file" (or null: level 2 itself), "expressions"}. RESULT gets
one entry an expression: {"value": …, "text": "[0.5 0.5]"} or {"error": "ValueError: …", "line": 12}.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from scripts.grading.levels import Unusable, load_file
from scripts.grading.processes import die_with_parent, limit_memory
from scripts.interviewing.completing import complete, rest


def main(order: str, result: str) -> None:
    die_with_parent()
    asked = json.loads(Path(order).read_text(encoding="utf-8"))
    names: dict = {}
    try:
        if asked["file"] is None:
            for module in reversed(rest(asked["package"], asked["exports"])):
                names |= vars(module)
        else:
            limit_memory()
            module = load_file(Path(asked["file"]), asked["package"])
            complete(module, asked["package"], asked["exports"], asked["functions"])
            names = vars(module)
        names = {"np": np, "SimpleNamespace": SimpleNamespace, **names}
        found = [evaluated(text, names, asked["file"]) for text in asked["expressions"]]
    except Unusable as error:
        found = [{"error": str(error)} for _ in asked["expressions"]]
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def evaluated(expression: str, names: dict, file: str | None) -> dict:
    """The value of one expression, or what it raised and in which line of the file."""
    try:
        value = eval(expression, dict(names))
        return {"value": plain(value), "text": shown(value)}
    except NotImplementedError as error:
        return {"error": str(error) or "not written yet"}
    except Exception as error:
        line, trace = 0, error.__traceback__
        while trace is not None:
            if file and os.path.realpath(trace.tb_frame.f_code.co_filename) == os.path.realpath(file):
                line = trace.tb_lineno
            trace = trace.tb_next
        return {"error": f"{type(error).__name__}: {str(error).split(chr(10))[0]}", "line": line}


def plain(value):
    """A value as JSON holds it: arrays with shape, kind and entries, numbers, texts, lists."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        entries = array.ravel().tolist() if array.dtype.kind in "biuf" else [str(x) for x in array.ravel().tolist()]
        return {"shape": list(array.shape), "kind": array.dtype.kind, "entries": entries}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value if isinstance(value, (int, float, str, bool)) or value is None else shown(value)


def shown(value) -> str:
    """A value as the page and the terminal show it."""
    with np.printoptions(precision=4, suppress=True, threshold=60, linewidth=90):
        return str(value) if isinstance(value, (np.ndarray, np.generic)) else repr(value)


if __name__ == "__main__":
    main(*sys.argv[1:3])
