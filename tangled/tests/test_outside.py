# Tangled from chapters/b-data.qmd; edit the chapter, then run make tangle. sha256:791a40a88f10297d
import io
import os
import pickle
import struct
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tangled.outside import read_pickled_arrays, safe_extract


def tar_of(*entries, mode="w:gz"):
    """A tar as bytes, of entries (name, bytes) or TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for entry in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry[0])
            body = b"" if info is entry else entry[1]
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def zip_of(*entries):
    """A zip as bytes, of entries (name, bytes) or (ZipInfo, bytes)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, body in entries:
            bundle.writestr(name, body)
    return out.getvalue()


def special(name, kind, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link(name):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def encrypted(archive):
    """The same zip, its only member marked as encrypted in both places."""
    archive = bytearray(archive)
    archive[6] |= 1
    archive[archive.index(b"PK\1\2") + 8] |= 1
    return bytes(archive)


GOOD = ("a/b.txt", b"hello")
OUT = Path(tempfile.gettempdir(), f"evil-{os.getppid()}").as_posix()
NAMES = [OUT, "../evil", "a/../../evil", "..\\evil", "C:evil", "a/../b"]
EVIL = {f"{make.__name__} {name}": make(GOOD, (name, b"x")) for name in NAMES
        for make in (tar_of, zip_of)}
EVIL |= {
    "symbolic link": tar_of(special("out", tarfile.SYMTYPE, os.path.dirname(OUT)),
                            ("out/" + os.path.basename(OUT), b"x")),
    "hard link": tar_of(special("out", tarfile.LNKTYPE)),
    "device": tar_of(special("null", tarfile.CHRTYPE)),
    "pipe": tar_of(special("pipe", tarfile.FIFOTYPE)),
    "sparse file": tar_of(special("holes", tarfile.GNUTYPE_SPARSE)),
    "zip with a link": zip_of((zip_link("out"), b"/tmp")),
    "encrypted zip": encrypted(zip_of(GOOD)),
    "same name": tar_of(GOOD, ("A/B.TXT", b"other")),
    "a file as a folder": tar_of(("a", b"x"), ("a/b", b"y")),
    "too much in a tar": tar_of(("zeros", bytes(1 << 21))),
    "too much in a zip": zip_of(("zeros", bytes(1 << 21))),
    "too much in a header": tar_of(("a/" + "x" * (20 << 20), b"")),
    "too many": tar_of(*((f"{i}", b"") for i in range(101))),
    "cut tar": tar_of(GOOD, ("c", bytes(range(256)) * 9))[:-30],
    "cut zip": zip_of(GOOD)[:-5],
    "damaged zip": zip_of(GOOD).replace(b"a/b.txt", b"a/c.txt", 1),
    "no archive": b"<html>404</html>" * 100,
    "empty": b"",
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_archives_leave_nothing(tmp_path, name):
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "evil.bin"
    archive.write_bytes(EVIL[name])
    with pytest.raises(ValueError, match=r"evil\.bin: found .*; expected "):
        safe_extract(archive, tmp_path / "in" / "out", limit=1 << 20, count=100)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["in", "in/evil.bin"]
    assert not os.path.exists(OUT)


@pytest.mark.parametrize("make", [tar_of, zip_of, lambda *e: tar_of(*e, mode="w")])
def test_good_archives_come_out_whole(tmp_path, make):
    (tmp_path / "good.bin").write_bytes(make(GOOD, ("c", b"\0" * 70_000)))
    assert safe_extract(tmp_path / "good.bin", tmp_path / "x" / "out") == ["a/b.txt", "c"]
    assert (tmp_path / "x" / "out" / "a" / "b.txt").read_bytes() == b"hello"
    assert (tmp_path / "x" / "out" / "c").read_bytes() == b"\0" * 70_000
    with pytest.raises(FileExistsError, match="out"):
        safe_extract(tmp_path / "good.bin", tmp_path / "x" / "out")


class Runs:
    """A value whose pickle calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ARRAYS = {b"data": np.arange(12, dtype=np.uint8).reshape(3, 4), b"labels": [1, 2.5, None, "x"],
          b"f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), b"e": np.arange(3, dtype=">i4")}


@pytest.mark.parametrize("protocol", [3, 4])
def test_pickled_arrays_come_back(tmp_path, protocol):
    (tmp_path / "good.pkl").write_bytes(pickle.dumps(ARRAYS, protocol))
    got = read_pickled_arrays(tmp_path / "good.pkl")
    assert list(got) == list(ARRAYS) and got[b"labels"] == ARRAYS[b"labels"]
    for key in (b"data", b"f", b"e"):
        np.testing.assert_array_equal(got[key], ARRAYS[key])
        assert got[key].dtype == ARRAYS[key].dtype.newbyteorder("=")


def test_a_pickle_of_python_2_comes_back(tmp_path):
    """Protocol 2 with byte strings, as in CIFAR-10's python version, written by hand."""
    text = lambda s: b"U" + bytes([len(s)]) + s
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\0K\1\x87R(K\3" + text(b"|") + \
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + \
        b"\x87R(K\1K\2K\2\x86" + dtype + b"\x89" + text(b"\1\2\3\4") + b"tb"
    (tmp_path / "old.pkl").write_bytes(b"\x80\2}(" + text(b"data") + array + b"u.")
    assert read_pickled_arrays(tmp_path / "old.pkl")[b"data"].tolist() == [[1, 2], [3, 4]]


def bomb():
    """A list of ten lists of ten lists ..., twenty deep: 10^20 entries in a short file."""
    value = []
    for _ in range(20):
        value = [value] * 10
    return value


EVIL_PICKLES = {
    "a command": lambda flag: Runs(os.system, f"touch {flag}"),
    "an expression": lambda flag: Runs(eval, f"open({flag!r}, 'w')"),
    "a command inside": lambda flag: {"data": [ARRAYS, Runs(os.mkdir, flag)]},
    "a load in a load": lambda flag: Runs(pickle.loads, pickle.dumps(Runs(os.mkdir, flag))),
    "a numpy function": lambda flag: Runs(np.save, flag, [1]),
    "objects in an array": lambda flag: np.array([Runs(os.mkdir, flag)], dtype=object),
    "a class": lambda flag: io.StringIO,
    "an array of dates": lambda flag: np.arange(3).astype("M8[s]"),
    "a set": lambda flag: {1, 2},
}


@pytest.mark.parametrize("name", EVIL_PICKLES)
def test_evil_pickles_run_nothing(tmp_path, name):
    flag = str(tmp_path / "flag.npy")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(EVIL_PICKLES[name](flag), 4))
    with pytest.raises(ValueError, match=r"evil\.pkl: found .*; expected a pickle of plain"):
        read_pickled_arrays(tmp_path / "evil.pkl")
    assert not os.path.exists(flag)
    if name == "a command":                               # the same file, read the usual way
        pickle.loads((tmp_path / "evil.pkl").read_bytes())
        assert os.path.exists(flag)


@pytest.mark.parametrize("body", [
    b"", b".", b"\x80\4", pickle.dumps(ARRAYS)[:-40], b"]" * 5 + b"0" * 9 + b".", b"\x80\4P1\n.",
    b"K\1r\xff\xff\xff\xff", b"\x82\1.", b"B\xff\xff\xff\x7fx.", b"}}s.",
    pickle.dumps(ARRAYS, 4).replace(struct.pack("<3B", 75, 3, 75), struct.pack("<3B", 75, 9, 75))])
def test_mangled_pickles_are_refused(tmp_path, body):
    (tmp_path / "bad.pkl").write_bytes(body)
    with pytest.raises(ValueError, match=r"bad\.pkl: found"):
        read_pickled_arrays(tmp_path / "bad.pkl")


def test_a_pickle_bomb_takes_no_time(tmp_path):
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps(bomb()))
    start = time.perf_counter()
    assert len(read_pickled_arrays(tmp_path / "bomb.pkl")) == 10
    assert time.perf_counter() - start < 5
    with pytest.raises(ValueError, match="expected at most 100"):
        read_pickled_arrays(tmp_path / "bomb.pkl", limit=100)
