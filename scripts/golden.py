"""`make golden [TOPIC=27]`: golden/t27.npz from the cases of level 4, and golden/manifest.json.

Files are written without pickle and byte for byte the same each time. The manifest holds, for each topic, the
seed, the versions of NumPy and PyTorch, a hash of the arrays and one of level 4's text (comments left out).
By these `--check` sees that a level 4 has changed without new golden outputs, without PyTorch too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import io
import json
import os
import sys
import tokenize
import zipfile
from pathlib import Path

import numpy as np

from scripts.errors import Problem, Problems
from scripts.grading.golden_file import PARTS, UNREADABLE, flatten

ROOT = Path(__file__).resolve().parent.parent
LEVEL4 = "level4_pytorch_reference"
SEED = 20240
TOLERANCE = 1e-10


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts golden", description=__doc__.split("\n")[0])
    parser.add_argument("--topic", type=int, help="this topic alone")
    parser.add_argument("--check", action="store_true", help="verify, change nothing")
    options = parser.parse_args(argv)
    packages = [p for p in packages_with_level4() if options.topic in (None, number(p))]
    if options.topic is not None and not packages:
        there = ", ".join(str(number(p)) for p in packages_with_level4())
        raise Problem("", 0, f"topic {options.topic} has no {LEVEL4}.py that yields golden cases; "
                      f"topics that have: {there or 'none'}")
    if options.check:
        found = check(packages, whole=options.topic is None)
        if found:
            raise Problems(found)
        print(f"golden: {len(packages)} topics are as their level 4 makes them"
              + ("" if torch_version() else " (by hash; with PyTorch installed they are recomputed too)"))
        return 0
    if not torch_version():
        raise Problem("", 0, "golden outputs are computed by PyTorch, which is not installed; "
                      "make setup installs it")
    for package in packages:
        write(package)
    if options.topic is None:
        forget_others(packages)
    return 0


def forget_others(packages: list[str]) -> None:
    """Remove golden files and entries of topics that have no golden cases any more."""
    for path in (ROOT / "golden").glob("*.npz"):
        if path.name not in {f"t{number(p):02d}.npz" for p in packages}:
            path.unlink()
            print(f"golden/{path.name}: removed")
    store_manifest({p: entry for p, entry in read_manifest().items() if p in packages})


def store_manifest(manifest: dict) -> bool:
    """Write golden/manifest.json, if that changes it."""
    return replace(manifest_path(), (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())


def number(package: str) -> int:
    """27, of "t27_positional_encodings"."""
    return int(package[1:3])


def packages_with_level4() -> list[str]:
    """The packages whose level 4 defines `golden_cases`, in order."""
    paths = sorted((ROOT / "tangled").glob(f"t[0-9][0-9]_*/{LEVEL4}.py"))
    return [p.parent.name for p in paths if "def golden_cases(" in p.read_text(encoding="utf-8")]


def torch_version() -> str:
    """PyTorch's version, "" where it is absent; without importing it."""
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version("torch").partition("+")[0]
    except PackageNotFoundError:
        return ""


def compute(package: str) -> dict[str, np.ndarray]:
    """All the arrays of a topic, "case/inputs.x" -> array, from its level 4."""
    sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []
    module = importlib.import_module(f"tangled.{package}.{LEVEL4}")
    where = f"tangled/{package}/{LEVEL4}.py"
    arrays: dict[str, np.ndarray] = {}
    for case in module.golden_cases(np.random.default_rng([SEED, number(package)])):
        if any(key.startswith(case.name + "/") for key in arrays):
            raise Problem(where, 0, f"golden_cases yields {case.name!r} twice; expected each name once")
        if "/" in case.name:
            raise Problem(where, 0, f"golden case {case.name!r} has a slash; expected a plain name")
        for part in PARTS:
            for name, value in getattr(case, part).items():
                for key, array in flatten(value, f"{part}.{name}").items():
                    arrays[f"{case.name}/{key}"] = checked(array, f"{case.name}: {key}", where)
    return arrays


def checked(array: np.ndarray, what: str, where: str) -> np.ndarray:
    """The array, little-endian and in C order, or a Problem where it could only be stored as a pickle."""
    if array.dtype.kind not in "fciubU":
        raise Problem(where, 0, f"golden {what} is of type {array.dtype}; expected numbers or text")
    return np.ascontiguousarray(array).reshape(array.shape).astype(array.dtype.newbyteorder("<"))


def as_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz file, the same bytes for the same arrays: sorted, uncompressed, one fixed date."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, arrays[key], version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(key + ".npy", (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, entry.getvalue())
    return buffer.getvalue()


def arrays_hash(arrays: dict[str, np.ndarray]) -> str:
    """A hash of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = arrays[key]
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def text_hash(path: Path) -> str:
    """A hash of a Python file without comments and blank lines: an equation's new number changes nothing."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return hashlib.sha256("\n".join(x.rstrip() for x in lines if x.strip()).encode()).hexdigest()


def manifest_path() -> Path:
    """golden/manifest.json."""
    return ROOT / "golden" / "manifest.json"


def read_manifest() -> dict:
    """golden/manifest.json, or an empty one."""
    path = manifest_path()
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Problem("golden/manifest.json", getattr(error, "lineno", 0),
                      f"not JSON ({error.args[0]}); run: make golden") from None


def replace(path: Path, data: bytes) -> bool:
    """Write a file in one step, if that changes it."""
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
    return True


def write(package: str) -> None:
    """The golden file of a topic and its entry in the manifest.

    Where the stored values agree with the new ones to 1e-10 and nothing else changed, they are kept: another
    machine's last digit is no reason for a new file.
    """
    arrays = compute(package)
    path = ROOT / "golden" / f"t{number(package):02d}.npz"
    stored = read_arrays(path)
    kept = stored is not None and not differences(stored, arrays)
    entry = {"seed": [SEED, number(package)], "numpy": np.__version__, "torch": torch_version(),
             "arrays": arrays_hash(stored if kept else arrays), "cases": case_count(arrays),
             "level4": text_hash(ROOT / "tangled" / package / f"{LEVEL4}.py")}
    manifest = read_manifest()
    before = manifest.get(package, {})
    if kept and before.get("arrays") == entry["arrays"]:
        entry |= {name: before.get(name) for name in ("numpy", "torch")}    # what made them
    changed = not kept and replace(path, as_npz(arrays))
    manifest[package] = entry
    changed |= store_manifest(manifest)
    size = path.stat().st_size
    print(f"golden/{path.name}: {entry['cases']} cases, {size / 1000:.0f} kB"
          + ("" if changed else ", unchanged"))


def case_count(arrays: dict) -> int:
    return len({key.partition("/")[0] for key in arrays})


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a golden file, None where it is missing or broken."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except UNREADABLE:
        return None


def differences(stored: dict, fresh: dict) -> list[str]:
    """In which arrays two sets differ by more than 1e-10, relative to the largest entry."""
    found = [f"{key} is {'missing' if key in fresh else 'no longer made'}"
             for key in sorted(stored.keys() ^ fresh)]
    for key in sorted(stored.keys() & fresh):
        a, b = stored[key], fresh[key]
        if a.dtype != b.dtype or a.shape != b.shape:
            found.append(f"{key} is {a.dtype}{list(a.shape)}, level 4 makes {b.dtype}{list(b.shape)}")
        elif a.dtype.kind not in "fc":
            found += [f"{key} differs"] * (not np.array_equal(a, b))
        elif not np.allclose(a, b, rtol=0, atol=TOLERANCE * max(1.0, largest(b)), equal_nan=True):
            found.append(f"{key} differs by {np.nanmax(np.abs(a - b)):.2g}")
    return found


def largest(array: np.ndarray) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0


def check(packages: list[str], whole: bool = True) -> list[Problem]:
    """What is wrong with the golden files of some topics: missing, corrupt or stale."""
    manifest, found = read_manifest(), []
    for package in packages:
        found += check_topic(package, manifest.get(package))
    if whole:
        known = {f"t{number(p):02d}.npz" for p in packages}
        found += [Problem(f"golden/{p.name}", 0, "belongs to no topic with golden cases; delete it")
                  for p in sorted((ROOT / "golden").glob("*.npz")) if p.name not in known]
        found += [Problem("golden/manifest.json", 0, f"names {p}, which has no golden cases; "
                          "run: make golden") for p in manifest if p not in packages]
    return found


def check_topic(package: str, entry: dict | None) -> list[Problem]:
    """The problems of one topic's golden file."""
    topic = number(package)
    path = ROOT / "golden" / f"t{topic:02d}.npz"
    shown, again = f"golden/{path.name}", f"run: make golden TOPIC={topic}"
    if not path.is_file():
        return [Problem(shown, 0, f"missing; {again}")]
    arrays = read_arrays(path)
    if arrays is None:
        return [Problem(shown, 0, f"cannot be read as an .npz file without pickle; {again}")]
    if entry is None:
        return [Problem(shown, 0, f"not in golden/manifest.json; {again}")]
    if arrays_hash(arrays) != entry.get("arrays"):
        return [Problem(shown, 0, f"its arrays are not those of golden/manifest.json; {again}")]
    level4 = f"tangled/{package}/{LEVEL4}.py"
    if text_hash(ROOT / level4) != entry.get("level4"):
        return [Problem(level4, 0, f"changed since {shown} was made; {again}")]
    if torch_version():
        return [Problem(shown, 0, f"{text}; {again}") for text in differences(arrays, compute(package))[:5]]
    return []
