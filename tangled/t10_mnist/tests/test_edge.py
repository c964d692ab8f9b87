# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:31497911c3ca06a2
"""Chapter 10: broken files, what is empty, extreme or refused."""

import gzip
import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest

from tangled.data import IDX_TYPES, read_idx
from tangled.measuring import peak_memory
from tangled.testing import assert_close, assert_dtypes, expect_value_error, rng

pytestmark = pytest.mark.edge
reading = pytest.mark.levels(1, 2, 3)


def idx(array, code=8, magic=None, sizes=None):
    """The bytes of an IDX file."""
    head = bytes([0, 0, code, array.ndim]) if magic is None else magic
    sizes = array.shape if sizes is None else sizes
    return head + struct.pack(f">{len(sizes)}I", *sizes) + array.tobytes()


def refused(level, path, data, *words, **options):
    """The file is refused in a line that has all these words, and its name."""
    path.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        level.read_idx(path, **options)
    assert str(caught.value).startswith(str(path)), f"{caught.value} names no file first"
    for word in ("expected", *words):
        assert word in str(caught.value), f"no {word!r} in {caught.value}"


@reading
def test_wrong_files(level, tmp_path):
    """Each in one way: magic, header, data, what trails; plain and zipped."""
    array = rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    good = idx(array)
    cases = {"empty": (b"", "(none)"), "short": (good[:3], "00 00 08"),
             "first": (b"\1" + good[1:], "01 00 08 03"), "kind": (idx(array, 7), "00 00 07 03"),
             "axes": (idx(array, magic=b"\0\0\x08\0"), "00 00 08 00"),
             "header": (good[:13], "13 bytes", "16"), "cut": (good[:-7], "53 bytes", "60"),
             "longer": (good + b"\0\0", "60"), "claim": (idx(array, sizes=(9, 4, 5)), "180")}
    for name, (data, *words) in cases.items():
        refused(level, tmp_path / f"{name}-idx", data, *words)
        refused(level, tmp_path / f"{name}-idx.gz", gzip.compress(data), *words)


@reading
def test_claims_beyond_reason(level, tmp_path):
    """Sizes whose product overflows 64 bits, or fits no memory, are refused and not tried."""
    for sizes in ((2**31, 2**31, 4), (2**32 - 1, 2**16, 2**16), (60_000, 28, 28)):
        array = np.zeros((1, 1, 1), np.uint8)
        for name, pack in (("plain-idx", bytes), ("zipped-idx", gzip.compress)):
            refused(level, tmp_path / name, pack(idx(array, sizes=sizes)))


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    """A thousandth of what they unfold to: behind ten labels 16, 24, 32 and 48 MB, and 128 MB announced in full."""
    folder, found = tmp_path_factory.mktemp("bombs"), []
    for megabytes, size in ((16, 10), (24, 10), (32, 10), (48, 10), (128, 1 << 27)):
        found.append(folder / f"{megabytes}-idx.gz")
        with gzip.open(found[-1], "wb", 6) as file:
            file.write(idx(np.zeros(0, np.uint8), sizes=(size,), magic=b"\0\0\x08\1"))
            for _ in range(megabytes):
                file.write(bytes(1 << 20))
    return found


@reading
def test_bombs(level, bombs):
    """They are refused before they are unfolded: never as much as 8 MB."""
    def peak(path, said, **options):
        def attempt():
            with pytest.raises(ValueError, match=said):
                level.read_idx(path, **options)
        return peak_memory(attempt) >> 23
    *trailing, announced = bombs
    peaks = [peak(path, "10 for the shape") for path in trailing]
    peaks.append(peak(announced, "at most 1048576", limit=1 << 20))
    assert_close(np.array(peaks), np.zeros(5, int), tol=0, what="memory in units of 8 MB")


@reading
def test_limit(level, tmp_path):
    """Bytes of data, not entries, not of the file; as many as the limit are read."""
    path, array = tmp_path / "some-idx", rng(2).integers(0, 1000, (3, 7)).astype(">i2")
    path.write_bytes(idx(array, 0x0B))
    assert_close(level.read_idx(path, limit=42), array.astype("i2"), what="the array")
    refused(level, path, path.read_bytes(), "at most", limit=41)
    for limit in (-1, 1.5, None, True):
        expect_value_error("limit", level.read_idx, path, limit=limit)


@reading
def test_broken_gzip(level, tmp_path):
    """Cut anywhere, or a bit changed anywhere: refused; or it was a bit of padding."""
    array, same = rng(1).integers(0, 256, (4, 25), dtype=np.uint8), 0
    path = tmp_path / "changed-idx.gz"
    for compression in (0, 9):                      # 0: stored, only the checksum can tell
        zipped = gzip.compress(idx(array), compression, mtime=0)
        for end in range(2, len(zipped) - 1, 9):
            refused(level, tmp_path / "cut-idx.gz", zipped[:end], "whole")
        for place in range(10, len(zipped), 7):
            path.write_bytes(zipped[:place] + bytes([zipped[place] ^ 0x10]) + zipped[place + 1:])
            try:
                assert np.array_equal(level.read_idx(path), array)
                same += 1
            except ValueError as error:
                assert path.name in str(error) and "expected" in str(error)
    assert same <= 2, f"{same} changed files were read without a complaint"


@reading
def test_missing_file(level, tmp_path):
    """A FileNotFoundError that names it."""
    with pytest.raises(FileNotFoundError, match="absent-idx"):
        level.read_idx(tmp_path / "absent-idx")


@reading
@pytest.mark.parametrize("shape", [(7,), (0,), (2, 0, 3, 0), (3, 4), (1, 2, 3, 2)])
def test_agrees_with_the_shipped_reader(level, tmp_path, shape):
    """Every type, plain and zipped: equal values, native byte order, writable."""
    for code, kind in IDX_TYPES.items():
        array = (100 * rng(code).standard_normal(shape)).astype(kind[-2:] if kind == "u1" else kind)
        for name, pack in (("plain-idx", bytes), ("zipped-idx", gzip.compress)):
            path = tmp_path / name
            path.write_bytes(pack(idx(array, code)))
            got, expected = level.read_idx(path), read_idx(path)
            assert got.dtype == expected.dtype and got.dtype.isnative and got.flags.writeable
            assert_close(np.array(got.shape), np.array(shape), tol=0, what="sizes of the axes")
            assert np.array_equal(got, expected) and np.array_equal(got, array)


def test_no_pictures(level):
    """No pictures, no rows; no statistics of nothing, no accuracy of nothing."""
    none = np.empty((0, 28, 28), np.uint8)
    assert_close(level.prepare(none, 0.0, 1.0), np.empty((0, 784), np.float32), what="x")
    expect_value_error("images", level.pixel_statistics, none)
    expect_value_error("target", level.accuracy, np.empty(0, int), np.empty(0, int))
    counts = level.confusion_matrix(np.empty(0, int), np.empty(0, int), 3)
    assert_close(counts, np.zeros((3, 3), np.int64), what="counts")
    logits = np.empty((0, 3))
    assert level.worst_mistakes(logits, np.empty(0, int), 5).shape == (0,)


@reading
def test_no_batches(level):
    """predict on nothing is refused by name; one sample is a batch like any other."""
    model = level.build_model(rng(0), (4, 3, 2))
    expect_value_error("loader", level.predict, model, [])
    picture = np.zeros((1, 2, 2), np.uint8)
    logits, target = level.predict(model, level.make_loader(picture, np.array([1]), 8, 0.0, 1.0))
    assert logits.shape == (1, 2) and target.tolist() == [1]


def test_a_class_that_never_occurs(level):
    """0/0 is NaN and no warning; a class that occurs and is never found has a recall of 0."""
    counts = np.array([[3, 1, 0], [2, 0, 0], [0, 0, 0]])
    with np.errstate(all="raise"):
        precision, recall = level.precision_recall(counts)
    assert_close(precision, np.array([0.6, 0.0, np.nan]), what="precision")
    assert_close(recall, np.array([0.75, 0.0, np.nan]), what="recall")


def test_extreme_logits(level):
    """Losses of thousands are ranked without overflow; a confident right answer is no mistake."""
    logits = np.array([[0, 1e4, 0], [5, 0, 0], [0, 2e4, 0], [1e4, 0, 0]])
    target = np.array([0, 2, 2, 0])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert level.worst_mistakes(logits, target, 9).tolist() == [2, 0, 1]
        assert level.worst_mistakes(logits.astype(np.float32), target, 2).tolist() == [2, 0]
    assert level.worst_mistakes(logits, target, 0).tolist() == []


def test_logits_of_every_kind(level):
    """float16 whose differences overflow it, and losses that differ in the tenth digit."""
    logits, target = 3 * rng(3).standard_normal((30, 4)), rng(4).integers(0, 4, 30)
    far = np.array([[6e4, -6e4, 0], [6e4, -5e4, 0], [-6e4, 6e4, 1]])
    extremes = [(far, np.array([1, 1, 0]), 5)]
    assert_dtypes(level.worst_mistakes, (logits, target, 7), extremes=extremes)
    close = np.array([[0, 9 + 1e-9], [0, 9], [0, 9 + 2e-9]])
    assert_close(level.worst_mistakes(close, np.zeros(3, int), 3), np.array([2, 0, 1]), what="worst")


def test_ties_keep_their_order(level):
    """Equal losses: the earlier sample first."""
    logits = np.tile([[0.0, 1.0], [0.0, 2.0], [0.0, 1.0]], (100, 1))
    found = level.worst_mistakes(logits, np.zeros(300, int), 250).tolist()
    assert found == list(range(1, 300, 3)) + [n for n in range(300) if n % 3 != 1][:150]


def test_refuses_pictures_that_are_none(level):
    """Floats, negative numbers, flat arrays: not what a file of pictures holds."""
    for images in (np.zeros((2, 4)), np.zeros((2, 4), np.int8), np.zeros(4, np.uint8)):
        expect_value_error("images", level.prepare, images, 0.0, 1.0)
        expect_value_error("images", level.pixel_statistics, images)
    images = np.zeros((2, 4), np.uint8)
    assert_close(np.array(level.pixel_statistics(images[:1])), np.zeros(2), what="of one picture")
    for mean in (np.nan, np.inf, "0", True):
        expect_value_error("mean", level.prepare, images, mean, 1.0)
    for std in (0, 0.0, -1.0, np.nan, None):
        expect_value_error("std", level.prepare, images, 0.0, std)


def test_refuses_labels_that_are_none(level):
    """Out of range, of unequal length, floats: by name."""
    good = np.array([0, 1, 2])
    expect_value_error("predicted", level.confusion_matrix, good, good[:2], 3)
    expect_value_error("target", level.confusion_matrix, good, 0 * good, 2)
    expect_value_error("predicted", level.confusion_matrix, 0 * good, good - 1, 3)
    expect_value_error("target", level.accuracy, good.astype(float), good)
    expect_value_error("predicted", level.accuracy, good, good[:, None])
    expect_value_error("classes", level.confusion_matrix, good, good, 0)
    for confusion in (np.ones((2, 3), int), np.ones((2, 2)), -np.ones((2, 2), int)):
        expect_value_error("confusion", level.precision_recall, confusion)
    logits = np.zeros((3, 3))
    expect_value_error("logits", level.worst_mistakes, logits[:2], good, 1)
    expect_value_error("target", level.worst_mistakes, logits[:, :2], good, 1)
    expect_value_error("k", level.worst_mistakes, logits, good, -1)


@reading
def test_refuses_invalid_parts(level):
    """Widths, steps, pairs of unequal length."""
    for widths in ((4,), 4, (4, 0), (4, 2.0)):
        expect_value_error("widths", level.build_model, rng(0), widths)
    model, images = level.build_model(rng(0), (4, 3, 2)), np.zeros((3, 2, 2), np.uint8)
    for steps in (0, 1.0, None):
        expect_value_error("steps", level.build_engine, model, steps)
    expect_value_error("arrays", level.make_loader, images, np.zeros(2, int), 2, 0.0, 1.0)
    expect_value_error("batch_size", level.make_loader, images, np.zeros(3, int), 0, 0.0, 1.0)
    expect_value_error("epochs", level.train, level.build_engine(model, 3), [], 0)
    good = np.array([0, 1, 1])
    for first, second in ((good[:2], good), (good, good[:2]), (good, good[:1])):
        expect_value_error("predicted", level.mcnemar, good, first, second)


class Arrays:
    """Something with a state."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def state_dict(self):
        return self.arrays

    def load_state_dict(self, state):
        self.arrays = state


class Interrupted:
    """An array whose writing is interrupted."""

    def __array__(self, *args, **kwargs):
        raise KeyboardInterrupt


@reading
def test_broken_checkpoints(level, tmp_path):
    """Missing, foreign, cut, or changed in any byte of its data: one line that names it."""
    path, array = tmp_path / "some.npz", np.arange(50.0)
    with pytest.raises(FileNotFoundError, match=r"some\.npz"):
        level.load_checkpoint(path)
    level.save_checkpoint(path, {"model": Arrays(w=array)}, note="x")
    whole = path.read_bytes()
    for data in (b"", b"no archive", whole[:200], whole[:-30]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"some\.npz: .*expected") as caught:
            level.load_checkpoint(path)
        assert "\n" not in str(caught.value)
    start = whole.index(array.tobytes())
    for place in range(start, start + array.nbytes, 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
        with pytest.raises(ValueError, match="expected"):
            level.load_checkpoint(path)
    np.savez(path, w=array)
    with pytest.raises(ValueError, match=r"some\.npz: .*expected"):
        level.load_checkpoint(path)


@reading
def test_a_checkpoint_of_another_format(level, tmp_path):
    """What a later version writes is not read as though it were this one's."""
    path = tmp_path / "some.npz"
    level.save_checkpoint(path, {"a": Arrays(w=np.ones(2))})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    record = json.loads(members["record.json"])
    record["format"] += "0"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | {"record.json": json.dumps(record)}).items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"some\.npz: .*format.*expected"):
        level.load_checkpoint(path)


@reading
def test_a_checkpoint_of_somebody_else(level, tmp_path):
    """A whole file that `train` did not write has no history: one line that says so."""
    path = tmp_path / "some.npz"
    engine = level.build_engine(level.build_model(rng(0), (4, 3, 2)), 3)
    level.save_checkpoint(path, {"model": engine.model, "optimizer": engine.optimizer}, note="x")
    with pytest.raises(ValueError, match=r"some\.npz: .*note.*expected history"):
        level.train(engine, [], 2, path, progress=False)


@reading
def test_checkpoints_hold_no_objects(level, tmp_path):
    """What only a pickle could hold is refused, and the old file stays."""
    path = tmp_path / "some.npz"
    level.save_checkpoint(path, {"a": Arrays(w=np.ones(2))})
    with pytest.raises(ValueError):
        level.save_checkpoint(path, {"a": Arrays(w=np.array([{}]))})
    assert level.load_checkpoint(path).parts["a"]["w"].tolist() == [1, 1]


@reading
def test_checkpoints_run_nothing(level, tmp_path):
    """A pickle that somebody put into the archive is refused and not opened."""
    path, evil = tmp_path / "some.npz", io.BytesIO()
    level.save_checkpoint(path, {"a": Arrays(w=np.ones(2))})
    np.lib.format.write_array(evil, np.array([{}, None]), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/v.npy", evil.getvalue())
    with pytest.raises(ValueError, match=r"some\.npz: .*expected"):
        level.load_checkpoint(path)


@reading
def test_the_new_file_replaces_the_old_one(level, tmp_path):
    """It is moved into place, not written over: who has the old one open, still reads all of it."""
    path, other = tmp_path / "some.npz", tmp_path / "second name.npz"
    level.save_checkpoint(path, {"a": Arrays(w=np.ones(2))}, epoch=1)
    os.link(path, other)                        # a second name for the same bytes on the disk
    before = path.read_bytes()
    level.save_checkpoint(path, {"a": Arrays(w=np.zeros(2))}, epoch=2)
    assert level.load_checkpoint(path).record == {"epoch": 2}
    untouched = other.read_bytes() == before
    assert untouched, "the old checkpoint was written over; expected os.replace"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["second name.npz", "some.npz"]


@reading
def test_interrupted_while_writing(level, tmp_path):
    """In the middle of the second array: the old checkpoint is still there, and whole."""
    path = tmp_path / "some.npz"
    level.save_checkpoint(path, {"a": Arrays(v=np.ones(3), w=np.ones(2))}, epoch=1)
    before = np.frombuffer(path.read_bytes(), np.uint8)
    with pytest.raises(KeyboardInterrupt):
        level.save_checkpoint(path, {"a": Arrays(v=np.zeros(3), w=Interrupted())}, epoch=2)
    assert_close(np.frombuffer(path.read_bytes(), np.uint8), before, tol=0, what="bytes of the old checkpoint")
    checkpoint = level.load_checkpoint(path)
    assert checkpoint.record == {"epoch": 1}
    assert checkpoint.parts["a"]["v"].tolist() == [1, 1, 1]


@reading
def test_names_with_a_slash(level, tmp_path):
    """They could not be told from a key: refused before anything is written."""
    for name in ("a/b", "/", "", 3):
        expect_value_error("parts", level.save_checkpoint, tmp_path / "some.npz", {name: Arrays(w=np.ones(2))})
    assert list(tmp_path.iterdir()) == []
    level.save_checkpoint(tmp_path / "some.npz", {"a": Arrays(**{"w/0": np.ones(2)})})
    assert_close(level.load_checkpoint(tmp_path / "some.npz").parts["a"]["w/0"], np.ones(2), what="w/0")


@reading
def test_other_parts(level, tmp_path):
    """Names that are missing or too many, and generators of another kind, are refused."""
    path, part, dice = tmp_path / "some.npz", Arrays(w=np.ones(2)), rng(0)
    level.save_checkpoint(path, {"model": part}, {"shuffle": dice})
    checkpoint = level.load_checkpoint(path)
    expect_value_error("parts", checkpoint.restore, {}, {"shuffle": dice})
    expect_value_error("parts", checkpoint.restore, {"net": part}, {"shuffle": dice})
    expect_value_error("generators", checkpoint.restore, {"model": part})
    other = np.random.Generator(np.random.MT19937(0))
    with pytest.raises((ValueError, TypeError)):
        checkpoint.restore({"model": part}, {"shuffle": other})


def test_program(tmp_path, monkeypatch, capsys):
    """Trains, does not repeat itself, sets aside what it is told to, and is brief when wrong."""
    from tangled.t10_mnist import train_mnist
    pictures = rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8), rng(1).integers(0, 10, 40)
    monkeypatch.setattr(train_mnist.level, "read_idx", lambda path: pictures["labels" in path])
    monkeypatch.setattr(train_mnist, "save", lambda *arguments: None)
    command = ["--samples", "30", "--epochs", "2", "--folder", str(tmp_path)]

    def run(*more):
        status = train_mnist.main([*command, *more])
        return status, *capsys.readouterr()
    status, out, _ = run()
    assert status == 0 and "30 pictures, 2 epochs" in out and "of 40 test pictures" in out
    status, out, _ = run()
    assert status == 0 and "2 of 2 epochs: finished" in out and "30 pictures, 0 epochs" in out
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-40])
    status, _, err = run()
    assert status == 1 and err.count("\n") == 1 and path.name in err and "--fresh" in err
    status, out, _ = run("--fresh")
    assert status == 0 and "set aside" in out and len(list(tmp_path.glob("*.npz"))) == 2
    for option, value, what in (("samples", 50, "1 to 40"), ("epochs", 0, "at least 1"),
                                ("seed", -1, "at least 0"), ("dropout", 1.5, "from 0 to below 1")):
        assert run(f"--{option}", str(value)) == (1, "", f"{option} = {value}; expected {what}\n")
    with np.errstate(all="warn"):
        _, _, err = run("--lr", "1e30")
    assert err.startswith("the loss of epoch") and err.count("\n") == 1
    monkeypatch.setattr(train_mnist.level, "read_idx", lambda path: pictures[1])
    status, _, err = run()
    assert status == 1 and err.count("\n") == 1 and "train-images" in err and "expected" in err
    monkeypatch.setattr(train_mnist.level, "read_idx", lambda path: pictures["labels" in path])

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(train_mnist.level, "train", full)
    assert run("--seed", "2")[2] == f"[Errno 28] No space left on device: {tmp_path}\n"

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt
    monkeypatch.setattr(train_mnist.level, "train", interrupted)
    status, out, _ = run("--seed", "1")
    assert status == 130 and "the same command goes on" in out
    monkeypatch.setattr(train_mnist, "torch_available", lambda: False)
    assert run("--record")[::2] == (1, "torch is not installed; expected it for --record, "
                                    "which compares with PyTorch\n")
    stored = {}
    monkeypatch.setattr(train_mnist, "torch_available", lambda: True)
    monkeypatch.setattr(train_mnist, "study", lambda training, test: ({"accuracy": [0.5]}, {"loss": [1.0]}))
    monkeypatch.setattr(train_mnist, "store_run", lambda *names, **kept: stored.update(kept, names=names))
    assert run("--record")[0] == 0 and stored["names"] == (10, "train_mnist")
    assert stored["values"] == {"accuracy": [0.5]} and stored["curves"] == {"loss": [1.0]}
