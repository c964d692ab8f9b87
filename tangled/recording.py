# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:b51ad47e1730adce
"""Writing records: golden/records/t09.json, atomically, merged with what is there."""
from __future__ import annotations

import ast
import contextlib
import datetime
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent                       # tangled/
FOLDER = Path(os.environ.get("TANGLED_HOME") or HERE.parent) / "golden" / "records"
WIDTH = 110


def path_of(topic: int | str) -> Path:
    """golden/records/t09.json, of 9; golden/records/ta.json, of "a"."""
    return FOLDER / (f"t{topic:02d}.json" if isinstance(topic, int) else f"t{topic}.json")


def read(topic: int | str) -> dict:
    """The file as it is; an empty record where there is none."""
    path = path_of(topic)
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {"ladders": {}, "runs": {}, "by": {}} | found


def by_of(found: dict, entry: dict) -> dict:
    """Machine, versions, date and code of an entry: entries made together share them."""
    return found["by"][entry["by"]]


def store_run(topic, name, values=None, curves=None, seconds=None, modules=None, arrays=None):
    """Store the outcome of a long program.

    Parameters
    ----------
    topic : int
    name : str
        The program's module, e.g. "train_mnist".
    values : dict
        Numbers, text, and lists or dicts of them.
    curves : dict of sequence of float
        Kept to five digits.
    seconds : float
    modules : sequence of str, default: the program and the modules of its package that it imports
        Those whose change makes the record stale.
    arrays : dict of dict of ndarray, e.g. {"weights": {"W": ...}}
        What later chapters need; see `store_arrays`.
    """
    by = made_by(code_of(topic, modules or [name]))
    curves = {key: rounded([float(y) for y in curve], 5) for key, curve in (curves or {}).items()}
    kept = {key: store_arrays(topic, key, these) for key, these in (arrays or {}).items()}
    entry = {"by": key_of(by), "seconds": rounded(seconds, 4), "values": rounded(values or {}, 8),
             "curves": curves, "arrays": kept}
    store(topic, by, runs={name: {key: given for key, given in entry.items() if given not in (None, {})}})


def store_ladders(topic, ladders, keep=None):
    """Store ladders as `measure` returns them; with `keep`, names in order, all others are dropped."""
    by = made_by(code_of(topic, ["benchmark"]), ladders[0].threads)
    entries = {}
    for ladder in ladders:
        rows = {row.level: {name: rounded(value, 4) for name, value in vars(row).items()
                            if name != "level" and value not in (None, "")} for row in ladder.rows}
        entries[ladder.name] = {"by": key_of(by), "note": ladder.note, "rows": rows}
    store(topic, by, ladders=entries, keep=keep)


def store(topic, by: dict, ladders=None, runs=None, keep=None) -> None:
    """Merge entries into the record of a topic and write it, whole or not at all."""
    make_folder()
    with alone():
        found = read(topic)
        found["by"][key_of(by)] = by
        found["ladders"] |= ladders or {}
        found["runs"] |= runs or {}
        if keep is not None:
            found["ladders"] = {name: found["ladders"][name] for name in keep if name in found["ladders"]}
        used = {entry["by"] for kind in ("ladders", "runs") for entry in found[kind].values()}
        found["by"] = {key: found["by"][key] for key in sorted(used)}
        replace(path_of(topic), (as_text(found) + "\n").encode())


def make_folder() -> None:
    """golden/records/, in a copy of the repository; an installed package has no place for records."""
    if not FOLDER.parent.is_dir():
        raise FileNotFoundError(f"{FOLDER.parent}: not found; records are kept in the repository of dl-from-scratch, "
                                "set TANGLED_HOME to a copy of it")
    FOLDER.mkdir(exist_ok=True)


@contextlib.contextmanager
def alone():
    """One writer at a time."""
    with open(FOLDER / ".lock", "w") as handle:
        with contextlib.suppress(ImportError):                # no file locks on this system
            import fcntl
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def replace(path: Path, data: bytes) -> None:
    """Write a file in one step."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    os.replace(partial, path)


def key_of(by: dict) -> str:
    """A short name for machine, versions, date and code."""
    return f"{by['date']} {digest(json.dumps(by, sort_keys=True).encode())[:6]}"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def rounded(value, digits: int):
    """The same with every float kept to some significant digits; arrays and NumPy's numbers become plain."""
    if isinstance(value, dict):
        return {str(key): rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [rounded(inner, digits) for inner in value]
    value = value.item() if isinstance(value, np.generic) else value
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def as_text(value, indent: int = 0) -> str:
    """JSON in which a row stands on a line, so that a new measurement is a small difference."""
    short = json.dumps(value, ensure_ascii=False)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    nested = any(isinstance(each, (dict, list)) and each for each in inner)
    if not nested and (len(short) + indent < WIDTH or not inner):
        return short
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(key, ensure_ascii=False)}: {as_text(each, indent + 1)}"
                for key, each in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    if nested:
        return "[\n" + ",\n".join(pad + as_text(each, indent + 1) for each in value) + "\n" + " " * indent + "]"
    return f"[{filled([json.dumps(each, ensure_ascii=False) for each in value], pad)}]"


def filled(entries: list, pad: str) -> str:
    """Entries with commas between them, in lines of at most WIDTH; none is cut, be it a sentence with blanks in it."""
    lines, line = [], ""
    for entry in [*(f"{entry}," for entry in entries[:-1]), entries[-1]]:
        if line and len(line) + 1 + len(entry) > WIDTH:
            lines.append(line)
            line = pad + entry
        else:
            line = f"{line} {entry}" if line else entry
    return "\n".join([*lines, line])


def made_by(code: dict, threads: str = "") -> dict:
    """Machine, instruction set, threads, versions, date, and the hash of each module that was measured."""
    by = {"machine": processor(), "instructions": instructions(), "threads": threads or thread_count(),
          "python": platform.python_version(), "numpy": np.__version__, "torch": version("torch"),
          "date": datetime.date.today().isoformat(), "code": code}
    return {key: value for key, value in by.items() if value}


def processor() -> str:
    """The processor's own name, e.g. "AMD EPYC"."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def instructions() -> str:
    """The widest instruction set that NumPy found at run time: "AVX-512", "AVX2", "NEON"."""
    found = np.show_config(mode="dicts").get("SIMD Extensions", {})
    names = " ".join([*found.get("baseline", []), *found.get("found", [])])
    for mark, name in (("X86_V4", "AVX-512"), ("AVX512", "AVX-512"), ("X86_V3", "AVX2"), ("AVX2", "AVX2"),
                       ("ASIMD", "NEON"), ("NEON", "NEON")):
        if mark in names:
            return name
    return platform.machine()


def thread_count() -> str:
    """How many threads BLAS was given."""
    count = os.environ.get("OPENBLAS_NUM_THREADS") or str(os.cpu_count())
    return "one thread" if count == "1" else f"{count} threads"


def version(name: str) -> str:
    """Of an installed package; "" where it is absent."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name).partition("+")[0]
    return ""


def package_of(topic) -> Path | None:
    """tangled/t09_batch_norm, of 9; tangled itself for an appendix."""
    if not isinstance(topic, int):
        return HERE
    return next(iter(sorted(HERE.glob(f"t{topic:02d}_*"))), None)


def code_of(topic, modules) -> dict[str, str]:
    """The hash of each module of a topic's package that the given ones reach, drawings left out."""
    package = package_of(topic)
    if package is None:
        return {}
    starts = [str(m).removeprefix(f"tangled.{package.name}.") for m in modules]
    if starts == ["benchmark"]:
        starts += [path.stem for path in package.glob("level[1-4]_*.py")]
    return {stem: code_hash(package / f"{stem}.py") for stem in sorted(reached(package, starts))}


def changed(topic, by: dict) -> list[str]:
    """The modules of a topic that have changed since they were measured, e.g. ["level2_vectorized.py"]."""
    package = package_of(topic)
    return [f"{stem}.py" for stem, known in by.get("code", {}).items()
            if package is None or code_hash(package / f"{stem}.py") != known]


def reached(package: Path, starts: list[str]) -> set[str]:
    """The modules of one package that some of them import, through one another."""
    found, waiting = set(), list(starts)
    while waiting:
        stem = waiting.pop()
        path = package / f"{stem}.py"
        if stem not in found and stem != "visualization" and path.is_file():
            found.add(stem)
            waiting += imports_of(ast.parse(path.read_text(encoding="utf-8")), f"tangled.{package.name}")
    return found - {"__init__"}


def imports_of(tree: ast.AST, package: str) -> list[str]:
    """The modules of the package that a module may import."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = f"{package}.{node.module or ''}".rstrip(".") if node.level == 1 else node.module or ""
            names += [base] + [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    inside = [name.removeprefix(package).lstrip(".") for name in names
              if name == package or name.startswith(package + ".")]
    return [name.partition(".")[0] or "__init__" for name in inside]


def code_hash(path: Path) -> str:
    """Twelve digits over a module's syntax tree without docstrings; "" where there is no such file."""
    if not path.is_file():
        return ""
    return digest(repr(shape_of(ast.parse(path.read_text(encoding="utf-8")))).encode())[:12]


def shape_of(node):
    """A syntax tree as nested tuples, the same for every version of Python: no places, docstrings or blanks."""
    if isinstance(node, list):
        return [shape_of(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: getattr(node, name, None) for name in node._fields if name not in ("ctx", "kind")}
    body = fields.get("body")
    if isinstance(body, list) and body and is_text(body[0]) and hasattr(node, "body"):
        fields["body"] = body[1:]
    return type(node).__name__, [(name, shape_of(value)) for name, value in fields.items()
                                 if value is not None and value != []]


def is_text(node: ast.AST) -> bool:
    """A docstring, or another string that stands alone?"""
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))


def store_arrays(topic, name: str, arrays: dict) -> dict:
    """Write arrays as golden/records/t30_name.npz, floats as float16; what the record says of them.

    Parameters
    ----------
    topic : int
    name : str
    arrays : dict of ndarray of any shape
        Finite, and within float16's range (65,504).

    Returns
    -------
    dict
        File, hash, bytes; for `store_run(..., arrays=)` this is called by itself.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, as_float16(arrays[key], key), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.getvalue())
    make_folder()
    path = FOLDER / f"{path_of(topic).stem}_{name}.npz"
    replace(path, buffer.getvalue())
    return {"file": path.name, "bytes": len(buffer.getvalue()), "sha256": digest(buffer.getvalue())}


def as_float16(array, name: str) -> np.ndarray:
    """Floats rounded to float16, all else as it is; a ValueError for what is neither, or too large."""
    array = np.asarray(array)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype("<f2")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has entries that float16 cannot hold; expected finite, below 65504")
    elif array.dtype.kind not in "iub":
        raise ValueError(f"{name} has dtype {array.dtype}; expected numbers")
    return np.ascontiguousarray(array).reshape(array.shape)


def checked_arrays(entry: dict) -> dict:
    """The arrays that an entry of the record names, float16 as float32; their hash is compared first."""
    path = FOLDER / entry["file"]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; it is in the repository of dl-from-scratch, set TANGLED_HOME "
                                "to a copy of it")
    data = path.read_bytes()
    if digest(data) != entry["sha256"]:
        raise ValueError(f"{path} is not the file that was recorded: sha256 {digest(data)[:12]}; "
                         f"expected {entry['sha256'][:12]}")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {key: file[key].astype(np.float32) if file[key].dtype == np.float16 else file[key]
                for key in file.files}
