# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:d1539ef8a5457bf7
"""MNIST, level 2: whole arrays; checkpoints and the loop that resumes."""

import io
import json
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

import tangled.t10_mnist.checks as check
from tangled.data import IDX_TYPES, open_binary, read_at_most, wrong
from tangled.t03_optimizers import AdamW, CosineDecay
from tangled.t06_backpropagation import (
    CrossEntropyLoss,
    DataLoader,
    Engine,
    Linear,
    ReLU,
    Sequential,
    evaluating,
)
from tangled.t08_regularization import Dropout

FORMAT = "tangled checkpoint 1"


def read_idx(path, limit=1 << 30):
    """The array in an IDX file, plain or gzipped.

    Parameters
    ----------
    path : str or Path
    limit : int, the largest array to accept, in bytes; at least 0

    Returns
    -------
    ndarray of the shape and type of the header, in the machine's byte order, writable

    Raises
    ------
    ValueError : naming the file, what was found and what was expected
    FileNotFoundError : if there is no such file
    """
    limit = check.whole("limit", limit, 0)
    with open_binary(path) as file:
        try:
            code, axes = check.magic(path, file.read(4))
            head = read_at_most(file, 4 * axes)
            check.header(path, 4 + len(head), axes)
            shape = tuple(np.frombuffer(head, ">u4").tolist())              # most significant byte first
            kind = np.dtype(IDX_TYPES[code])
            size = kind.itemsize * math.prod(shape)
            check.bounded(path, size, limit)
            data = read_at_most(file, size + 1)             # the one byte more should not be there
        except (EOFError, zlib.error, OSError) as broken:
            raise check.broken(path, broken) from None
    check.content(path, len(data), size, shape)
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))


def pixel_statistics(images):
    """Mean and deviation of all pixels together; eq. 10.3.

    Parameters
    ----------
    images : ndarray of shape (N, ...), uint8, N at least 1

    Returns
    -------
    mean, std : float
    """
    images = check.pictures(images, least=1)
    return float(images.mean(dtype=np.float64)), float(images.std(dtype=np.float64))


def prepare(images, mean, std):
    """Standardised rows; eq. 10.3.

    Parameters
    ----------
    images : ndarray of shape (N, ...), uint8
    mean, std : float, of the training set, whatever the images are

    Returns
    -------
    ndarray of shape (N, D), float32, with D the product of the other sizes
    """
    images, mean, std = check.preparation(images, mean, std)
    rows = images.reshape(len(images), math.prod(images.shape[1:]))     # (N, D), bytes
    x = rows.astype(np.float32)         # first: bytes have no negative numbers
    x -= mean
    x /= std
    return x


def make_loader(images, labels, batch_size, mean, std, rng=None):
    """Batches for `Engine`, as Chapter 6's `DataLoader` draws them: one permutation an epoch.

    Parameters
    ----------
    images : ndarray of shape (N, ...), uint8
    labels : ndarray of shape (N,), integers
    batch_size : int
    mean, std : float
    rng : numpy.random.Generator, or None for the order of the arrays

    Returns
    -------
    iterable with a length, of pairs (x, y) of shapes (B, D), float32, and (B,)
    """
    x = prepare(images, mean, std)                              # (N, D)
    return DataLoader((x, labels), batch_size, rng)


def build_model(rng, widths=(784, 256, 128, 10), dropout=0.0, noise=None):
    """Linear layers with ReLU between them, and dropout behind each ReLU.

    Parameters
    ----------
    rng : numpy.random.Generator, for the weights
    widths : tuple of int: inputs (N, widths[0]) to logits (N, widths[-1])
    dropout : float, the probability of dropping a unit; 0 for no such layers
    noise : numpy.random.Generator, for the masks of dropout

    Returns
    -------
    Sequential
    """
    modules = []
    for fan_in, fan_out in pairwise(check.widths(widths)):
        modules += [Linear(fan_in, fan_out, rng), ReLU()]
        modules += [Dropout(dropout, noise)] if dropout else []
    return Sequential(*modules[:-2 if dropout else -1])


class Scheduled:
    """An optimiser whose learning rate moves after each step: both as one object.

    Parameters
    ----------
    optimizer : object with `step()`, `zero_grad()` and a state
    schedule : object with `step()` and a state
    """

    def __init__(self, optimizer, schedule):
        self.optimizer, self.schedule = optimizer, schedule

    def step(self):
        """One update, then the rate of the next."""
        self.optimizer.step()
        self.schedule.step()

    def zero_grad(self):
        """Forget all gradients."""
        self.optimizer.zero_grad()

    def state_dict(self):
        """{name: array or number} of the optimiser, and of the schedule as "schedule.name"."""
        of_schedule = self.schedule.state_dict().items()
        return self.optimizer.state_dict() | {f"schedule.{k}": v for k, v in of_schedule}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""
        mine = {k: v for k, v in state.items() if k.startswith("schedule.")}
        self.optimizer.load_state_dict({k: v for k, v in state.items() if k not in mine})
        self.schedule.load_state_dict({k.partition(".")[2]: v for k, v in mine.items()})


def build_engine(model, steps, lr=0.002, weight_decay=0.1):
    """Cross-entropy and AdamW, with a rate that warms up and falls along a cosine.

    Parameters
    ----------
    model : Module from (N, D) to logits (N, K)
    steps : int, all updates that will be made; the first tenth is the warm-up
    lr, weight_decay : float

    Returns
    -------
    Engine
    """
    check.whole("steps", steps)
    optimizer = AdamW(model.parameters(), lr, weight_decay=weight_decay)
    schedule = CosineDecay(optimizer, steps, warmup=steps // 10)
    return Engine(model, CrossEntropyLoss(), Scheduled(optimizer, schedule))


def predict(model, loader):
    """Logits for everything that a loader has, in evaluation mode; the modes are put back.

    Parameters
    ----------
    model : Module
    loader : iterable of tuples (x, ..., target), at least one; x may share its memory

    Returns
    -------
    logits : ndarray of shape (N, K), or (N, ...)
    target : ndarray of shape (N,), or (N, ...)
    """
    logits, targets = [], []
    with evaluating(model):
        for *inputs, target in loader:
            logits.append(np.array(model(*inputs)))                 # a copy: the room is reused
            targets.append(np.array(target))
    if not logits:
        raise ValueError("loader has 0 batches; expected at least one")
    return np.concatenate(logits), np.concatenate(targets)


def confusion_matrix(target, predicted, classes):
    """How often each class was taken for each; eq. 10.6.

    Parameters
    ----------
    target, predicted : integer ndarrays of shape (N,), from 0 to classes - 1
    classes : int

    Returns
    -------
    ndarray of shape (classes, classes), int64; the truth selects the row
    """
    target, predicted = check.labels(target, predicted, classes)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (target, predicted), 1)       # unbuffered: a pair may come twice
    return counts


def accuracy(target, predicted):
    """The share of predictions that are right; eq. 10.7.

    Parameters
    ----------
    target, predicted : integer ndarrays of shape (N,), N at least 1

    Returns
    -------
    float
    """
    target, predicted = check.labels(target, predicted)
    check.some(target)
    return float(np.mean(target == predicted))


def precision_recall(confusion):
    """Precision and recall of each class; eq. 10.7.

    Parameters
    ----------
    confusion : integer ndarray of shape (K, K), truth in rows

    Returns
    -------
    precision, recall : ndarrays of shape (K,), float64; NaN where nothing was predicted as
        the class, or nothing was of it
    """
    confusion = check.counts(confusion)
    diagonal = np.diagonal(confusion).astype(np.float64)        # (K,)
    with np.errstate(invalid="ignore"):                         # 0/0 is NaN, and meant
        return diagonal / confusion.sum(axis=0), diagonal / confusion.sum(axis=1)


def worst_mistakes(logits, target, k):
    """The wrong answers with the largest losses; of equals, the earlier first.

    Parameters
    ----------
    logits : ndarray of shape (N, K)
    target : integer ndarray of shape (N,)
    k : int, at least 0

    Returns
    -------
    ndarray of shape (m,), int64, m the smaller of k and the number of mistakes
    """
    logits, target = check.answers(logits, target, k)
    top = logits.max(axis=1, keepdims=True)                     # (N, 1)
    loss = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]           # (N,)
    loss = loss - logits[np.arange(len(target)), target]        # eq. 6.7
    wrong_ones = np.flatnonzero(logits.argmax(axis=1) != target)
    return wrong_ones[np.argsort(-loss[wrong_ones], kind="stable")[:k]]


def mcnemar(target, first, second):
    """McNemar's exact test of two models on the same samples; eq. 10.9.

    Parameters
    ----------
    target, first, second : integer ndarrays of shape (N,): the truth and two predictions

    Returns
    -------
    b, c : int, how often only the first is right, and only the second
    p : float, how probable a split at least as uneven is between equals
    """
    target, first = check.labels(target, first)
    target, second = check.labels(target, second)
    b = int(np.sum((first == target) & (second != target)))
    c = int(np.sum((first != target) & (second == target)))
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return b, c, min(1.0, 2 * tail / 2 ** (b + c))


def save_checkpoint(path, parts, generators=None, **record):
    """Write all that a continuation needs into one file; at no moment is it half there.

    An .npz, not compressed: an array "part/key" for each entry of a state, and a member
    record.json. The same state gives the same bytes.

    Parameters
    ----------
    path : str or Path; its folder is made if it is not there
    parts : dict {name without a slash: object}, each with `state_dict() -> {key: array of any shape}`
    generators : dict {name: numpy.random.Generator}
    record : what else to keep, plain values: history, settings, ...
    """
    path, arrays = Path(path), {}
    check.part_names(parts)
    for name, part in parts.items():
        arrays |= {f"{name}/{key}": value for key, value in part.state_dict().items()}
    states = {name: g.bit_generator.state for name, g in (generators or {}).items()}
    text = json.dumps({"format": FORMAT, "parts": list(parts), "generators": states,
                       "record": record}, default=lambda array: array.tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    _write(partial, arrays, text)
    os.replace(partial, path)


def _write(path, arrays, text):
    """One .npz of arrays of any shapes, and a member record.json."""
    with open(path, "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open("record.json", "w") as member:
                member.write(text.encode())
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


@dataclass
class Checkpoint:
    """What a file of `save_checkpoint` holds.

    Attributes
    ----------
    parts : dict {name: {key: ndarray}}
    generators : dict {name: state of a bit generator}
    record : dict of plain values
    """

    parts: dict
    generators: dict
    record: dict

    def restore(self, parts, generators=None):
        """Load the states into objects and generators of the same names.

        Parameters
        ----------
        parts : dict {name: object with `load_state_dict`}
        generators : dict {name: numpy.random.Generator}
        """
        generators = generators or {}
        check.names("parts", self.parts, parts)
        check.names("generators", self.generators, generators)
        for name, part in parts.items():
            part.load_state_dict(self.parts[name])
        for name, generator in generators.items():
            generator.bit_generator.state = self.generators[name]


def load_checkpoint(path):
    """Read a file of `save_checkpoint`; nothing in it is executed.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Checkpoint, each array in the shape and type in which it was saved

    Raises
    ------
    ValueError : if the file is broken, or no checkpoint; it names the file
    FileNotFoundError : if there is no such file
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = json.loads(archive.read("record.json"))      # read() compares checksums
            arrays = {name[:-4]: _array(archive.read(name)) for name in archive.namelist()
                      if name.endswith(".npy")}
        if text["format"] != FORMAT:
            raise ValueError(f"the format {text['format']!r}")
        parts = {name: {} for name in text["parts"]}
        for name, array in arrays.items():
            part, _, key = name.partition("/")
            parts[part][key] = array
        return Checkpoint(parts, text["generators"], text["record"])
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found; expected a checkpoint") from None
    except _UNREADABLE as broken:
        found = str(broken).split("\n")[0] or type(broken).__name__
        raise wrong(path, found, "a whole file of save_checkpoint") from None


_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError,
               RuntimeError, zipfile.BadZipFile, zlib.error)


def _array(data):
    """The array of any shape in the bytes of a .npy file."""
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def train(engine, loader, epochs, path=None, generators=None, validation=None, settings=None,
          progress=True):
    """`engine.fit` with a checkpoint after each epoch; goes on where a file leaves off.

    It keeps the parts "model" and "optimizer", the generators, and a record of "history" and
    "settings". Where no epoch is left, nothing is trained and nothing written.

    Parameters
    ----------
    engine : Engine whose optimiser has a state
    loader : iterable of batches, for `engine.fit`
    epochs : int, in all, with those that the checkpoint has done
    path : str or Path of the checkpoint, or None for none
    generators : dict {name: numpy.random.Generator}, all that the training draws from
    validation : a second loader, or None
    settings : dict of plain values; a checkpoint with others is refused
    progress : as for `engine.fit`

    Returns
    -------
    history : dict of lists of float, a number for each epoch, named as by `engine.fit`

    Raises
    ------
    ValueError : if the checkpoint is broken or of other settings
    FloatingPointError : if a loss is no number; nothing is saved then
    """
    check.whole("epochs", epochs)
    settings = json.loads(json.dumps(settings or {}))           # tuples become lists, as kept
    history = {}
    parts = {"model": engine.model, "optimizer": engine.optimizer}  # eq. 10.10
    generators = dict(generators or {})
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        record = check.record(path, checkpoint.record)
        check.same_settings(path, record["settings"], settings)
        checkpoint.restore(parts, generators)
        history = record["history"]

    def after_epoch(new):
        for name, values in new.items():
            history.setdefault(name, []).append(values[-1])
        check.finite(history)
        if path is not None:
            save_checkpoint(path, parts, generators, history=history, settings=settings)

    left = epochs - len(history.get("loss", []))
    if left > 0:
        engine.fit(loader, left, validation, progress, on_epoch=after_epoch)
    return history
