# Tangled from chapters/b-data.qmd; edit the chapter, then run make tangle. sha256:c37f9284ad2b708d
"""Archives and pickles from outside, read without running them or leaving their folder."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import pickle
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from tangled.data import wrong

BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error,
          struct.error, EOFError, NotImplementedError, FileExistsError, NotADirectoryError)


def safe_extract(archive, folder, limit=1 << 31, count=10_000):
    """Unpack a .zip, .tar or .tar.gz into a new folder: all of it, or nothing.

    Parameters
    ----------
    archive : str or Path
    folder : str or Path, which must not exist yet
    limit : int, the most bytes to unpack
    count : int, the most members to unpack

    Returns
    -------
    list of str, the files' names inside `folder`

    Raises
    ------
    ValueError
        for a name that leads out, a link, a device, a name used twice, too much data, a
        broken archive; `folder` is then not made
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder}: found something; expected a name that is free")
    folder.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        names = unpack(archive, workshop, limit, count)
        workshop.chmod(0o755)
        workshop.rename(folder)
    except BROKEN as broken:
        raise wrong(archive, broken, "a sound .zip, .tar or .tar.gz") from None
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return names


def unpack(archive, workshop, limit, count):
    """Write the members of an archive below `workshop`; return the names of the files."""
    seen, files, left = set(), [], limit
    for name, file in members(archive, limit):
        path = workshop / check_name(archive, name)
        if len(seen) == count or (file and name.casefold() in seen):
            raise wrong(archive, f"{name!r}", f"different names, {count} at most")
        seen.add(name.casefold())
        if not file:
            path.mkdir(parents=True, exist_ok=True)
            continue
        files.append(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with file, open(path, "xb") as out:           # x: never over what is there
            while piece := file.read(1 << 16):
                left -= len(piece)
                if left < 0:
                    raise wrong(archive, f"more than {limit} bytes", "at most that")
                out.write(piece)
    return files


def check_name(archive, name):
    """A member's name, if it stays below the folder it is unpacked in, on any system."""
    parts = PurePosixPath(name).parts
    bad = not parts or parts[0] == "/" or ".." in parts or any(mark in name for mark in "\\:\0")
    if bad:
        raise wrong(archive, f"the name {name!r}", "a relative path without .. \\ : or NUL")
    return name


def members(archive, limit):
    """Yield (name, open file, or None for a folder) for each member of an archive."""
    with open(archive, "rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\3\4":
            yield from zip_members(archive, file)
        else:
            stream = gzip.GzipFile(fileobj=file) if start[:2] == b"\x1f\x8b" else file
            yield from tar_members(archive, Bounded(stream, archive, limit))


def tar_members(archive, stream):
    """The members of a tar, if they are regular files and folders."""
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise wrong(archive, f"{member.name!r} of the type {member.type!r}",
                            "files and folders, no links, no devices")
            yield member.name, None if member.isdir() else tar.extractfile(member)


def zip_members(archive, file):
    """The members of a zip, if they are regular files and folders, not encrypted."""
    with zipfile.ZipFile(file) as bundle:
        for member in bundle.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
                raise wrong(archive, f"{member.filename!r}, special or encrypted",
                            "files and folders, no links, no devices")
            yield member.filename, None if member.is_dir() else bundle.open(member)


class Bounded(io.RawIOBase):
    """A stream that raises ValueError rather than give more than `limit` bytes and headers."""

    def __init__(self, file, archive, limit):
        self.file, self.archive, self.limit = file, archive, limit
        self.left = limit + (16 << 20)                # a tar's headers and padding

    def read(self, size=-1):
        piece = self.file.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(piece)
        if self.left < 0:
            raise wrong(self.archive, f"more than {self.limit} bytes", "at most that")
        return piece


def read_pickled_arrays(path, limit=1 << 29):
    """Read a pickle of plain values and arrays of numbers; run nothing.

    Parameters
    ----------
    path : str or Path
    limit : int, the largest file to accept, in bytes

    Returns
    -------
    dict, list, tuple, str, bytes, number, None or ndarray; Python 2's str come as bytes

    Raises
    ------
    ValueError
        naming the file and the first thing in it that is something else
    """
    path = Path(path)
    if path.stat().st_size > limit:
        raise wrong(path, f"{path.stat().st_size} bytes", f"at most {limit}")
    try:
        return finished(ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load(), {})
    except Exception as broken:                       # whatever a mangled program leads to
        found = f"{type(broken).__name__} {broken}"
        raise wrong(path, found, "a pickle of plain values and arrays") from None


class ArraysOnly(pickle._Unpickler):
    """The pickle machine, able to call our stand-ins and nothing else.

    The one in pure Python: its memo is a dict, so that a file can't reserve memory by
    writing a large index.
    """

    def find_class(self, module, name):
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
            if name in ("ndarray", "_reconstruct"):
                return PickledArray
            if name == "dtype":
                return PickledType
        raise pickle.UnpicklingError(f"the name {module}.{name}")

    def get_extension(self, code):
        raise pickle.UnpicklingError(f"the extension {code}")

    def persistent_load(self, pid):
        raise pickle.UnpicklingError(f"the reference {pid!r}")


NUMBERS = {"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"}


class PickledType:
    """Stands in for numpy.dtype: keeps the code, such as u1, and the byte order."""

    def __init__(self, code, align=False, copy=False):
        self.code, self.order = code, "|"

    def __setstate__(self, state):
        self.order = state[1]

    def dtype(self):
        code, order = (x if isinstance(x, str) else x.decode() for x in (self.code, self.order))
        if code not in NUMBERS:
            raise pickle.UnpicklingError(f"an array of type {code!r}")
        return np.dtype(code).newbyteorder("=" if order == "|" else order)


class PickledArray:
    """Stands in for numpy.ndarray: keeps the parts until all are there and can be checked."""

    def __init__(self, *_):
        self.state = None

    def __setstate__(self, state):
        self.state = state

    def array(self):
        """The ndarray, if shape, type and data agree."""
        _, shape, kind, fortran, data = self.state
        dtype = kind.dtype()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise pickle.UnpicklingError(f"{len(data)} bytes for the shape {shape}")
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        return array.astype(dtype.newbyteorder("="))


def finished(value, done):
    """A value with arrays for their stand-ins; `done` holds what was met before, by id."""
    if id(value) not in done:
        if isinstance(value, PickledArray):
            new = value.array()
        elif isinstance(value, dict):
            new = {finished(key, done): finished(item, done) for key, item in value.items()}
        elif isinstance(value, (list, tuple)):
            new = type(value)(finished(item, done) for item in value)
        elif isinstance(value, (str, bytes, int, float, type(None))):
            new = value
        else:
            raise pickle.UnpicklingError(f"a value of type {type(value).__name__}")
        done[id(value)] = new
    return done[id(value)]
