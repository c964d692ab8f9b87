# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:c4dac75c3229d6a9
"""Chapter 10: reading, preparing, counting, and an epoch, on each level."""

import gzip
import tempfile
from pathlib import Path

import numpy as np

from tangled.data import DATA, load_mnist
from tangled.measuring import Ladder, torch_available
from tangled.t10_mnist import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized,
          "level 3": level3_memory_efficient}
FAST = {name: LEVELS[name] for name in ("level 2", "level 3")}


def with_torch(calls, make):
    """The calls, and PyTorch's where it is installed: tensors in and out, and no checks."""
    if torch_available():
        import torch
        calls["level 4"] = make(torch)
    return calls


def reading(name, path, levels):
    """Read one file; PyTorch has no reader of its own, so there is no level 4."""
    calls = {key: lambda level=level: level.read_idx(path) for key, level in levels.items()}
    return Ladder(name, calls)


def preparing(count, levels):
    """Standardise `count` pictures."""
    images = load_mnist("test")[0][:count]

    def of_torch(torch):
        pixels = torch.from_numpy(images)
        return lambda: pixels.flatten(1).float().sub_(33.3).div_(78.6)

    calls = {key: lambda level=level: level.prepare(images, 33.3, 78.6)
             for key, level in levels.items()}
    return Ladder(f"prepare {count:,} pictures", with_torch(calls, of_torch))


def counting(count, levels):
    """A confusion matrix of `count` answers."""
    target, predicted = np.random.default_rng(0).integers(0, 10, (2, count), dtype=np.uint8)

    def of_torch(torch):
        true, said = torch.from_numpy(target), torch.from_numpy(predicted)
        return lambda: (true.long() * 10 + said).bincount(minlength=100).reshape(10, 10)

    calls = {key: lambda level=level: level.confusion_matrix(target, predicted, 10)
             for key, level in levels.items()}
    return Ladder(f"confusion matrix of {count:,} answers", with_torch(calls, of_torch))


def epoch_of_level(level, images, labels, batch=128):
    """A function that trains for an epoch on images (N, 28, 28), labels (N,)."""
    def call():
        loader = level.make_loader(images, labels, batch, 33.3, 78.6, np.random.default_rng(0))
        engine.fit(loader, 1, progress=False)
    engine = level.build_engine(level.build_model(np.random.default_rng(1)), 10**6)
    return call


def epoch_of_torch(images, labels, batch=128, **options):
    """The same in PyTorch, eager, with AdamW's default (a loop over the parameters, on a processor)
    or its `options`, and level 3's loader."""
    import torch
    from torch.nn import functional

    from tangled.t10_mnist import level4_pytorch_reference as level4
    layers = [(p.data, b.data) for p, b in zip(
        *[iter(level3_memory_efficient.build_model(np.random.default_rng(1)).parameters())] * 2)]
    model = level4.network(layers)
    optimizer = torch.optim.AdamW(model.parameters(), 0.002, weight_decay=0.1, **options)
    torch.set_num_threads(1)                                    # as everybody else here

    def call():
        rng, total, hits = np.random.default_rng(0), 0.0, 0
        loader = level3_memory_efficient.make_loader(images, labels, batch, 33.3, 78.6, rng)
        for x, y in loader:
            inputs, target = torch.from_numpy(x), torch.from_numpy(y).long()
            logits = model(inputs)
            loss = functional.cross_entropy(logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            hits += int((logits.argmax(1) == target).sum())
    return call


def epoch(count):
    """An epoch of `count` pictures, from bytes to the history."""
    images, labels = (a[:count] for a in load_mnist("test"))
    calls = {key: epoch_of_level(level, images, labels) for key, level in FAST.items()}
    if torch_available():
        calls["level 4"] = epoch_of_torch(images, labels)
        calls["best PyTorch"] = epoch_of_torch(images, labels, fused=True)
    return Ladder(f"epoch of {count:,} pictures, batch 128", calls,
                  operations=f"{503_552 * count:,} multiply-adds",
                  note="float32; loader, forward, loss, backward, AdamW, means; best PyTorch: fused=True")


def ladders():
    """Reading, preparing, counting, and an epoch."""
    folder = DATA / "mnist"
    yield reading("read IDX, 10,000 labels", folder / "t10k-labels-idx1-ubyte.gz", LEVELS)
    yield reading("read IDX, 10,000 pictures, unzipped", unzipped(), FAST)
    yield preparing(20, LEVELS)
    yield preparing(128, FAST)
    yield counting(10_000, LEVELS)
    yield epoch(5_000)


def unzipped():
    """A copy of the test pictures without gzip, whose time would hide all else."""
    path = Path(tempfile.gettempdir()) / "tangled-t10k-images-idx3-ubyte"
    with gzip.open(DATA / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        path.write_bytes(file.read())
    return path
