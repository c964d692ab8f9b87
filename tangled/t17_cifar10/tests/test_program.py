# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:8089f5ab3fec6de1
"""Chapter 17: files, the recipe, and the program."""

import functools
import hashlib
import io
import pickle
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest

from tangled import download
from tangled.data import CIFAR_CLASSES, EMOJI_CLASSES
from tangled.t03_optimizers import Momentum, cosine_decay
from tangled.t06_backpropagation import Parameter
from tangled.t10_mnist import load_checkpoint
from tangled.t17_cifar10 import AugmentedLoader, experiments, pictures, predict, train_cifar10
from tangled.t17_cifar10.experiments import SMALL, Run, run, torch_trajectory, trajectory
from tangled.t17_cifar10.pickled import Machine
from tangled.t17_cifar10.recipe import SETTINGS, Together, build, loaders
from tangled.t17_cifar10.train_cifar10 import main
from tangled.testing import assert_close, rng
from tangled.tests.loopback import Answer, Loopback

ROWS = rng(0).integers(0, 256, (5, 3072)).astype(np.uint8)
LABELS = [3, 0, 9, 1, 1]


def write_pickle(path, protocol=2, **changes):
    """A batch in the Python format."""
    batch = {b"batch_label": b"one", b"labels": LABELS, b"data": ROWS, b"filenames": [b"a.png"] * 5}
    batch |= {key.encode(): value for key, value in changes.items()}
    path.write_bytes(pickle.dumps(batch, protocol=protocol))


@pytest.mark.value
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_pickle_format(tmp_path, protocol):
    """Pictures (N, 3, 32, 32) by channels, and labels."""
    write_pickle(tmp_path / "batch", protocol)
    images, labels = pictures.read_pickle(tmp_path / "batch")
    assert_close(images, ROWS.reshape(5, 3, 32, 32), tol=0, what="images")
    assert labels.tolist() == LABELS
    images[...] = labels[...] = 0                               # the caller's own
    batch = {"labels": LABELS, "data": ROWS}                    # keys as Python 3 has them
    (tmp_path / "batch").write_bytes(pickle.dumps(batch, protocol=protocol))
    images, labels = pictures.read_pickle(tmp_path / "batch")
    assert_close(images, ROWS.reshape(5, 3, 32, 32), tol=0, what="images, under a text")
    assert labels.tolist() == LABELS


class Calls:
    """A pickle of this would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.edge
def test_a_pickle_that_calls_is_refused(tmp_path):
    """Nothing is called; one line says what it asked for."""
    write_pickle(tmp_path / "batch", data=Calls(tmp_path / "made"))
    with pytest.raises(ValueError, match="it asks for"):
        pictures.read_pickle(tmp_path / "batch")
    assert not (tmp_path / "made").exists()


@pytest.mark.value
def test_a_pickle_of_python_2(tmp_path):
    """As the official files are: strings of bytes, marks, memory; and its text protocol."""
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = (b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87R("
             b"K\x01M\x01\x00M\x00\x0c\x86" + kind + b"\x89T\x00\x0c\x00\x00" + ROWS[0].tobytes() + b"tb")
    binary = b"\x80\x02}q\x01(U\x06labels](K\x03eU\x04data" + array + b"u."
    text = b"(dp0\nS'labels'\np1\n(lp2\nI3\nasS'data'\n" + array + b"s."
    for program in (binary, text):
        (tmp_path / "batch").write_bytes(program)
        images, labels = pictures.read_pickle(tmp_path / "batch")
        assert_close(images, ROWS[:1].reshape(1, 3, 32, 32), tol=0, what="images")
        assert labels.tolist() == [3]


ROW = {"shape": b"K\x01M\x00\x0c\x86", "kind": b"cnumpy\ndtype\nU\x02u1\x85R", "fortran": b"\x89",
       "data": b"T\x00\x0c\x00\x00" + ROWS[0].tobytes()}


def of_one_row(**changes):
    """The program of a batch of one row, with other parts."""
    return b"\x80\x02}(U\x06labels](K\x03eU\x04datacnumpy\nndarray\n)R(K\x01" + b"".join(
        (ROW | changes).values()) + b"tbu."


@pytest.mark.edge
@pytest.mark.parametrize("changes", [
    {"shape": b"J\xff\xff\xff\xffJ\x00\xf4\xff\xff\x86"}, {"shape": b"\x88M\x00\x0c\x86"},
    {"shape": b"M\x00\x0c\x85"}, {"shape": b"](K\x01M\x00\x0ce"}, {"shape": b"N"}, {"kind": b"N"},
    {"fortran": b"K\x01"}, {"fortran": b"N"},
    {"data": b"T\x01\x0c\x00\x00" + bytes(3073)}, {"data": b"T\xff\x0b\x00\x00" + bytes(3071)},
    {"data": b"X\x00\x0c\x00\x00" + b"a" * 3072}, {"data": b"N"}, {"data": b"K\x01K\x01"}])
def test_arrays_of_another_kind(tmp_path, changes):
    """Shapes below 0, of booleans, of one axis, in a list; orders and dtypes that are none; bytes too many, too few."""
    for right in ({}, {"kind": ROW["kind"].replace(b"\x02u1", b"\x03|u1")}):
        (tmp_path / "batch").write_bytes(of_one_row(**right))
        assert_close(pictures.read_pickle(tmp_path / "batch")[0], ROWS[:1].reshape(1, 3, 32, 32), tol=0, what="images")
    (tmp_path / "batch").write_bytes(of_one_row(**changes))
    with pytest.raises(ValueError, match="batch: found"):
        pictures.read_pickle(tmp_path / "batch")


@pytest.mark.value
@pytest.mark.parametrize("program", [
    b"L5L\n.", b"I01\n.", b"I00\n.", b"I-7\n.", b"J\xfe\xff\xff\xff.", b"M\x01\x02.", b"\x8e\x02" + bytes(7) + b"ab.",
    b"\x8d\x02" + bytes(7) + b"\xc3\xa9.", b"X\x02\x00\x00\x00\xc3\xa9.", b"\x8c\x02\xc3\xa9.", b"S'a\\x41\\n'\n.",
    b"Va\\u00e9\xe9\n.", b"(S'a'\nI1\nd.", b"}(U\x01aK\x01U\x01bK\x02u.", b"(K\x01K\x02l.", b"](K\x01K\x02eK\x03a.",
    b"Va\\n\\x41\n.",
    b"K\x01K\x02K\x03\x87.", b"(K\x01K\x02t.", b"\x80\x04\x95\x02" + bytes(7) + b"N.",
    b"K\x07\x94K\x08\x94\x85h\x00\x86h\x01\x86.",
    b"}(U\x01aK\x01U\x01aK\x02u.", b"X\x03\x00\x00\x00\xed\xa0\x80.",
    b"c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xa9X\x06\x00\x00\x00latin1\x86R."])
def test_instructions(program):
    """Each gives what Python's own reader gives."""
    want = pickle.loads(program, encoding="bytes")
    got = Machine(program).run()
    assert got == want and type(got) is type(want)


@pytest.mark.value
def test_numbers_have_no_sign():
    """In one byte up to 255, in two up to 65535; so have lengths and cells of the memory."""
    texts = [code + b"\xc8" + b"a" * 200 + b"." for code in (b"U", b"C", b"\x8c")]
    cells = (b"K\x01q\xc8h\xc8\x86.", b"K\x01q\xc8j\xc8\x00\x00\x00\x86.", b"K\x01r\xc8\x00\x00\x00h\xc8\x86.",
             b"K\x01q\x00K\x02r\x00\x00\x01\x00h\x00\x87.")
    for program in (*texts, *cells, b"K\xff.", b"M\xfe\xff."):
        assert Machine(program).run() == pickle.loads(program, encoding="bytes")


def tuples(depth):
    """A tuple that holds the last one twice, and so on: a dict that has it as a key hashes 2^depth times."""
    return b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (k, k, k + 1) for k in range(depth))


HOSTILE = {
    "memory cell": b"\x80\x02K\x01r\xff\xff\xff\x7f.", "declared size": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x00.",
    "frame": b"\x80\x04\x95" + b"\xff" * 7 + b"\x00.", "digits": b"L" + b"9" * 10 ** 6 + b"L\n.",
    "keys": b"\x80\x02}(" + tuples(60) + b"\x85K\x01u.", "sets": b"\x80\x04\x8f(" + tuples(60) + b"\x90.",
    "repeated text": b"\x80\x02c_codecs\nencode\nq\x00X\x00\x00\x10\x00" + b"a" * 2 ** 20 + b"q\x01]("
                     + b"h\x00h\x01\x85R" * 100 + b"e.",
    "too few bytes": b"\x80\x02}(U\x04datacnumpy\nndarray\n)R(K\x01K\x03K\x04\x86"
                     b"cnumpy\ndtype\nU\x02u1\x85R\x89U\x01atb"
                     b"U\x06labels](K\x01K\x01K\x01eu.",
    "depth": b"(" * 300_000 + b"l" * 299_999 + b".", "long key": b"}(X\x00\x00\x01\x00" + b"a" * 65536 + b"K\x01u.",
    "long name": b"c" + b"o" * 10 ** 6 + b"\nsystem\n.",
    "lines in a name": b"\x80\x04X\x03\x00\x00\x00a\nbq\x00h\x00\x93.",
    "a kind without its name": b"\x80\x02cnumpy\ndtype\n)\x81.", "a state for a name": b"cnumpy\nndarray\n}b.",
    "an array without state": b"\x80\x02}(U\x04datacnumpy\nndarray\n)RU\x06labels]u.", "a call of bytes": b"U\x01a)R.",
    "another name": b"\x80\x04X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93X\x04\x00\x00\x00true\x85R.",
    "dotted": b"\x80\x04X\x05\x00\x00\x00numpyX\x10\x00\x00\x00ndarray.__init__\x93.", "instance": b"(ios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.", "persistent": b"Px\n.", "buffer": b"\x80\x05\x97.", "empty stack": b"a.",
    "below the mark": b"K\x01(\x85.", "no mark": b"t.", "empty cell": b"h\x07.", "odd pairs": b"}(K\x01u.",
    "float array": b"\x80\x02cnumpy\ndtype\nU\x02f8\x85R.", "encode of a number": b"c_codecs\nencode\nK\x01\x85R.",
    "no end of the line": b"I7", "a digit too many": b"L" + b"9" * 20 + b"L\n.",
    "length below 0": b"X\xff\xff\xff\xff.", "fills a tuple": b")(K\x01e.", "a name of lists": b"]]\x93.",
    "a text called": b"X\x05\x00\x00\x00array)R.", "a state of nothing": b"cnumpy\nndarray\n)RNb.",
    "a kind of nothing": b"cnumpy\ndtype\n)R.", "signed array": b"cnumpy\ndtype\nU\x02i1\x85R.",
    "beyond a byte": b"c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xac\x85R.",
    "a key a byte too long": b"}(U\x41" + b"a" * 65 + b"K\x01u.",
    "text twice": b"](c_codecs\nencode\nq\x00X(\x00\x00\x00" + b"a" * 40 + b"q\x01\x85R" + b"h\x00h\x01\x85R" * 3
                  + b"e."}


@pytest.mark.edge
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(tmp_path, name):
    """Whatever the program says: little memory, few steps, one short line that names the file."""
    from tangled.measuring import peak_memory
    (tmp_path / "batch").write_bytes(HOSTILE[name])
    messages = []

    def read():
        with pytest.raises(ValueError) as caught:
            pictures.read_pickle(tmp_path / "batch")
        messages.append(str(caught.value))
    assert peak_memory(read) < 64 << 20
    assert "batch" in messages[0] and "\n" not in messages[0] and len(messages[0]) < 300 + len(str(tmp_path))


@pytest.mark.edge
@pytest.mark.parametrize("name, text", [
    ("below the mark", "empty stack"), ("a call of bytes", "no name"), ("a state for a name", "sets the state"),
    ("long key", "no short text"), ("a key a byte too long", "no short text"), ("beyond a byte", "latin-1"),
    ("depth", "instructions"), ("digits", "a number of"), ("empty cell", "cell 7"),
    ("memory cell", "no data and labels"), ("repeated text", "more bytes than it has"),
    ("text twice", "more bytes than it has"), ("no end of the line", "cut off"), ("a digit too many", "of 21 digits"),
    ("length below 0", "cut off"), ("fills a tuple", "fills what"), ("odd pairs", "fills what"),
    ("a text called", "no name"), ("a state of nothing", "sets the state"), ("a kind of nothing", "other arguments"),
    ("signed array", "other arguments")])
def test_why_a_pickle_is_refused(tmp_path, name, text):
    """By the bound that it breaks, before anything else goes wrong."""
    (tmp_path / "batch").write_bytes(HOSTILE[name])
    with pytest.raises(ValueError, match=text):
        pictures.read_pickle(tmp_path / "batch")


@pytest.mark.edge
def test_no_pickle_runs_long(tmp_path):
    """Random programs of the instructions that are known: a value or a ValueError, nothing else."""
    draw = np.random.default_rng(2)
    pieces = [bytes([c]) for c in b"N(.t]}ldaesu)\x85\x86\x87\x88\x94Rb"] + [
        b"K\x05", b"U\x01a", b"X\x01\x00\x00\x00a", b"q\x00", b"h\x00", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n",
        b"I7\n", b"c_codecs\nencode\n", b"S'u1'\n", b"Va\n", b"p1\n", b"g1\n"]
    refused = 0
    for _ in range(3000):
        program = b"".join(pieces[k] for k in draw.integers(0, len(pieces), draw.integers(1, 30)))
        try:
            pictures.batch_of(Machine(program).run(), tmp_path)
        except ValueError:
            refused += 1
    assert refused == 3000


@pytest.mark.edge
@pytest.mark.parametrize("changes", [{"labels": [1, 2]}, {"labels": [3, 0, 10, 1, 1]}, {"labels": [3, 0, -1, 1, 1]},
                                     {"labels": [3, 0, True, 1, 1]}, {"labels": None},
                                     {"data": ROWS[:, :30]}, {"data": ROWS.astype(np.float64)}, {"data": 5},
                                     {"data": np.asfortranarray(ROWS)}])
def test_pickles_of_something_else(tmp_path, changes):
    """Wrong sizes, labels and dtypes: a ValueError that names the file."""
    write_pickle(tmp_path / "batch", **changes)
    with pytest.raises(ValueError, match="batch"):
        pictures.read_pickle(tmp_path / "batch")


@pytest.mark.edge
def test_broken_files(tmp_path, monkeypatch):
    """Cut off, empty, too long, or no pickle at all; a binary file with a byte too many."""
    write_pickle(tmp_path / "batch")
    data = (tmp_path / "batch").read_bytes()
    monkeypatch.setattr(pictures, "LIMIT", len(data))
    assert len(pictures.read_pickle(tmp_path / "batch")[1]) == 5
    monkeypatch.setattr(pictures, "LIMIT", len(data) - 1)
    with pytest.raises(ValueError, match="batch"):
        pictures.read_pickle(tmp_path / "batch")
    for broken in (*(data[:k] for k in range(60)), data[:-1], b"\x80\x02J\x01", b"not a pickle", b"\x80\x02."):
        (tmp_path / "batch").write_bytes(broken)
        with pytest.raises(ValueError, match="batch"):
            pictures.read_pickle(tmp_path / "batch")
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3074))
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073))
    with pytest.raises(ValueError, match="data_batch_1"):
        pictures.load(tmp_path)


@pytest.mark.value
@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_folders(tmp_path, suffix):
    """Both formats of CIFAR-10: five batches in order, the test batch apart; the binary one goes before others."""
    draw, place, parts = rng(2), tmp_path / "CIFAR", []
    for part in ("train", "test"):
        (place / part).mkdir(parents=True)
    for name, count in zip([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"], (3, 2, 5, 4, 6, 7)):
        rows, labels = draw.integers(0, 256, (count, 3072)).astype(np.uint8), draw.integers(0, 10, count)
        if suffix:
            (place / f"{name}.bin").write_bytes(np.insert(rows, 0, labels, axis=1).tobytes())
            write_pickle(place / name)                          # of other pictures
        else:
            write_pickle(place / name, data=rows, labels=labels.tolist())
        parts.append((rows.reshape(-1, 3, 32, 32), labels.astype(np.uint8)))
    *found, names = pictures.load(str(place))
    want = *(np.concatenate(arrays) for arrays in zip(*parts[:5])), *parts[5]
    for got, expected, what in zip(found, want, ("pictures", "labels", "test pictures", "test labels"), strict=True):
        assert_close(got, expected, tol=0, what=what, dtype=np.uint8)
    assert names == list(CIFAR_CLASSES)


@pytest.mark.value
def test_class_folders(tmp_path):
    """The folders in train/ are the classes, of test/ as well; the PNG files right in them count, nothing else."""
    from PIL import Image
    place = tmp_path / "My Pictures"
    for part, values in (("train", {"dogs/b.png": 1, "Cats/z.png": 2, "dogs/a.png": 3, "eels/x.png": 4, "b.png": 5,
                                    "dogs/c.png": 6, "dogs/notes.txt": 7, "dogs/old/d.png": 8}),
                         ("test", {"eels/x.png": 9, "ants/w.png": 10, "Cats/y.png": 11})):
        for name, value in values.items():
            (place / part / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((2, 4, 3), value, np.uint8)).save(place / part / name, "PNG")
    images, labels, test_images, test_labels, names = pictures.load(place)
    assert images.shape == (5, 3, 2, 4) and images[:, 0, 0, 0].tolist() == [2, 3, 1, 6, 4]
    assert test_images.shape == (2, 3, 2, 4) and test_images[:, 0, 0, 0].tolist() == [11, 9]
    assert labels.tolist() == [0, 1, 1, 1, 2] and test_labels.tolist() == [0, 2]
    assert images.dtype == labels.dtype == test_labels.dtype == np.uint8 and names == ["Cats", "dogs", "eels"]


@pytest.mark.value
def test_emoji_by_name():
    """What ships with the book, to train on and to test, and the names of its classes by label."""
    *found, names = pictures.load("emoji")
    assert [array.shape for array in found] == [(3058, 3, 32, 32), (3058,), (754, 3, 32, 32), (754,)]
    assert names == list(EMOJI_CLASSES) and found[1].max() == found[3].max() == len(names) - 1


def archive():
    """The bytes of a tar.gz with a training and a test batch of five pictures in the binary format."""
    data = np.concatenate([np.array(LABELS, np.uint8)[:, None], ROWS], axis=1).tobytes()
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        for name in ("data_batch_1.bin", "test_batch.bin"):
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return whole.getvalue()


def served(monkeypatch, tmp_path, server, body, sha256):
    """Have "cifar-10" mean the one file of a server on this machine, kept under tmp_path."""
    url = server.url.replace("set.bin", "cifar.tar.gz")
    monkeypatch.setattr(download, "known_sets", lambda: {"cifar-10": [(url, len(body), sha256)]})
    monkeypatch.setattr(download, "fetch", functools.partial(download.fetch, root=tmp_path / "sets", progress=False))
    monkeypatch.chdir(tmp_path)


@pytest.mark.value
def test_cifar_by_name(monkeypatch, tmp_path):
    """Fetched once, its sha256 checked, unpacked and read; the second time nothing is asked for."""
    body = archive()
    with Loopback(Answer(body)) as server:
        served(monkeypatch, tmp_path, server, body, hashlib.sha256(body).hexdigest())
        first, second = pictures.load("cifar-10"), pictures.load("cifar-10")
    assert len(server.asked) == 1
    for found in (first, second):
        assert_close(found[0], ROWS.reshape(5, 3, 32, 32), tol=0, what="pictures to train on")
        assert found[3].tolist() == LABELS and found[4][3] == "cat"


@pytest.mark.edge
def test_cifar_with_other_bytes(monkeypatch, tmp_path, capsys):
    """A file with another sha256 is refused in one line, and neither it nor a part of it stays."""
    body = archive()
    wrong = hashlib.sha256(b"what was meant").hexdigest()
    with Loopback(Answer(body)) as server:
        served(monkeypatch, tmp_path, server, body, wrong)
        assert main(["--data", "cifar-10", "--folder", str(tmp_path), "--out", str(tmp_path / "a.png")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and wrong in said and hashlib.sha256(body).hexdigest() in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.edge
def test_a_folder_of_that_name(monkeypatch, tmp_path):
    """A folder "cifar-10" that is there is read; nothing is fetched."""
    monkeypatch.setattr(download, "fetch", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar-10").mkdir()
    for name in ("data_batch_1", "test_batch"):
        write_pickle(tmp_path / "cifar-10" / name)
    assert pictures.load("cifar-10")[0].shape == (5, 3, 32, 32)


@pytest.mark.edge
def test_png_files(tmp_path):
    """Transparency is over white, grey is three equal channels; another size and an empty folder are refused."""
    from PIL import Image
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="no picture"):
        pictures.load(tmp_path)
    clear = np.zeros((2, 3, 4), np.uint8)
    clear[0, 0] = 9, 8, 7, 255
    for part in ("train", "test"):
        Image.fromarray(clear).save(tmp_path / part / "a" / "1.png")
    Image.fromarray(np.array([[5, 6, 7], [8, 9, 10]], np.uint8)).save(tmp_path / "train" / "a" / "2.png")
    images, *_ = pictures.load(tmp_path)
    want = np.full((3, 2, 3), 255)
    want[:, 0, 0] = 9, 8, 7
    assert_close(images[0], want.astype(np.uint8), tol=0, what="over white")
    assert_close(images[1], np.tile(np.array([[5, 6, 7], [8, 9, 10]], np.uint8), (3, 1, 1)), tol=0, what="grey")
    for other in ((2, 4), (4, 3)):
        Image.fromarray(np.zeros(other, np.uint8)).save(tmp_path / "train" / "a" / "3.png")
        with pytest.raises(ValueError, match="pictures of 2 sizes"):
            pictures.load(tmp_path)


@pytest.mark.edge
def test_no_such_folder(tmp_path):
    """What is missing is said with what was expected."""
    with pytest.raises(ValueError, match="no folder"):
        pictures.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="neither"):
        pictures.load(tmp_path)
    for name in ("data_batch_1", "test_batch.bin"):             # a part of each kind
        write_pickle(tmp_path / name)
    (tmp_path / "train" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="neither"):
        pictures.load(tmp_path)


@pytest.mark.gradient
@pytest.mark.parametrize("changes", [{}, {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.05, "smoothing": 0.3}])
def test_trajectory_equals_pytorch(changes):
    """Twenty steps in float64: augmentation, label smoothing, two groups, warm-up and cosine."""
    pytest.importorskip("torch")
    ours = trajectory(SMALL | changes)
    assert np.abs(np.diff(ours)).max() > 1e-3
    assert_close(ours, torch_trajectory(SMALL | changes), tol=1e-5, what="losses")


@pytest.mark.value
def test_loaders():
    """Statistics of the training set for both; the test pictures as they are, in order; every setting is handed on."""
    train, test = small_sets()
    test = test[0] // 3, test[1]                                # darker than what is trained on
    settings = SMALL | {"batch": 5, "padding": 1, "size": 3, "seed": 4}
    varied, plain, generator, (mean, std) = loaders(settings, train, test)
    values = train[0] / 255
    assert_close(mean, values.mean((0, 2, 3)), tol=1e-12, what="mean")
    assert_close(std, values.std((0, 2, 3)), tol=1e-12, what="std")
    x, y = (np.concatenate(part) for part in zip(*plain))
    want = (test[0] / 255 - mean[:, None, None]) / std[:, None, None]
    assert_close(x, want.astype(np.float32), tol=1e-6, what="test pictures")
    assert y.tolist() == test[1].tolist() and len(varied) == 9
    again = AugmentedLoader((train[0], train[1].astype(int)), 5, mean, std, np.random.default_rng([4, 1]), 1, 3)
    for (a, b), (c, d) in zip(varied, again, strict=True):
        assert_close(a, c, tol=0, what="varied pictures")
        assert b.tolist() == d.tolist()
    assert generator is varied.rng


@pytest.mark.value
def test_build():
    """Weights follow the seed; a state goes there and back."""
    first, same, other = (build(SMALL | {"seed": seed}, 4, 30) for seed in (1, 1, 2))
    weights = [engine.model.conv1.weight.data for engine in (first, same, other)]
    assert_close(weights[0], weights[1], tol=0, what="the same seed")
    assert np.abs(weights[0] - weights[2]).max() > 1e-3
    x, y = rng(3).standard_normal((5, 3, 8, 8)).astype(np.float32), np.array([0, 1, 2, 3, 0])
    for _ in range(4):
        first.step(x, y)
    state = {name: np.array(value) for name, value in first.optimizer.state_dict().items()}
    assert {name.partition(".")[0] for name in state} == {"0", "1"}
    same.optimizer.load_state_dict(state)
    for name, value in same.optimizer.state_dict().items():
        assert_close(np.asarray(value, float), np.asarray(state[name], float), tol=0, what=name)


@pytest.mark.value
def test_blocks_start_as_the_identity():
    """The last scale of each is zero at first, the others are one: what comes in goes out, but for the ReLU."""
    model = build(SETTINGS | {"widths": [2, 3, 4, 5]}, 4, 30).model
    blocks, scales = [m for m in model.modules() if hasattr(m, "shortcut")], model.state_dict()
    assert sum(name.endswith(".bn2.weight") for name in scales) == len(blocks) == 8
    for name, value in scales.items():
        if name.endswith(("bn1.weight", "bn2.weight")):
            assert_close(value, np.full(len(value), float(name.endswith("bn1.weight")), np.float32), tol=0, what=name)
    whole = [block for block in blocks if block.shortcut is None]
    assert len(whole) == 5
    for block in whole:
        x = rng(18).standard_normal((3, len(block.bn2.weight.data), 4, 5)).astype(np.float32)
        assert_close(block(x), np.maximum(x, 0), tol=0, what="a block of the fresh network")


@pytest.mark.value
@pytest.mark.parametrize("steps", [20, 70])
def test_rates_and_decay(steps):
    """Nesterov's rule, a tenth of the steps warm-up, then a cosine; what has one axis is not decayed."""
    engine = build(SMALL | {"lr": 0.3, "momentum": 0.8, "weight_decay": 0.2}, 4, steps)
    parameters = list(engine.model.parameters())
    engine.model.zero_grad()
    for p in parameters:
        p.accumulate(np.ones_like(p.data))                      # a gradient that stays
    mine = [(p.data.astype(float), np.zeros(p.data.shape), 0.2 * (p.data.ndim > 1)) for p in parameters]
    for t in range(steps):
        engine.optimizer.step()
        for w, v, decay in mine:
            g = 1 + decay * w
            v += g - 0.2 * v
            w -= cosine_decay(t, 0.3, steps, warmup=steps // 10) * (g + 0.8 * v)
    for (name, p), (w, _, _) in zip(engine.model.named_parameters(), mine, strict=True):
        assert_close(p.data.astype(float), w, tol=1e-5, what=name)


@pytest.mark.value
def test_build_hands_on():
    """Blocks, widths, classes and smoothing; nobody asks for the pictures' gradient."""
    engine = build(SMALL | {"blocks": [1, 2], "widths": [3, 5], "smoothing": 0.3}, 6, 40)
    shapes = {name: value.shape for name, value in engine.model.state_dict().items()}
    assert shapes["conv1.weight"][0] == 3 and shapes["fc.weight"] == (5, 6)
    blocks = {name.rpartition(".conv1")[0] for name in shapes if name.endswith(".conv1.weight")}
    assert len(blocks) == 3
    x, y = rng(4).standard_normal((3, 3, 8, 8)).astype(np.float32), np.array([0, 5, 1])
    logits = engine.model(x)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    want = -(0.7 * log_p[np.arange(3), y] + 0.3 * log_p.mean(1)).mean()
    assert_close(np.asarray(engine.loss(logits, y)), np.asarray(float(want)), tol=1e-5, what="loss")
    assert engine.model.backward(engine.loss.backward()) is None


@pytest.mark.value
def test_together():
    """Of three optimisers: each steps, each forgets, each has its own state, there and back."""
    def group():
        parameters = [Parameter(np.full(2, 1.0 + k)) for k in range(12)]
        return parameters, Together(Momentum([p], 0.1 * (k + 1), 0.9) for k, p in enumerate(parameters))
    (first, one), (second, two) = group(), group()
    for parameters, together, count in ((first, one, 2), (second, two, 0)):
        for _ in range(count):
            together.zero_grad()
            assert all(p.grad is None or not p.grad.any() for p in parameters)
            for k, p in enumerate(parameters):
                p.accumulate(np.full(2, k + 1.0))
            together.step()
    for k, p in enumerate(first):
        assert_close(p.data, np.full(2, 1.0 + k - 0.1 * (k + 1) ** 2 * 2.9), tol=1e-12, what=f"parameter {k}")
    two.load_state_dict({name: np.array(value) for name, value in one.state_dict().items()})
    for optimizer, other in zip(one.optimizers, two.optimizers, strict=True):
        for name, value in optimizer.state_dict().items():
            assert_close(np.asarray(other.state_dict()[name], float), np.asarray(value, float), tol=0, what=name)


@pytest.mark.value
def test_what_a_run_is(monkeypatch):
    """Logits of the test pictures after the last epoch, plain and with the mirror; all answers are of those.

    To watch the test pictures changes nothing; the time is that of the whole.
    """
    asked = []
    noted = lambda f: lambda *args, **options: asked.append(args) or f(*args, **options)
    for f in (build, predict):
        monkeypatch.setattr(experiments, f.__name__, noted(f))
    monkeypatch.setattr(experiments, "time", SimpleNamespace(perf_counter=lambda: float(len(asked))))
    settings, (train_set, test_set) = SMALL | {"epochs": 3}, small_sets()
    found, unseen = (run(train_set, test_set, 4, settings, watch=watch) for watch in (True, False))
    assert asked[0] == asked[3] == (settings, 4, 18)            # the schedule ends with the last of 3 * 6 batches
    assert found.seconds == 3                                   # built, and asked twice
    assert len(found.history["loss"]) == 3
    assert found.history["validation_accuracy"][-1] == found.accuracy(found.plain)
    for name, value in unseen.model.state_dict().items():
        assert_close(found.model.state_dict()[name], value, tol=0, what=name)
    scale = loaders(settings, train_set, test_set)[3]
    for mirrored, logits in ((False, found.plain), (True, found.mirrored)):
        assert_close(logits, predict(found.model, test_set[0], *scale, mirrored=mirrored), tol=0, what="logits")
    assert "validation_loss" in found.history and "validation_loss" not in unseen.history
    assert found.target.dtype == np.int64
    logits = np.eye(3)[[0, 1, 2, 0]]
    made = Run(found.model, {}, np.roll(logits, -1, 1), logits, np.array([0, 1, 1, 1]), 0.0)
    assert (made.accuracy(made.plain), made.accuracy(made.mirrored)) == (0.25, 0.5)
    assert_close(made.confusion(), np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0]]), tol=0, what="confusion")


@pytest.mark.value
def test_trajectories_are_in_double(monkeypatch):
    """Weights and pictures, so that twenty steps can be compared with PyTorch's."""
    monkeypatch.setattr(experiments, "emoji", lambda: (*small_sets()[0], *small_sets()[1], list("abcd")))
    losses = trajectory(count=2)
    assert losses.shape == (2,) and (losses.astype(np.float32) != losses).all()
    engine, batches = experiments.steps_of(SMALL, 2)
    assert {p.data.dtype for p in engine.model.parameters()} == {x.dtype for x, _ in batches} == {np.dtype(float)}


def small_sets():
    """48 and 16 random pictures in four classes."""
    draw = rng(1)
    make = lambda n: (draw.integers(0, 256, (n, 3, 12, 12)).astype(np.uint8), draw.integers(0, 4, n).astype(np.uint8))
    return make(48), make(16)


@pytest.mark.value
def test_killed_and_resumed(tmp_path):
    """Two epochs in one go and in two pieces: every array and generator bit for bit; not with other settings."""
    settings, sets = SMALL | {"epochs": 2}, small_sets()
    whole = run(*sets, 4, settings, tmp_path / "whole.npz")

    class Killed(Exception):
        """As if the process had ended."""
    path, calls = tmp_path / "pieces.npz", []
    from tangled.t17_cifar10 import experiments
    original = experiments.train

    def until_the_first_epoch(engine, loader, epochs, path, *rest):
        step = engine.step

        def counted(*batch, **options):
            calls.append(1)
            if len(calls) > len(loader) + 2:
                raise Killed
            return step(*batch, **options)
        engine.step = counted
        return original(engine, loader, epochs, path, *rest)
    experiments.train = until_the_first_epoch
    try:
        with pytest.raises(Killed):
            run(*sets, 4, settings, path)
    finally:
        experiments.train = original
    assert len(load_checkpoint(path).record["history"]["loss"]) == 1
    with pytest.raises(ValueError, match="settings: smoothing"):
        run(*sets, 4, settings | {"smoothing": 0.2}, path)
    pieces = run(*sets, 4, settings, path)
    for name, value in whole.model.state_dict().items():
        assert_close(pieces.model.state_dict()[name], value, tol=0, what=name)
    assert (tmp_path / "whole.npz").read_bytes() == path.read_bytes()
    assert pieces.history == whole.history


@pytest.mark.value
def test_every_parameter_learns():
    """After an epoch no parameter is where it was, but the zero scales may be; they have moved as well."""
    settings, sets = SMALL | {"epochs": 1}, small_sets()
    before = run(*sets, 4, settings | {"lr": 1e-12}).model.state_dict()
    after = run(*sets, 4, settings).model
    for name, parameter in after.named_parameters():
        assert np.abs(parameter.data - before[name]).max() > 1e-6, name


@pytest.mark.edge
@pytest.mark.parametrize("argv, text", [(["--data", "nowhere", "--first", "0"], "no folder"),
                                        (["--epochs", "0"], "epochs = 0"), (["--width", "0"], "width = 0"),
                                        (["--first", "10"], "batch = 64"), (["--first", "0"], "first = 0")])
def test_the_command_refuses(argv, text, capsys, tmp_path):
    """One line, exit status 1."""
    assert main([*argv, "--folder", str(tmp_path), "--out", str(tmp_path / "a.png")]) == 1
    assert text in capsys.readouterr().err


HISTORY = {"loss": [2.0, 1.5, 1.25], "accuracy": [0.25, 0.75, 0.5], "validation_loss": [1.75, 1.0, 1.5],
           "validation_accuracy": [0.125, 0.375, 0.625]}


@pytest.fixture
def stage(monkeypatch, tmp_path):
    """The command without the training: what it would train on, and with what, is kept in a list."""
    train_set, test_set = small_sets()
    asked = []

    def noted(*args, **options):
        asked.append(args)
        logits = np.eye(4)[np.zeros(16, int)]
        return Run(build(SMALL, 4, 20).model, HISTORY, logits, np.roll(logits, 1, 1), test_set[1].astype(int), 61.4)
    monkeypatch.setattr(train_cifar10, "load", lambda data: (*train_set, *test_set, list("abcd")))
    monkeypatch.setattr(train_cifar10, "run", noted)
    monkeypatch.setattr(train_cifar10, "draw", lambda *_: None)
    monkeypatch.setattr(train_cifar10, "hash", lambda _: len(asked), raising=False)     # as in another process
    return asked, lambda *argv: main([*argv, "--folder", str(tmp_path)])


@pytest.mark.edge
def test_the_command_hands_on(stage, capsys, tmp_path):
    """All options, the first pictures with their labels, the whole test set; another checkpoint for each."""
    (asked, command), kept = stage, dict(SETTINGS)
    (images, labels), (test_images, test_labels) = small_sets()
    options = ["--width", "3", "--epochs", "5", "--batch", "7", "--lr", "0.2", "--weight-decay", "0.01",
               "--smoothing", "0.2", "--seed", "6", "--first", "13"]
    assert command(*options) == 0
    train_set, test_set, classes, settings, _ = asked[0]
    for got, want in zip((*train_set, *test_set), (images[:13], labels[:13], test_images, test_labels), strict=True):
        assert_close(got, want, tol=0, what="pictures and labels")
    assert classes == 4 and settings == SETTINGS | {
        "widths": [3, 6, 12, 24], "epochs": 5, "batch": 7, "lr": 0.2, "weight_decay": 0.01, "smoothing": 0.2, "seed": 6}
    shares = [100 * (test_labels == k).mean() for k in (0, 1)]
    said = capsys.readouterr().out
    assert "13 pictures, 5 epochs in 61 s: " in said
    assert f"{shares[0]:.2f} % of 16 right, {shares[1]:.2f} % averaged" in said and shares[0] != shares[1]
    for k in range(0, len(options), 2):
        changed = [*options[:k], options[k], "8" if k != 12 else "1", *options[k + 2:]]
        assert command(*changed) == 0
    assert command(*options, "--data", "elsewhere") == 0
    paths = [call[4] for call in asked]
    assert len(set(paths)) == len(paths) == 10 and {p.parent for p in paths} == {tmp_path}
    assert command("--batch", "48", "--first", "48") == 0       # as many as there are
    assert asked[-1][3] == kept | {"batch": 48} and kept == SETTINGS
    assert command("--first", "49") == 1 and "expected 1 to 48" in capsys.readouterr().err
    for name, value in (("batch", 1), ("seed", -1)):
        assert command(f"--{name}", str(value)) == 1
        assert f"{name} = {value}" in capsys.readouterr().err


@pytest.mark.edge
def test_fresh_keeps_what_was_there(stage, tmp_path, capsys):
    """Each old checkpoint under a name of its own; none need be there."""
    asked, command = stage
    assert command("--batch", "8", "--fresh") == 0
    path = asked[0][4]
    for k in range(3):
        path.write_text(str(k))
        assert command("--batch", "8", "--fresh") == 0 and not path.exists()
    assert sorted(file.read_text() for file in tmp_path.iterdir()) == ["0", "1", "2"]


@pytest.mark.edge
@pytest.mark.parametrize("error, status", [(KeyboardInterrupt, 130), (OSError("no room"), 1),
                                           (FloatingPointError("no number"), 1)])
def test_how_the_command_ends(stage, monkeypatch, capsys, tmp_path, error, status):
    """Interrupted, or without room: said, and told by the status; and where the checkpoints are."""
    def fails(*_, **__):
        raise error
    monkeypatch.setattr(train_cifar10, "run", fails)
    assert stage[1]("--batch", "8") == status
    assert (f"interrupted: whole epochs are in {tmp_path}" in capsys.readouterr().out) == (status == 130)
    monkeypatch.setattr(train_cifar10, "torch_available", lambda: True)
    assert stage[1]("--batch", "8", "--record") == status
    assert ("keeps nothing on its way" in capsys.readouterr().out) == (status == 130)


@pytest.mark.value
def test_what_is_recorded(stage, monkeypatch, capsys):
    """Asked for, and with torch: a run from its start, each number under its name, curves, network; else nothing."""
    (asked, command), kept = stage, []
    monkeypatch.setattr(train_cifar10, "store_run", lambda *args, **options: kept.append((args, options)))
    for name, found in (("torch_available", True), ("trajectory", np.array([2.0, 1.5, 1.25])),
                        ("torch_trajectory", np.array([2.0, 2.0, 1.5]))):
        monkeypatch.setattr(train_cifar10, name, lambda found=found: found)
    options = ["--batch", "8", "--data", "elsewhere"]
    assert command(*options) == 0 and not kept
    assert command(*options, "--record") == 0
    assert asked[0][4] is not None and asked[1][4] is None      # where a checkpoint would be
    [(args, given)] = kept
    counts, state = np.bincount(small_sets()[1][1], minlength=4).tolist(), build(SMALL, 4, 20).model.state_dict()
    assert args == (17, "train_cifar10") and given["seconds"] == 61.4 and given["curves"] == HISTORY
    assert given["values"] == {
        "data": "elsewhere", "settings": SETTINGS | {"batch": 8}, "names": list("abcd"), "accuracy": counts[0] / 16,
        "mirrored": counts[1] / 16, "test_pictures": 16, "confusion": [[0, n, 0, 0] for n in counts], "apart": 0.5,
        "train_accuracy": 0.5, "parameters": sum(v.size for k, v in state.items() if "running" not in k)}
    assert given["arrays"].keys() == {"network"}
    assert_close(given["arrays"]["network"], state, tol=0, what="network")
    monkeypatch.setattr(train_cifar10, "torch_available", lambda: False)
    assert command(*options, "--record") == 1 and "torch" in capsys.readouterr().err
    assert len(kept) == 1 and len(asked) == 2                   # said before the training, not behind it


@pytest.mark.limit(120)
@pytest.mark.value
def test_the_command_runs_and_resumes(tmp_path, capsys):
    """A small run with a figure; the second call finds the checkpoint finished and trains nothing."""
    argv = ["--first", "64", "--epochs", "1", "--batch", "32", "--width", "4", "--folder", str(tmp_path),
            "--out", str(tmp_path / "a new folder" / "figure.png")]
    assert main(argv) == 0
    first = capsys.readouterr().out
    assert (tmp_path / "a new folder" / "figure.png").stat().st_size > 5000 and "% averaged" in first
    assert main(argv) == 0
    assert capsys.readouterr().out.partition(" s: ")[2] == first.partition(" s: ")[2] != ""
    assert main([*argv, "--fresh"]) == 0
    assert "set aside" in capsys.readouterr().out
