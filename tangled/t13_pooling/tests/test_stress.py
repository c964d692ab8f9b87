# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:24915fa2c702e252
"""Chapter 13: growth of memory, large windows, and the program."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, op, shape, *args):
    """A function that runs forward and backward in float32."""
    x = rng(0).standard_normal(shape).astype(np.float32)

    def call():
        out, cache = getattr(level, op)(x, *args)
        return getattr(level, op + "_backward")(out, cache)
    return call


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_memory_is_linear_in_the_batch(level, op):
    """No matrix of all outputs against all inputs."""
    exponent = growth_exponent(lambda n: step(level, op, (n, 2, 6, 6), 2), [8, 16, 32], measure="memory")
    assert exponent < 1.3, f"memory grows as N^{exponent:.2f}"


@pytest.mark.levels(3)
@pytest.mark.parametrize("op, bound", [("max_pool2d", 2.4), ("avg_pool2d", 2.4)])
def test_level3_makes_no_padded_copy(level, op, bound):
    """At most 2.4 times x for both passes, 1.4 for the maxima alone: results, bytes, a block; whatever the kernel."""
    shape = (64, 8, 32, 32)
    x = 4 * np.prod(shape)
    for kernel in (2, 4, 8):
        peak = peak_memory(step(level, op, shape, kernel))
        assert peak < bound * x, f"{peak / x:.2f} times x, kernel {kernel}"
        alone = peak_memory(lambda k=kernel: getattr(level, op)(np.ones(shape, np.float32), k)) - x
        assert op != "max_pool2d" or alone < 1.4 * x, f"forward {alone / x:.2f} times x: a batch in one block?"


@pytest.mark.levels(3)
@pytest.mark.value
@pytest.mark.parametrize("block", [1, 144, 300, 1 << 17])
def test_level3_in_blocks(level, block, monkeypatch):
    """A batch in several blocks, the last a smaller one, and NaN in one of them: as level 2, in one piece."""
    from tangled.t13_pooling import level2_vectorized as plain
    x = rng(30).integers(-3, 4, (5, 2, 9, 8)).astype(np.float32)
    x[1, 0, 3, 5] = np.nan
    monkeypatch.setattr(level, "BLOCK", block)
    results = []
    for module in (plain, level):
        out, cache = module.max_pool2d(x, (3, 2), (2, 3), (1, 1), (1, 2))
        results.append((out, module.max_pool2d_indices(cache), module.max_pool2d_backward(np.cos(out), cache)))
    for name, whole, parts in zip(("out", "indices", "dx"), *results):
        assert_close(parts, whole, tol=1e-6, what=name)


@pytest.mark.levels(3)
def test_level3_beats_level2_on_large_windows(level):
    """2 K steps for K^2: at K = 8 at least twice as fast."""
    from tangled.t13_pooling import level2_vectorized as plain
    ratio = time_ratio(step(plain, "max_pool2d", (4, 4, 32, 32), 8, 2), step(level, "max_pool2d", (4, 4, 32, 32), 8, 2))
    assert ratio > 2, f"only {ratio:.1f} times as fast as level 2"


@pytest.mark.value
def test_places_beyond_16_bits(level):
    """36,100 and 67,600 pixels: numbers of places outgrow two bytes, with a sign and without, and come back."""
    for size in (190, 260):
        x = rng(31).permutation(size * size).reshape(1, 1, size, size).astype(np.float32)
        rows = np.arange(size * size).reshape(size // 10, 10, size // 10, 10).swapaxes(1, 2).reshape(-1, 100)
        expected = np.take_along_axis(rows, x.ravel()[rows].argmax(axis=1)[:, None], 1)[:, 0]
        out, cache = level.max_pool2d(x, 10)
        places = level.max_pool2d_indices(cache)
        assert_close(places.ravel(), expected, tol=0, what="indices")
        up, cache = level.max_unpool2d(out, places, 10)
        assert_close(up.ravel()[expected], out.ravel(), tol=0, what="the maxima, back at their places")
        assert_close(level.max_unpool2d_backward(x, cache), out, tol=0, what="dx of the way back")


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("kernel", [200, 256, 257, 290])
def test_a_window_of_more_than_256(level, kernel):
    """Numbers of winners that just fit into a byte, or do not, along either axis; also the last of them."""
    x = rng(1).permutation(2 * 300 * 3).reshape(1, 2, 300, 3).astype(float)
    x[:, 0] = np.arange(900.0).reshape(300, 3)                  # of each window of a column the last entry
    windows = np.stack([x[:, :, k:k + kernel].max(axis=2) for k in range(301 - kernel)], axis=2)
    for flip in (False, True):
        turned = (lambda a: a.swapaxes(2, 3).copy()) if flip else (lambda a: a)
        picture, expected = turned(x), turned(windows)
        out, cache = level.max_pool2d(picture, (1, kernel) if flip else (kernel, 1), 1)
        assert_close(out, expected, tol=0, what="out")
        places = level.max_pool2d_indices(cache).reshape(1, 2, -1)
        picked = np.take_along_axis(picture.reshape(1, 2, 900), places, 2)
        assert_close(picked.reshape(out.shape), expected, tol=0, what="x at the indices")
        dx = level.max_pool2d_backward(np.ones(out.shape), cache).reshape(1, 2, 900)
        wins = (places[..., None] == np.arange(900)).sum(axis=2).astype(float)         # windows of each entry
        assert_close(dx, wins, tol=0, what="dx")


@pytest.mark.levels(3)
def test_level3_modules_are_of_this_level(level):
    """The modules call the ops of level 3, not those of level 2."""
    for module, op in ((level.MaxPool2d, "max_pool2d"), (level.AvgPool2d, "avg_pool2d")):
        assert module.op is getattr(level, op) and module.op_backward is getattr(level, op + "_backward")


@pytest.mark.levels(2, 3)
def test_large_in_float32(level):
    """Means of 16,384 numbers, against float64."""
    x = (100 + rng(2).standard_normal((2, 3, 128, 128))).astype(np.float32)
    for op, args in (("avg_pool2d", (128,)), ("global_avg_pool2d", ()), ("adaptive_avg_pool2d", (1,))):
        out, _ = getattr(level, op)(x, *args)
        assert_close(out.astype(float).ravel(), x.astype(float).mean((2, 3)).ravel(), tol=2e-5, what=op)


def pictures(seed=3, count=60):
    """A small set: a bright square whose place tells the class."""
    draw = rng(seed)
    labels = draw.integers(0, 10, count).astype(np.uint8)
    images = draw.integers(0, 60, (count, 28, 28)).astype(np.uint8)
    for image, y in zip(images, labels):
        image[3 + y // 5 * 12:10 + y // 5 * 12, y % 5 * 5:5 + y % 5 * 5] = 250
    return images, labels


@pytest.mark.levels(3)
def test_resumed_is_the_same(level, tmp_path):
    """A run that was interrupted in its second epoch ends with the same bits."""
    from tangled.t13_pooling import training
    settings = {"samples": 60, "epochs": 3, "batch": 16, "channels": [3, 4], "hidden": 8, "seed": 5}
    data, path = pictures(), tmp_path / "cnn.npz"
    whole = training.experiment(data, data, **settings)
    seen, steps = training.Pictures.__iter__, []

    def broken(self):
        for batch in seen(self):
            steps.append(1)
            if len(steps) == 6:                                 # in the second epoch
                raise KeyboardInterrupt
            yield batch
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(training.Pictures, "__iter__", broken)
        training.experiment(data, data, path, **settings)
    resumed = training.experiment(data, data, path, **settings)
    assert resumed.history == whole.history and len(whole.history["loss"]) == 3
    for (name, a), b in zip(whole.model.named_parameters(), resumed.model.parameters()):
        assert_close(b.data, a.data, tol=0, what=name)
    other = training.experiment(data, data, **{**settings, "seed": 6})
    assert other.history["loss"] != whole.history["loss"]


@pytest.mark.levels(3)
def test_learns(level):
    """Every parameter moves, and the squares are told apart; the model stands in for the chapter's."""
    from tangled.t13_pooling import training
    from tangled.t13_pooling.model import build_cnn
    data = pictures(count=200)
    run = training.experiment(data, pictures(4, 100), samples=200, epochs=12, batch=20, channels=[4, 6], hidden=16)
    assert run.accuracy > 0.9, f"{run.accuracy:.2f} right"
    fresh = build_cnn(np.random.default_rng([0, 0]), [4, 6], 16)
    for (name, p), q in zip(run.model.named_parameters(), fresh.parameters()):
        assert np.abs(p.data - q.data).max() > 1e-3, name
    assert sum(p.data.size for p in build_cnn(rng(0)).parameters()) == 208 + 4_824 + 76_928 + 1_290


@pytest.mark.levels(3)
def test_program(level, tmp_path, monkeypatch, capsys):
    """Trains, sets an older run aside, resumes, refuses what is wrong in one line, records."""
    from tangled.t13_pooling import train_cnn, training
    for module in (train_cnn, training):
        monkeypatch.setattr(module, "DATA", {name: lambda split: pictures(count=24) for name in ("mnist", "fashion")})
    monkeypatch.setattr(train_cnn, "save", lambda *arguments: None)
    command = ["--samples", "24", "--epochs", "2", "--folder", str(tmp_path)]

    def run(*more):
        status = train_cnn.main([*command, *more])
        return status, *capsys.readouterr()
    assert "of 24 test pictures right" in run()[1]
    assert "set aside" in run("--seed", "0")[1] and len(list(tmp_path.glob("*.npz"))) == 2
    assert "2 of 2 epochs are done" in run("--resume")[1]
    assert "nothing to resume" in run("--resume", "--seed", "1")[1]
    assert "of 4 held-out pictures right" in run("--validate", "--samples", "20")[1]
    assert "fashion, 24 pictures" in run("--data", "fashion")[1]
    for wrong, name in ((("--epochs", "0"), "epochs"), (("--samples", "25"), "samples"), (("--seed", "-1"), "seed")):
        status, _, error = run(*wrong)
        assert status == 1 and error.startswith(f"{name} = ") and error.count("\n") == 1
    stored = {}
    monkeypatch.setattr(train_cnn, "store_run", lambda *args, **fields: stored.update(fields))
    assert train_cnn.main(["--record", "--seeds", "3", "4", "--samples", "24", "--epochs", "1"]) == 0
    values = stored["values"]
    assert values["seeds"] == [3, 4] and len(values["accuracy"]) == len(values["fashion"]) == 2
    assert np.shape(values["filters"]) == (8, 5, 5) and np.sum(values["confusion"]) == 24
    assert values["shifted"]["convolutional"][0] == values["accuracy"][0]
