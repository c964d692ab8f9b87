# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:d342bd1d4c60fb5d
"""Chapter 10: growth of time and memory, as exponents and ratios, never seconds."""

import gzip
import struct

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t10_mnist import level2_vectorized
from tangled.testing import rng

pytestmark = pytest.mark.performance


def pictures(count, side=28):
    """Images (count, side, side) and labels (count,)."""
    generator = rng(0)
    return (generator.integers(0, 256, (count, side, side), dtype=np.uint8),
            generator.integers(0, 10, count))


def packed(path, images):
    """A gzipped IDX file of images (N, H, W)."""
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", *images.shape)
    path.write_bytes(gzip.compress(head + images.tobytes(), 1))
    return path


@pytest.mark.levels(3)
def test_reading_needs_the_array_alone(level, tmp_path):
    """The peak is the array and a piece or two; level 2's is more than twice that."""
    images, _ = pictures(8000)
    path = packed(tmp_path / "images-idx.gz", images)
    peaks = [peak_memory(lambda module=module: module.read_idx(path))
             for module in (level, level2_vectorized)]
    assert peaks[0] < images.nbytes + 4 * level.PIECE
    assert peaks[1] > 1.9 * images.nbytes


@pytest.mark.levels(3)
def test_a_lie_is_not_allocated(level, tmp_path):
    """A header for a gigabyte on a file of a few bytes costs nothing."""
    path = tmp_path / "lie-idx.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 1 << 30) + b"x" * 99))

    def attempt():
        with pytest.raises(ValueError, match="expected at most"):
            level.read_idx(path)
    assert peak_memory(attempt) < 2 * level.PIECE


@pytest.mark.levels(3)
def test_an_epoch_of_batches_needs_one(level):
    """Making the loader and walking through it: below 5 % of level 2's floats."""
    images, labels = pictures(4000)

    def epoch(module):
        return sum(x[0, 0] for x, _ in module.make_loader(images, labels, 100, 33.0, 78.0, rng(0)))
    peaks = [peak_memory(lambda module=module: epoch(module))
             for module in (level, level2_vectorized)]
    assert peaks[0] < 0.05 * peaks[1]
    assert peaks[1] > 4 * images.nbytes


@pytest.mark.levels(3)
def test_statistics_make_no_copy(level):
    """A histogram in pieces, where level 2 makes differences of float64."""
    images, _ = pictures(6000)
    peaks = [peak_memory(lambda module=module: module.pixel_statistics(images))
             for module in (level, level2_vectorized)]
    assert peaks[0] < 0.05 * peaks[1]


def test_counting_is_linear(level, level_number):
    """Twice the samples, twice the time; nothing of N x N."""
    start = 2000 if level_number == 1 else 200_000

    def problem(count):
        target, predicted = rng(1).integers(0, 10, (2, count))
        return lambda: level.confusion_matrix(target, predicted, 10)
    assert growth_exponent(problem, [start, 2 * start, 4 * start]) < 1.4


@pytest.mark.levels(2, 3)
def test_reading_is_linear(level, tmp_path):
    """Twice the pictures, twice the time and twice the memory."""
    def problem(count):
        path = packed(tmp_path / f"{count}-idx.gz", pictures(count)[0])
        return lambda: level.read_idx(path)
    sizes = [800, 1600, 3200]
    assert growth_exponent(problem, sizes) < 1.4
    assert 0.5 < growth_exponent(problem, sizes, measure="memory") < 1.3
