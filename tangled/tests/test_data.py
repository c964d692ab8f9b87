# Tangled from chapters/b-data.qmd; edit the chapter, then run make tangle. sha256:295e78e445b8084b
import gzip
import shutil
import struct
import tracemalloc

import numpy as np
import pytest

from tangled import data

CODES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def idx(array, code):
    """An array as the bytes of an IDX file."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(CODES[code]).tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(7,), (0,), (2, 3), (4, 0, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("code", CODES)
def test_idx_comes_back(tmp_path, code, shape, pack):
    array = np.random.default_rng(code).integers(0, 100, shape).astype(CODES[code])
    (tmp_path / "a.idx").write_bytes(pack(idx(array, code)))
    got = data.read_idx(tmp_path / "a.idx")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype.newbyteorder("=") and got.dtype.isnative


def test_the_address_of_a_pixel(tmp_path):
    raw = gzip.decompress((data.DATA / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    images, _ = data.load_mnist("test")
    assert images[3, 14, 9] == raw[16 + 784 * 3 + 28 * 14 + 9] > 0


GOOD = idx(np.arange(6).reshape(2, 3), 0x08)
ZIPPED = gzip.compress(GOOD)
BAD = {
    "nothing": (b"", "none"),
    "cut magic": (GOOD[:3], "magic bytes 00 00 08"),
    "another format": (b"\x89PNG\r\n", "magic bytes 89 50 4e 47"),
    "an unknown type": (b"\0\0\x0a" + GOOD[3:], "magic bytes 00 00 0a 02"),
    "no axes": (b"\0\0\x08\0", "1 to 32 axes"),
    "too many axes": (b"\0\0\x08\xff" + bytes(4 * 255), "1 to 32 axes"),
    "cut sizes": (GOOD[:9], "5 bytes of sizes"),
    "cut data": (GOOD[:-1], "found 5 bytes of data; expected 6"),
    "trailing byte": (GOOD + b"x", "found more bytes of data; expected 6"),
    "too great": (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "at most 1073741824"),
    "no data": (struct.pack(">4BI", 0, 0, 8, 1, 10**9), "found 0 bytes of data"),
    "cut gzip": (ZIPPED[:-4], "broken gzip data"),
    "damaged gzip": (ZIPPED[:15] + bytes([ZIPPED[15] ^ 4]) + ZIPPED[16:], "gzip.tmp"),
    "bad checksum": (ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "CRC"),
    "rubbish behind gzip": (ZIPPED + b"rubbish", "broken gzip data"),
    "gzip bomb": (gzip.compress(GOOD + bytes(1 << 26)), "found more bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_idx_refuses(tmp_path, name):
    body, message = BAD[name]
    path = tmp_path / "gzip.tmp"
    path.write_bytes(body)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"found .*; expected ") as caught:
            data.read_idx(path)
        assert message in str(caught.value) and str(path) in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20      # the header promised more
    finally:
        tracemalloc.stop()


def test_a_missing_file_says_how_to_look(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m tangled\.data"):
        data.read_idx(tmp_path / "none.gz")


SETS = {
    ("mnist", "train"): (60_000, [5, 0, 4, 1, 9]), ("mnist", "test"): (10_000, [7, 2, 1, 0, 4]),
    ("fashion_mnist", "train"): (6_000, [0, 1, 4, 7, 2]),
    ("fashion_mnist", "test"): (1_000, [8, 4, 1, 1, 2]),
    ("emoji", "train"): (3_058, [7, 3, 6, 3, 1]), ("emoji", "test"): (754, [0, 1, 3, 8, 2])}


@pytest.mark.parametrize("name,split", SETS)
def test_picture_sets(name, split):
    n, first = SETS[name, split]
    images, labels = getattr(data, f"load_{name}")(split)
    assert images.shape == (n, *((3, 32, 32) if name == "emoji" else (28, 28)))
    assert images.dtype == labels.dtype == np.uint8 and images.flags.c_contiguous
    assert labels[:5].tolist() == first
    assert len(np.unique(labels)) == (9 if name == "emoji" else 10)


def test_emoji_channels_are_moved_not_reshaped():
    images, _ = data.load_emoji("test")
    raw = np.load(data.DATA / "emoji-32.npz")["x_test"]
    np.testing.assert_array_equal(images[5, 2], raw[5, :, :, 2])
    flags = data.load_emoji("test")[0][data.load_emoji("test")[1] == 8]
    assert (flags[:, :, 0, 0] > 200).all()                        # white corners, every channel


@pytest.mark.parametrize("load", [data.load_mnist, data.load_fashion_mnist, data.load_emoji,
                                  lambda split: data.load_cifar10(split, "nowhere")])
def test_an_unknown_split_is_refused(load):
    with pytest.raises(ValueError, match="split is 'val'; expected 'train' or 'test'"):
        load("val")


def test_pictures_and_labels_must_belong_together(tmp_path):
    def save(images, labels):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            (tmp_path / f"t10k-{name}-ubyte.gz").write_bytes(idx(array, 0x08))
        return data.load_mnist("test", tmp_path)

    images = np.zeros((4, 28, 28))
    assert save(images, np.arange(4))[0].shape == (4, 28, 28)
    assert data.load_fashion_mnist("test", tmp_path)[1].tolist() == [0, 1, 2, 3]
    for bad in ((images, np.arange(3)), (np.arange(4), np.arange(4)), (images, images)):
        with pytest.raises(ValueError, match=r"expected uint8 of \(N, 28, 28\)"):
            save(*bad)
    with pytest.raises(ValueError, match="found the label 10; expected 0 to 9"):
        save(images, np.array([0, 10, 1, 2]))


def test_npz_refuses_pickles_and_gaps(tmp_path):
    pickled = {"x_train": np.array([{}]), "y_train": np.arange(1)}
    for arrays in (pickled, {"x_train": np.zeros(1)}):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ValueError, match=r"expected an \.npz with x_train and y_train"):
            data.load_npz_pair(tmp_path / "a.npz", "train", (28, 28), 10)


def test_cifar_binary(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    records = np.concatenate([[[7], [2]], picture.reshape(2, -1)], 1).astype(np.uint8)
    for name in ("test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    images, labels = data.load_cifar10("test", tmp_path)
    np.testing.assert_array_equal(images, picture)
    assert labels.tolist() == [7, 2]
    assert data.load_cifar10("train", tmp_path)[1].tolist() == [7, 2] * 5
    for body in (records.tobytes()[:-1], b"", records.tobytes()[1:] + b"\xff"):
        (tmp_path / "test_batch.bin").write_bytes(body)
        with pytest.raises(ValueError, match=r"test_batch\.bin: found"):
            data.load_cifar10("test", tmp_path)


def test_tables():
    people, workers = data.load_nhefs(), data.load_cps85()
    assert {column.shape for column in people.values()} == {(1567,)}
    assert {column.shape for column in workers.values()} == {(534,)}
    assert (people["sex=male"] + people["sex=female"] == 1).all()
    assert people["height_cm"][:3].tolist() == [174.2, 159.4, 168.5]
    assert people["income"][:3].tolist() == [12500.0, 8500.0, 4500.0]       # codes 19 18 15
    assert np.unique(people["income"]).tolist() == [
        500, 1500, 2500, 3500, 4500, 5500, 6500, 8500, 12500, 17500, 22500, 30000]
    assert set(data.NHEFS_UNITS) < set(people) and set(data.CPS85_UNITS) < set(workers)
    assert workers["wage"].max() == 44.5 and workers["occupation=sales"].sum() == 38


@pytest.mark.parametrize("text,message", [
    ("", "t.csv:1: found the columns None; expected also age, sex"),
    ("age\n1\n", "expected also sex"), ("age,sex\n1,f\n2\n", "t.csv:3: found a row of"),
    ("age,sex\n1,f,9\n", "t.csv:2: found a row of"),
    ("age,sex\nold,f\n", "t.csv:2: found 'old' in column age"),
    ("age,sex\n1,f\nnan,m\n", "t.csv:3: found 'nan'"), ("age,sex\n,m\n", "t.csv:2: found ''")])
def test_tables_refuse(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError) as caught:
        data.read_table(tmp_path / "t.csv", ["age"], ["sex"])
    assert message in str(caught.value)


def test_an_unknown_bracket_is_refused(tmp_path):
    text = (data.DATA / "nhefs.csv").read_text().splitlines()[:2]
    (tmp_path / "n.csv").write_text("\n".join(text).replace(",19", ",10"))
    with pytest.raises(ValueError, match="income_code outside"):
        data.load_nhefs(tmp_path / "n.csv")


def test_texts(tmp_path):
    plays, sentences = data.load_shakespeare(), data.load_sotu()
    assert len(plays) == 1_115_710 and len(set(plays)) == 64 and plays.count("\n") == 40_000
    assert plays.startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n")
    assert len(sentences) == 27_296 and sum(len(s.split()) for s in sentences) == 524_726
    names, pairs = data.load_first_names(), data.load_en_fr()
    assert len(names) == len(set(names)) == 10_388 and names == sorted(names)
    assert all(name.isascii() and name.islower() and 2 <= len(name) <= 15 for name in names)
    assert len(pairs) == 3_913 and pairs[1] == ("1st place medal", "médaille d'or")
    assert max(len(en) for en, _ in pairs) == 48 and max(len(fr) for _, fr in pairs) == 64
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"abc" * 100)[:-5])
    with pytest.raises(ValueError, match=r"cut\.gz: found .*; expected a whole file"):
        data.read_text(tmp_path / "cut.gz")


def test_manifest_covers_all_files_and_they_fit():
    listed = {entry.file: entry.bytes for entry in data.read_manifest()}
    there = {p.relative_to(data.DATA).as_posix(): p.stat().st_size
             for p in data.DATA.rglob("*") if p.is_file()}
    papers = {name for name in there if name.startswith("LICENSES/")}
    assert set(there) - papers - {"README.md", "MANIFEST.tsv", "REMOTE.tsv"} == set(listed)
    assert all(there[name] == size for name, size in listed.items())
    assert sum(there.values()) < 20 * 2**20
    assert set(data.verify().values()) == {"present"}


def test_verify_sees_one_bit_and_a_gap(tmp_path, capsys, monkeypatch):
    lines = (data.DATA / "MANIFEST.tsv").read_text().splitlines(keepends=True)
    names = ("nhefs.csv", "cps85.csv", "first-names.txt.gz")
    (tmp_path / "MANIFEST.tsv").write_text(
        lines[0] + "".join(line for line in lines if line.startswith(names)))
    for name in names[:2]:
        shutil.copy(data.DATA / name, tmp_path)
    body = bytearray((tmp_path / "nhefs.csv").read_bytes())
    body[1000] ^= 1
    (tmp_path / "nhefs.csv").write_bytes(body)
    states = data.verify(tmp_path)
    assert states == {"nhefs.csv": "changed", "cps85.csv": "present",
                      "first-names.txt.gz": "missing"}
    monkeypatch.setattr(data, "verify", lambda: states)
    assert data.main() == 2 and "changed   nhefs.csv" in capsys.readouterr().out


def test_split_is_a_partition_and_repeats():
    train, test = data.train_test_split(101, 0.2, seed=3)
    assert len(test) == 20 and sorted([*train, *test]) == list(range(101))
    assert not np.array_equal(np.sort(train), train)
    again, _ = data.train_test_split(101, 0.2, seed=3)
    other, _ = data.train_test_split(101, 0.2, seed=4)
    assert np.array_equal(train, again) and not np.array_equal(train, other)
    for share in (0, 1, -0.5, 20):
        with pytest.raises(ValueError, match="test is"):
            data.train_test_split(10, share)


def test_scale_uses_the_training_set_alone():
    train = np.array([[1.0, 5.0, 2.0], [3.0, 5.0, -2.0]])
    scaled, other = data.scale_to_unit(train, np.array([[5.0, 6.0, 0.0]]))
    assert scaled.tolist() == [[0, 0, 1], [1, 0, 0]] and other.tolist() == [[2, 1, 0.5]]
    assert train[0, 0] == 1.0
