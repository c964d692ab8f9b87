"""`make verify-setup`: what is there, what is missing, and the command that installs it.

Exit status 1 only where something is missing that `make test` or `make render` needs. Runs with any Python,
in `.venv` or out of it, and imports a package only to look at it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from scripts import requirements

OLDEST = (3, 10)
ROOM = 2 * 1024 ** 3                                # free space that a set-up with PyTorch wants
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
NEEDED = {"core": "everything", "test": "make test", "book": "make render, make test"}
REQUIRED = ("core", "test", "book")
SET_UP = f"{'py' if os.name == 'nt' else 'python3'} scripts/bootstrap.py"       # works with make and without


@dataclass
class Line:
    """One line of the report: `state` is ok, missing or note; `fix` the command that helps."""

    state: str
    what: str
    fix: str = ""


def report(root: Path) -> list[tuple[str, list[Line]]]:
    """All sections as (heading, lines)."""
    return [("Python", python_lines(root)), ("Packages", package_lines(root)),
            ("Linear algebra", blas_lines()), ("Data", data_lines(root)), ("Optional", optional_lines()),
            ("This folder", folder_lines(root))]


def python_lines(root: Path) -> list[Line]:
    version = "{}.{}.{}".format(*sys.version_info[:3])
    lines = [Line("ok", f"Python {version} at {sys.executable}") if sys.version_info >= OLDEST else
             Line("missing", f"Python {version}; 3.10 or newer is needed", "install a newer Python")]
    if not (root / ".venv").is_dir():
        lines.append(Line("missing", "no .venv yet; any verb makes it", "make setup"))
    elif Path(sys.prefix).resolve() != (root / ".venv").resolve():
        lines.append(Line("note", f"this is not the Python of .venv, but of {sys.prefix}"))
    lock = root / "requirements.lock"
    if not lock.is_file():
        lines.append(Line("note", "requirements.lock is not there; the newest versions in range are taken"))
    elif not requirements.locked(root):
        lines.append(Line("note", "requirements.lock was made with another Python; ranges are used instead"))
    return lines


def package_lines(root: Path) -> list[Line]:
    """What the core and the extras that every reader needs ask for, with the versions installed."""
    try:
        table = requirements.ranges(root)
    except (OSError, ImportError, KeyError, ValueError) as error:
        return [Line("missing", f"pyproject.toml can't be read: {error}")]
    lines = []
    for extra in REQUIRED:
        wanted = table.get(extra, [])
        states = [judge(text) for text in wanted]
        states = [state for state in states if state]
        bad = [text for good, text in states if not good]
        serves = f"{extra} ({NEEDED.get(extra, extra)})"
        if not bad:
            lines.append(Line("ok", f"{serves}: " + ", ".join(text for _, text in states)))
        else:
            lines.append(Line("missing", f"{serves}: " + ", ".join(bad), f"{SET_UP} {extra}"))
    return lines


def judge(text: str) -> tuple[bool, str] | None:
    """(whether a requirement is met, in words), or None where it is not for this Python."""
    if requirements.Requirement is None:
        name = re.match(r"[\w.-]+", text)[0]
        version = requirements.installed(name)
        return version is not None, f"{name} {version or 'not installed'}"
    need = requirements.Requirement(text)
    if not requirements.applies(need):
        return None
    version = requirements.installed(need.name)
    if version is None:
        return False, f"{need.name}{need.specifier} is not installed"
    if not need.specifier.contains(version, prereleases=True):
        return False, f"{need.name} {version} is outside {need.specifier}"
    return True, f"{need.name} {version}"


def blas_lines() -> list[Line]:
    """The library behind NumPy's matrix products, and how many threads it may use."""
    try:
        import numpy as np
    except ImportError as error:
        return [Line("note", f"NumPy can't be imported: {error}")]
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        name = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    except Exception:                               # the layout of this table is NumPy's own affair
        name = "unknown"
    told = [f"{key}={os.environ[key]}" for key in THREADS if os.environ.get(key)]
    return [Line("ok", f"BLAS {name}; {', '.join(told) if told else 'threads not limited'}; "
                       f"{os.cpu_count()} cores (measurements use one thread)")]


def data_lines(root: Path) -> list[Line]:
    """Each file of data/MANIFEST.tsv: there, whole and unchanged?"""
    try:
        rows = (root / "data" / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return [Line("missing", "data/MANIFEST.tsv is not there", "git checkout -- data")]
    lines, good, size = [], 0, 0
    for name, _, wanted in (row.split("\t")[:3] for row in rows if row.strip()):
        path = root / "data" / name
        if not path.is_file():
            lines.append(Line("missing", f"data/{name} is not there", f"git checkout -- data/{name}"))
        elif sha256(path) != wanted:
            lines.append(Line("missing", f"data/{name} has changed (sha256 differs from data/MANIFEST.tsv)",
                              f"git checkout -- data/{name}"))
        else:
            good, size = good + 1, size + path.stat().st_size
    return [Line("ok", f"{good} files, {size / 1e6:.1f} MB, sha256 as in data/MANIFEST.tsv"), *lines]


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def optional_lines() -> list[Line]:
    version = requirements.installed("torch")
    torch = Line("ok", f"PyTorch {version}: level 4 is tested too") if version else Line(
        "note", "PyTorch is not installed: level 4 is skipped", f"{SET_UP} reference")
    return [torch, quarto_line()]


def quarto_line() -> Line:
    quarto = shutil.which("quarto")
    if quarto is None:
        return Line("note", "Quarto (1.9 or newer) is not on the PATH: the embedded typesetter is used",
                    "only if you want it: https://quarto.org/docs/get-started")
    try:
        told = subprocess.run([quarto, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        told = ""
    told = told.strip()
    numbers = [int(part) for part in re.findall(r"\d+", told)[:2]]
    fits = numbers >= [1, 9]
    return Line("ok" if fits else "note", f"Quarto {told or 'that does not say its version'} at {quarto}"
                + ("" if fits else "; 1.9 or newer is needed, so the embedded typesetter is used"))


def folder_lines(root: Path) -> list[Line]:
    free = shutil.disk_usage(root).free
    lines = [Line("ok" if free > ROOM else "note", f"{free / 1e9:.0f} GB free" + (
        "" if free > ROOM else "; a set-up with PyTorch wants 2 GB"))]
    for name in (".", "build", "_book", "workspace"):
        folder = root / name
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            lines.append(Line("missing", f"{name}/ can't be written to", f"sudo chown -R $USER {name}"))
    if len(lines) == 1:
        lines.append(Line("ok", "can be written to"))
    return lines


def main(argv: list[str], root: Path = Path(".")) -> int:
    if argv:
        print("usage: python -m scripts verify-setup", file=sys.stderr)
        return 2
    sections = report(root)
    width = max(60, min(110, shutil.get_terminal_size((100, 24)).columns - 1))
    for heading, lines in sections:
        print(heading)
        for line in lines:
            print(textwrap.fill(line.what, width, initial_indent=f"  {line.state:8s}",
                                subsequent_indent=" " * 10, break_on_hyphens=False))
            if line.fix and line.state != "ok":
                print(f"{'':10s}-> {line.fix}")
    missing = sum(line.state == "missing" for _, lines in sections for line in lines)
    print()
    print(f"{missing} thing{'s' * (missing != 1)} missing that make test or make render needs." if missing
          else "All that make test and make render need is here.")
    return 1 if missing else 0
