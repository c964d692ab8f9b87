"""The Python that runs in a page: Pyodide, NumPy built for it and pytest, from pinned packages, into `.cache/`.

It is too large to be kept in version control and is made where it is wanted: `python -m scripts.typeset.page_python`,
or `make render`, which asks npm and pip for the packages once and does without where they cannot be had.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import marshal
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "page_python.txt"
PYODIDE = "0.24.1"
PYODIDE_SUM = "028563a8ecf77e48a520e54fff5b7d6c955f2f8a69387f42ca38969cdbf67eae"
NUMPY = "numpy-1.25.2-py311he9a3d86_2.tar.gz"
FOLDER = ".cache/page-python"
PARTS = ("core.js", "python.wasm", "stdlib.zip", "site.tar")     # each compressed, `.gz`
SITE = "lib/python3.11/site-packages/"
STDLIB = "/lib/python311.zip/"
MAGIC = b"\xa7\r\r\n"                                    # of CPython 3.11: only that one's bytecode is of use there
PYGMENTS = ("lexers/__init__", "lexers/_mapping", "lexers/diff", "lexers/python", "formatters/__init__",
            "formatters/_mapping", "formatters/terminal", "filters/__init__", "styles/__init__",
            "styles/_mapping", "styles/default")
SECONDS = 300


class Unavailable(Exception):
    """The packages cannot be had; the text says why, in one line."""


def parts(root: Path) -> list[Path]:
    """The compressed parts, or none where they have not been made as this module would make them."""
    folder = root / FOLDER
    stamp = folder / "stamp"
    made = stamp.is_file() and stamp.read_text() == recipe()
    return [folder / f"{name}.gz" for name in PARTS] if made else []


def recipe() -> str:
    """A digest of all that decides what the parts hold."""
    texts = (Path(__file__).read_bytes(), REQUIREMENTS.read_bytes(), importlib.util.MAGIC_NUMBER)
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def make(root: Path, say: Callable[[str], None] = lambda text: None) -> list[Path]:
    """The parts, fetched and made if need be. Raises Unavailable."""
    if found := parts(root):
        return found
    say("fetching the Python that runs in the pages (once, about 21 MB)")
    folder = root / FOLDER
    with tempfile.TemporaryDirectory(prefix="page-python-") as work:
        pyodide, wheels = fetch_pyodide(Path(work)), fetch_wheels(Path(work))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in contents(pyodide, wheels).items():
            (folder / f"{name}.gz").write_bytes(gzip.compress(data, 9, mtime=0))
    (folder / "stamp").write_text(recipe())
    return parts(root)


# -- fetching

def fetch_pyodide(work: Path) -> dict[str, bytes]:
    """The files of the npm package; its sum is checked here."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed, and Pyodide comes from nowhere else")
    called([npm, "pack", f"pyodide@{PYODIDE}", "--silent", "--fetch-retries=0", "--fetch-timeout=20000"], work, "npm")
    packed = (work / f"pyodide-{PYODIDE}.tgz").read_bytes()
    if (found := hashlib.sha256(packed).hexdigest()) != PYODIDE_SUM:
        raise Unavailable(f"pyodide {PYODIDE} has the sha256 {found}; expected {PYODIDE_SUM}")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {PurePosixPath(m.name).name: archive.extractfile(m).read() for m in archive if m.isfile()}


def fetch_wheels(work: Path) -> list[Path]:
    """The wheels of page_python.txt; pip checks their sums."""
    called([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "0",
            "--timeout", "20", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(work),
            "--requirement", str(REQUIREMENTS)], work, "pip")
    return sorted(work.glob("*.whl"))


def called(command: list[str], work: Path, name: str) -> None:
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{name} did not end: {error}") from None
    if done.returncode:
        lines = [x for x in (done.stderr or done.stdout).split("\n") if x.strip() and "WARN" not in x]
        raise Unavailable(f"{name} failed: {lines[0][:150] if lines else done.returncode}")


# -- putting together

def contents(pyodide: dict[str, bytes], wheels: list[Path]) -> dict[str, bytes]:
    """The parts as they are before compression."""
    return {"core.js": pyodide["pyodide.asm.js"] + b"\n" + pyodide["pyodide.js"],
            "python.wasm": pyodide["pyodide.asm.wasm"],
            "stdlib.zip": stdlib(pyodide["python_stdlib.zip"]),
            "site.tar": site([pair for wheel in wheels for pair in files_of(wheel)])}


def stdlib(data: bytes) -> bytes:
    """The standard library with its modules compiled: a page need not do it at each start."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            name, text = compiled(entry.filename, old.read(entry), STDLIB + entry.filename)
            new.writestr(zipfile.ZipInfo(name, (2023, 1, 1, 0, 0, 0)), text)
    return out.getvalue()


def site(files: list[tuple[str, bytes]]) -> bytes:
    """What is installed beside it, as a tar file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in sorted(files):
            name, data = compiled(path, data, "/" + path)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def compiled(name: str, data: bytes, place: str) -> tuple[str, bytes]:
    """A module as bytecode, if this Python makes the right one; everything else as it is."""
    if not name.endswith(".py") or importlib.util.MAGIC_NUMBER != MAGIC:
        return name, data
    try:
        code = compile(data, place, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return name, data
    return name + "c", MAGIC + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)   # hash-based, unchecked


def files_of(wheel: Path) -> list[tuple[str, bytes]]:
    """(path, data) of what is wanted of one wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if PurePosixPath(name).name == NUMPY:
                return numpy_files(archive.read(name))
        return [(SITE + name, archive.read(name)) for name in archive.namelist() if is_wanted(name)]


def is_wanted(name: str) -> bool:
    """Pygments without its many lexers, everything else with its licence."""
    if name.startswith("pygments/") and name.count("/") > 1:
        return name.removeprefix("pygments/").removesuffix(".py") in PYGMENTS
    return name.endswith((".py", "METADATA", "entry_points.txt")) or "LICENSE" in name


def numpy_files(data: bytes) -> list[tuple[str, bytes]]:
    """NumPy without its tests and what compiles."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            name = member.name
            left = any(f"/{part}/" in name for part in ("tests", "f2py", "distutils")) or "_simd.cpython" in name or (
                "_tests.cpython" in name and "_multiarray_tests" not in name)
            if member.isfile() and name.startswith("lib/") and name.endswith((".py", ".so", "METADATA")) and not left:
                found.append((name, archive.extractfile(member).read()))
    return found


def main() -> int:
    try:
        for path in make(Path.cwd(), print):
            print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    except Unavailable as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
