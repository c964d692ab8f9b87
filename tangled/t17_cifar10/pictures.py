# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:098a34154799f122
"""Chapter 17: pictures from files, read without trusting them."""

from pathlib import Path

import numpy as np

from tangled.data import CIFAR_CLASSES, EMOJI_CLASSES, load_emoji, read_cifar_binary, wrong
from tangled.t17_cifar10.level2_vectorized import pictures_of_rows
from tangled.t17_cifar10.pickled import Array, Machine

LIMIT = 1 << 28                                                 # bytes of a file


def emoji():
    """Emoji-32: images (N, 3, 32, 32) of bytes and labels (N,) to train on, the same to test, names."""
    return *load_emoji("train"), *load_emoji("test"), list(EMOJI_CLASSES)


def load(data):
    """As `emoji`, for "emoji", "cifar-10" (fetched once, its sha256 checked), or the path of a folder."""
    if data == "emoji":
        return emoji()
    if data == "cifar-10" and not Path(data).is_dir():
        from tangled.download import fetch
        return folder(fetch(data))
    return folder(Path(data))


def folder(path):
    """CIFAR-10 in its binary or Python format, or train/CLASS/*.png and test/CLASS/*.png."""
    if not path.is_dir():
        raise wrong(path, "no folder", 'a folder with CIFAR-10, or with train/ and test/; or "emoji"')
    for suffix in (".bin", ""):
        names = [f"data_batch_{k}{suffix}" for k in range(1, 6)]
        there = [name for name in names if (path / name).is_file()]
        if there and (path / f"test_batch{suffix}").is_file():
            read = read_cifar_binary if suffix else read_pickle
            images, labels = zip(*[read(path / name) for name in there])
            return (np.concatenate(images), np.concatenate(labels), *read(path / f"test_batch{suffix}"),
                    list(CIFAR_CLASSES))
    if (path / "train").is_dir() and (path / "test").is_dir():
        names = sorted(p.name for p in (path / "train").iterdir() if p.is_dir())
        return *class_folders(path / "train", names), *class_folders(path / "test", names), names
    raise wrong(path, "neither data_batch_1.bin nor data_batch_1 with its test_batch, nor train/ and test/",
                "CIFAR-10, or pictures in a folder for each class")


def class_folders(path, names):
    """The PNG files of a folder for each class: images (N, 3, H, W) of bytes, labels (N,)."""
    images, labels = [], []
    for label, name in enumerate(names):
        for file in sorted((path / name).glob("*.png")):
            images.append(read_png(file))
            labels.append(label)
    if not images:
        raise wrong(path, "no picture", f"PNG files in {', '.join(names) or 'folders named by classes'}")
    if len({image.shape for image in images}) > 1:
        raise wrong(path, f"pictures of {len({image.shape for image in images})} sizes", "one size")
    return np.stack(images), np.array(labels, np.uint8)


def read_png(path):
    """A picture (3, H, W) of bytes, red, green, blue; transparency over white."""
    from PIL import Image
    with Image.open(path) as file:
        layers = file.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return np.asarray(Image.alpha_composite(white, layers))[..., :3].transpose(2, 0, 1).copy()


def read_pickle(path):
    """A batch of CIFAR-10's Python format: images (N, 3, 32, 32), labels (N,), bytes.

    A pickle is a program; `Machine` runs the few instructions that data need, and calls nothing.
    """
    path = Path(path)
    if path.stat().st_size > LIMIT:
        raise wrong(path, f"{path.stat().st_size} bytes", f"at most {LIMIT}")
    try:
        found = Machine(path.read_bytes()).run()
    except ValueError as error:
        raise wrong(path, f"no such pickle: {error}", "a batch of CIFAR-10") from None
    return batch_of(found, path)


def batch_of(found, path):
    """images and labels of {b"data": rows, b"labels": list}."""
    entries = {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in found.items()} if isinstance(
        found, dict) else {}
    rows, labels = entries.get("data"), entries.get("labels")
    if not isinstance(rows, Array) or not isinstance(labels, list):
        raise wrong(path, "no data and labels", "a dict with an array `data` and a list `labels`")
    rows, good = rows.bytes(path), all(type(label) is int and 0 <= label <= 9 for label in labels)
    if rows.shape != (len(labels), 3072) or not good:
        raise wrong(path, f"data {rows.shape} and {len(labels)} labels", "(N, 3072) and N labels from 0 to 9")
    return pictures_of_rows(rows, (3, 32, 32)), np.array(labels, np.uint8)
