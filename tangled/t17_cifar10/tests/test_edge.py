# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:5d98a52daa74e9ba
"""Chapter 17: what is empty, single, constant, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

IMAGES, FLOATS = np.zeros((3, 2, 4, 5), np.uint8), np.zeros((3, 2, 4, 5))
HALF, PLACES = np.full(2, 0.5), np.zeros((3, 2), int)


@pytest.mark.parametrize("f, args, argument", [
    ("channel_statistics", (FLOATS,), "images"), ("channel_statistics", (IMAGES[0],), "images"),
    ("channel_statistics", (IMAGES[:0],), "images"), ("normalise", (FLOATS, HALF, HALF), "images"),
    ("normalise", (IMAGES, np.full(3, 0.5), HALF), "mean"), ("normalise", (IMAGES, HALF, np.array([0.5, 0.0])), "std"),
    ("normalise", (IMAGES, HALF, np.ones(2, int)), "std"), ("normalise", (IMAGES, np.ones(2, int), HALF), "mean"),
    ("crop", (FLOATS, PLACES + 5, 2), "offsets"),
    ("crop", (FLOATS, PLACES - 1, 2), "offsets"), ("crop", (FLOATS, PLACES[:2], 2), "offsets"),
    ("crop", (FLOATS, PLACES * 1.0, 2), "offsets"), ("crop", (FLOATS, PLACES, -1), "padding"),
    ("crop", (FLOATS[0], PLACES, 1), "images"), ("flip", (FLOATS, np.ones(3, int)), "flags"),
    ("flip", (FLOATS, np.ones(2, bool)), "flags"), ("flip", (FLOATS.astype(str), np.ones(3, bool)), "images"),
    ("cutout", (FLOATS, PLACES + 4, 2), "centres"), ("cutout", (FLOATS, PLACES, 1.5), "size"),
    ("augment", (FLOATS, 0), "rng"), ("augment", (FLOATS, np.random.default_rng(0), -1), "padding"),
    ("pictures_of_rows", (np.zeros((2, 11), np.uint8), (1, 3, 4)), "rows"),
    ("pictures_of_rows", (np.zeros((2, 12)), (1, 3, 4)), "rows"),
    ("pictures_of_rows", (np.zeros((2, 12), np.uint8), (3, 4)), "shape"),
    ("class_activation_map", (FLOATS, np.ones((3, 2)), np.zeros(3, int)), "weights"),
    ("class_activation_map", (FLOATS, np.ones((2, 4)), np.full(3, 4)), "labels"),
    ("class_activation_map", (FLOATS, np.ones((2, 4)), np.zeros(2, int)), "labels"),
    ("class_activation_map", (IMAGES, np.ones((2, 4)), np.zeros(3, int)), "features")])
def test_refuses(level, f, args, argument):
    """Wrong shapes, dtypes and ranges."""
    expect_value_error(argument, getattr(level, f), *args)


@pytest.mark.parametrize("f, args, text", [
    ("crop", (FLOATS, PLACES + [[0, 5]], 2), "offsets has values from 5 to 5 in column 1; expected 0 to 4"),
    ("normalise", (IMAGES, HALF, np.array([0.5, 0.0])),
     "std = [0.5, 0.0]; expected positive numbers: a constant channel has no scale"),
    ("pictures_of_rows", (np.zeros((2, 11), np.uint8), (1, 3, 4)), "rows is uint8 (2, 11); expected uint8 (N, 12)"),
    ("flip", (FLOATS, np.ones(3, int)), "flags is int64 (3,); expected bool (3,)")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


def test_no_pictures(level):
    """An empty batch passes through everything but the statistics."""
    empty = np.zeros((0, 2, 4, 5))
    places = np.zeros((0, 2), int)
    for out in (level.crop(empty, places, 1), level.flip(empty, np.zeros(0, bool)), level.cutout(empty, places, 2),
                level.augment(empty, rng(0)), level.normalise(empty.astype(np.uint8), HALF, HALF)):
        assert out.shape == empty.shape
    assert level.class_activation_map(empty, np.ones((2, 3)), np.zeros(0, int)).shape == (0, 4, 5)


def test_extremes_of_crop_and_cutout(level):
    """A frame wider than the picture moves it out of sight; a square larger than it covers all; size 0 nothing."""
    images = np.ones((2, 1, 3, 4))
    out = level.crop(images, np.array([[0, 0], [10, 10]]), 5)
    assert_close(out, np.zeros(images.shape), tol=0, what="moved out of sight")
    assert_close(level.cutout(images, np.array([[1, 1], [2, 3]]), 20), np.zeros(images.shape), tol=0, what="covered")
    assert_close(level.cutout(images, np.array([[1, 1], [2, 3]]), 0), images, tol=0, what="size 0")
    assert_close(level.crop(images, np.zeros((2, 2), int), 0), images, tol=0, what="padding 0")


def test_not_a_number_is_left_behind(level):
    """What is cut out or beyond the frame is zero, whatever stood there before, in every channel."""
    images = np.full((1, 5, 4, 3), np.nan)
    images[:, :, 3, 2] = 7
    cut = level.cutout(images, np.array([[1, 1]]), 3)
    assert_close(cut[:, :, :3], np.zeros((1, 5, 3, 3)), tol=0, what="what was cut out")
    moved = level.crop(images, np.array([[4, 3]]), 2)           # up by 2, to the left by 1
    assert_close(moved[:, :, 2:], np.zeros((1, 5, 2, 3)), tol=0, what="below")
    assert_close(moved[..., 2], np.zeros((1, 5, 4)), tol=0, what="to the right")
    assert_close(moved[:, :, 1, 1], np.full((1, 5), 7.0), tol=0, what="the pixel that was a number")


def test_constant_channel(level):
    """Its deviation is 0, exactly; the others' are right."""
    images = rng(1).integers(0, 256, (3, 2, 4, 5)).astype(np.uint8)
    images[:, 0] = 77
    mean, std = level.channel_statistics(images)
    assert_close(np.array([mean[0], std[0]]), np.array([77 / 255, 0.0]), tol=1e-12, what="the constant channel")
    assert_close(std[1], np.asarray((images[:, 1] / 255).std()), tol=1e-12, what="the other")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    x = rng(2).standard_normal((3, 2, 4, 5))
    places = np.array([[0, 1], [2, 2], [1, 0]])
    assert_layouts(lambda x: level.crop(x, places, 1), [x])
    assert_layouts(lambda x: level.flip(x, np.array([True, False, True])), [x])
    assert_layouts(lambda x: level.cutout(x, places, 3), [x])
    labels = np.array([0, 2, 1])
    assert_layouts(lambda x, w: level.class_activation_map(x, w, labels), [x, rng(3).standard_normal((2, 3))])
    images = rng(4).integers(0, 256, (3, 2, 4, 5)).astype(np.uint8)
    for layout in (np.asfortranarray(images), images[:, :, ::-1].copy()[:, :, ::-1]):
        for got, want in zip(level.channel_statistics(layout), level.channel_statistics(images)):
            assert_close(got, want, tol=1e-12, what="statistics")
        assert_close(level.normalise(layout, HALF, HALF), level.normalise(images, HALF, HALF), tol=0, what="normalised")


@pytest.mark.levels(3)
def test_out(level):
    """Normalised pictures go where they were asked for; what does not fit is refused."""
    images = rng(5).integers(0, 256, (3, 2, 4, 5)).astype(np.uint8)
    room = np.empty(images.shape, np.float32)
    assert level.normalise(images, HALF, HALF, out=room) is room
    assert_close(room, level.normalise(images, HALF, HALF), tol=0, what="out")
    for wrong in (room[:1], room.astype(float), [1.0]):
        expect_value_error("out", level.normalise, images, HALF, HALF, out=wrong)
