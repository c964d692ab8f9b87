# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:c1cb87b36c5455eb
"""Chapter 17: shapes, values, and the rules of the program."""

import numpy as np
import pytest

from tangled.t06_backpropagation import Linear, Module, Parameter
from tangled.testing import assert_close, expect_value_error, rng

GOLDEN = {"rows": "pictures_of_rows", "normalise": "normalise", "crop": "crop", "flip": "flip", "cutout-3": "cutout",
          "cutout-4": "cutout", "map": "class_activation_map"}


@pytest.mark.value
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(level, golden, name):
    """Values by PyTorch, on arrays whose sizes all differ; what was handed in stays."""
    case = golden(name)
    kept = {k: v.copy() for k, v in case.inputs.items() if isinstance(v, np.ndarray)}
    out = getattr(level, GOLDEN[name])(**case.inputs)
    assert out.dtype == case.outputs["out"].dtype
    assert_close(out, case.outputs["out"], tol=1e-6, what="out")
    for key, before in kept.items():
        assert_close(case.inputs[key], before, tol=0, what=key)
        assert not np.shares_memory(out, case.inputs[key])


@pytest.mark.value
def test_golden_statistics(level, golden):
    """Of each channel, over all pictures and pixels; biased deviation."""
    case = golden("statistics")
    mean, std = level.channel_statistics(**case.inputs)
    assert mean.dtype == std.dtype == np.float64
    assert_close(mean, case.outputs["mean"], tol=1e-12, what="mean")
    assert_close(std, case.outputs["std"], tol=1e-12, what="std")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Variations keep shape and dtype; normalised pictures are float32."""
    images = rng(0).integers(0, 256, (3, 2, 6, 5)).astype(dtype)
    for out in (level.crop(images, np.ones((3, 2), int), 1), level.flip(images, np.ones(3, bool)),
                level.cutout(images, np.ones((3, 2), int), 2), level.augment(images, rng(1))):
        assert out.shape == images.shape and out.dtype == dtype
    if dtype == np.uint8:
        out = level.normalise(images, np.full(2, 0.5), np.full(2, 0.2))
        assert out.shape == images.shape and out.dtype == np.float32
    else:
        maps = level.class_activation_map(images, np.ones((2, 4), dtype), np.array([0, 1, 3]))
        assert maps.shape == (3, 6, 5) and maps.dtype == dtype


@pytest.mark.value
def test_normalised_by_its_statistics(level):
    """Mean 0 and deviation 1 in each channel of the set that was measured."""
    images = rng(2).integers(0, 256, (6, 3, 5, 4)).astype(np.uint8)
    images[:, 1] //= 4
    out = level.normalise(images, *level.channel_statistics(images)).astype(float)
    assert_close(out.mean((0, 2, 3)), np.zeros(3), tol=1e-6, what="mean")
    assert_close(out.std((0, 2, 3)), np.ones(3), tol=1e-6, what="std")


@pytest.mark.value
def test_crop_moves(level):
    """The middle offset moves nothing; a smaller one moves the picture down and to the right."""
    images = rng(3).standard_normal((1, 2, 5, 6))
    assert_close(level.crop(images, np.array([[3, 3]]), 3), images, tol=0, what="the middle")
    out = level.crop(images, np.array([[2, 5]]), 3)
    assert_close(out[..., 1:, :4], images[..., :4, 2:], tol=0, what="what is still visible")
    assert_close(out[..., :1, :], np.zeros((1, 2, 1, 6)), tol=0, what="the row above")
    assert_close(out[..., 4:], np.zeros((1, 2, 5, 2)), tol=0, what="the columns to the right")


@pytest.mark.value
def test_flip_twice(level):
    """Two flips are none; a picture without a flag stays; rows are not turned."""
    images, flags = rng(4).standard_normal((4, 2, 3, 5)), np.array([True, False, True, False])
    once = level.flip(images, flags)
    assert_close(level.flip(once, flags), images, tol=0, what="twice")
    assert_close(once[1::2], images[1::2], tol=0, what="without a flag")
    assert_close(once[0, 1, 2], images[0, 1, 2, ::-1], tol=0, what="a row, mirrored")


@pytest.mark.value
@pytest.mark.parametrize("size, expected", [(8, 7.5), (2, 1.97), (0, 0.0)])
def test_cutout_covers(level, size, expected):
    """The mean extent over all centres of an axis of 32."""
    images = np.ones((32, 1, 2, 32))
    out = level.cutout(images, np.stack([np.zeros(32, int), np.arange(32)], 1), size)
    assert_close(np.mean(32 - out[:, 0, 0].sum(1)), np.asarray(expected), tol=5e-3, what="mean extent")


@pytest.mark.value
@pytest.mark.parametrize("options", [{}, {"padding": 2, "size": 3}, {"padding": 0, "size": 5},
                                     {"padding": 6, "size": 1}])
def test_augment_is_its_parts(level, options):
    """Offsets, flags and centres, drawn in this order, for each picture its own."""
    images = rng(5).standard_normal((9, 2, 8, 7))
    padding, size = options.get("padding", 4), options.get("size", 8)
    draw = rng(6)
    offsets, flags = draw.integers(0, 2 * padding + 1, (9, 2)), draw.random(9) < 0.5
    centres = draw.integers(0, (8, 7), (9, 2))
    want = level.cutout(level.flip(level.crop(images, offsets, padding), flags), centres, size)
    generator = rng(6)
    assert_close(level.augment(images, generator, **options), want, tol=0, what="by the same draws")
    assert_close(np.asarray(generator.random()), np.asarray(draw.random()), tol=0, what="the generator's state")
    assert np.abs(level.augment(images, generator, **options) - want).max() > 0.1


@pytest.mark.value
def test_half_are_flipped(level):
    """By the draws below one half, of 120 pictures that are neither moved nor cut."""
    images, draw = rng(12).standard_normal((120, 1, 2, 3)), rng(13)
    draw.integers(0, 1, (120, 2))
    want = level.flip(images, draw.random(120) < 0.5)
    assert_close(level.augment(images, rng(13), padding=0, size=0), want, tol=0, what="pictures")


@pytest.mark.value
def test_little_contrast(level):
    """What is left of bytes that hardly differ is right to the last places of float32."""
    images = np.array([200, 201, 201, 200], np.uint8).reshape(1, 1, 2, 2)
    out = level.normalise(images, np.array([200.5 / 255]), np.array([0.5 / 255]))
    assert_close(out.astype(float).ravel(), np.array([-1.0, 1, 1, -1]), tol=1e-6, what="out")


@pytest.mark.value
def test_nothing_to_do_gives_a_copy(level):
    """No frame, no flags, a square of size 0: results that may be written to all the same."""
    images = rng(14).standard_normal((2, 1, 3, 4))
    places = np.zeros((2, 2), int)
    for out in (level.crop(images, places, 0), level.flip(images, np.zeros(2, bool)), level.cutout(images, places, 0),
                level.augment(images[..., ::-1], rng(15), padding=0, size=0)):
        assert not np.shares_memory(out, images)


@pytest.mark.value
def test_maps_have_the_type_of_features(level):
    """Weights in another precision do not change it."""
    features, weights = rng(16).standard_normal((2, 3, 2, 4)), rng(17).standard_normal((3, 5))
    want = level.class_activation_map(features, weights, np.array([4, 0]))
    for dtype, tol in ((np.float16, 2e-2), (np.float32, 1e-5)):
        got = level.class_activation_map(features.astype(dtype), weights, np.array([4, 0]))
        assert got.dtype == dtype
        assert_close(got.astype(float), want, tol=tol, what="maps")


@pytest.mark.value
def test_maps_sum_to_logits(level):
    """The mean of a map over its places is the logit without the bias."""
    features, weights = rng(7).standard_normal((3, 4, 2, 5)), rng(8).standard_normal((4, 6))
    logits = features.mean((2, 3)) @ weights
    for k in range(6):
        maps = level.class_activation_map(features, weights, np.full(3, k))
        assert_close(maps.mean((1, 2)), logits[:, k], tol=1e-12, what=f"logit of class {k}")


@pytest.mark.levels(2)
@pytest.mark.value
def test_decay_groups(level):
    """Kernels and matrices decay; scales, shifts and biases do not; none is lost, the order is kept."""
    shapes = [(4, 3, 2, 2), (4,), (5, 6), (6,), ()]
    parameters = [Parameter(rng(k).standard_normal(shape)) for k, shape in enumerate(shapes)]
    entries = lambda group: np.concatenate([np.zeros(0), *(p.data.ravel() for p in group)])
    decayed, others = level.decay_groups(iter(parameters))
    assert_close(entries(decayed), entries(parameters[:3:2]), tol=0, what="what decays")
    assert_close(entries(others), entries([parameters[k] for k in (1, 3, 4)]), tol=0, what="what does not")


class Watched(Module):
    """Logits (N, 2): sums of the left half and the right, in training less the batch's mean; remembers its modes."""

    def __init__(self):
        self.modes, self.inner = [], Linear(3, 2, np.random.default_rng(0))

    def forward(self, x):
        self.modes.append((self.training, self.inner.training))
        half = x.shape[3] // 2
        x = x - x.mean(0) if self.training else x
        return self.inner((x[..., :half].sum((2, 3)) - 2 * x[..., half:].sum((2, 3))).astype(np.float32))


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("training", [True, False])
def test_predict(level, training):
    """Evaluation mode at every depth, put back; batches joined; the mirror image averaged."""
    model, alone = Watched().train(training), Watched().eval()
    images = rng(9).integers(0, 256, (7, 3, 4, 6)).astype(np.uint8)
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.4])
    plain = level.predict(model, images, mean, std, batch_size=3, mirrored=False)
    x = level.normalise(images, mean, std)
    assert_close(plain, alone(x), tol=1e-5, what="logits")
    both = level.predict(model, images, mean, std, batch_size=4)
    assert_close(both, (alone(x) + alone(x[..., ::-1])) / 2, tol=1e-5, what="averaged logits")
    assert set(model.modes) == {(False, False)}
    assert (model.training, model.inner.training) == (training, training)
    model.inner.training = not training                         # a part that is in the other mode
    for size in (0, 2.5):
        expect_value_error("batch_size", level.predict, model, images, mean, std, batch_size=size)
    for bad in (images[:0], images.astype(float)):
        expect_value_error("images", level.predict, model, bad, mean, std)
    with pytest.raises(ValueError):
        level.predict(model, images[:, :2], mean[:2], std[:2])  # the layer wants three channels
    level.predict(model, images, mean, std)
    assert (model.training, model.inner.training) == (training, not training)


@pytest.mark.levels(2)
@pytest.mark.value
def test_augmented_loader(level):
    """Each epoch another order and other variations, from one generator; labels go along; nothing is changed."""
    images = rng(10).integers(1, 256, (10, 3, 6, 6)).astype(np.uint8)
    kept, mean, std = images.copy(), np.full(3, 0.5), np.full(3, 0.25)
    make = lambda: level.AugmentedLoader((images, np.arange(10)), 4, mean, std, rng(11), padding=1, size=2)
    loader, draw = make(), rng(11)
    assert len(loader) == 2
    x, labels = next(iter(loader))
    order = draw.permutation(10)[:4]
    assert_close(labels, order, tol=0, what="labels of the first batch")
    want = level.augment(level.normalise(images[order], mean, std), draw, 1, 2)
    assert_close(x, want, tol=0, what="pictures of the first batch")
    first, again = [np.concatenate([x for x, _ in make()]) for _ in range(2)]
    assert_close(first, again, tol=0, what="the same generator")
    loader = make()
    epochs = [np.concatenate([x for x, _ in loader]) for _ in range(2)]
    assert np.abs(epochs[0] - epochs[1]).max() > 0.1
    assert_close(images, kept, tol=0, what="the training set")
    whole = level.AugmentedLoader((images, np.arange(10)), 4, mean, std, rng(11), drop_last=False)
    assert sorted(np.concatenate([labels for _, labels in whole]).tolist()) == list(range(10))
    silent, told = (level.AugmentedLoader((images, np.arange(10)), 4, mean, std, rng(11), *options)
                    for options in ((), (4, 8, True)))
    for (a, _), (b, _) in zip(silent, told, strict=True):
        assert_close(a, b, tol=0, what="what is not said: a frame of 4, a square of 8")
