# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:68abcdb1e9026ad5
"""Chapter 10: the pipeline, the counts, the trajectory, the resume, the milestone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tangled
from tangled.data import DATA, load_mnist
from tangled.gradients import check_module_gradients
from tangled.t02_autograd import Tensor
from tangled.t06_backpropagation import Module
from tangled.t10_mnist import base
from tangled.testing import assert_close, assert_layouts, assert_repeatable, rng

classes = pytest.mark.levels(1, 2, 3)


@pytest.mark.value
@pytest.mark.levels(2, 3)
def test_reads_mnist(level):
    """The four files as they ship: equal to Appendix B's reader, first digit a 7."""
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = load_mnist(split)
        for name, expected in (("images-idx3", images), ("labels-idx1", labels)):
            got = level.read_idx(DATA / "mnist" / f"{prefix}-{name}-ubyte.gz")
            assert got.dtype == np.uint8 and np.array_equal(got, expected)


@pytest.mark.value
def test_golden_prepare(level, golden):
    """PyTorch's mean, deviation (of all, not of all but one) and rows."""
    case = golden("prepare")
    found = level.pixel_statistics(case.inputs["images"])
    assert_close(np.array(found), case.outputs["statistics"], tol=1e-9, what="mean and std")
    assert_close(level.prepare(**case.inputs), case.outputs["x"], what="x", dtype=np.float32)


@pytest.mark.value
def test_prepare_uses_what_it_is_given(level):
    """0 and 255 with mean 100 and deviation 50 are -2 and 3.1, whatever else is there."""
    images = np.array([[[0, 255]], [[100, 50]]], np.uint8)
    expected = np.array([[-2.0, 3.1], [0.0, -1.0]], np.float32)
    assert_close(level.prepare(images, 100.0, 50.0), expected, what="x")
    assert_close(level.prepare(images[:1], 100.0, 50.0), expected[:1], what="x")
    assert images[0, 0].tolist() == [0, 255]


@pytest.mark.value
def test_in_every_layout(level, level_number):
    """Pictures and labels however they lie in memory; called twice; nothing changed or shared."""
    images = rng(6).integers(0, 256, (4, 3, 5), dtype=np.uint8)
    target, predicted = rng(7).integers(0, 3, (2, 8))
    logits = 2 * rng(8).standard_normal((8, 3))
    into = {"out": True} if level_number == 3 else {}
    for f, inputs, more in ((level.pixel_statistics, (images,), {}),
                            (level.prepare, (images, 90.0, 60.0), into),
                            (level.accuracy, (target, predicted), {}),
                            (level.confusion_matrix, (target, predicted, 3), {}),
                            (level.precision_recall, (np.array([[4, 1, 2], [1, 5, 1], [2, 3, 6]]),), {}),
                            (level.worst_mistakes, (logits, target, 4), {})):
        assert_layouts(f, inputs, **more)
        assert_repeatable(f, inputs)


@pytest.mark.value
def test_statistics_are_summed_in_double(level, level_number):
    """Of many pixels, to ten digits: by counts of the 256 values, in integers."""
    count = 3_000 if level_number == 1 else 900_000
    images = rng(9).integers(0, 256, (count, 1, 1), dtype=np.uint8) // np.uint8(3)
    counts, values = np.bincount(images.reshape(-1), minlength=256), np.arange(256)
    mean = int(counts @ values) / count
    std = np.sqrt(int(counts @ values**2) / count - mean**2)
    assert_close(np.array(level.pixel_statistics(images)), np.array([mean, std]), tol=1e-10, what="mean, std")


@pytest.mark.value
@pytest.mark.levels(3)
def test_rooms_are_checked(level):
    """An `out` of another shape or type would be filled in part, or broadcast."""
    images, counts = np.zeros((4, 3, 5), np.uint8), np.zeros((3, 3), np.int64)
    for out in (np.empty((4, 15)), np.empty((1, 15), np.float32), np.empty((2, 4, 15), np.float32), [0]):
        with pytest.raises(ValueError, match=r"out is .*expected float32"):
            level.prepare(images, 0.0, 1.0, out=out)
    for out in (counts.astype(float), counts[:2], np.zeros((2, 3, 3), np.int64)):
        with pytest.raises(ValueError, match=r"out is .*expected int64"):
            level.confusion_matrix(counts[0], counts[0], 3, out=out)


@pytest.mark.value
@classes
def test_loader(level):
    """Pictures keep their labels, in every order; all come once an epoch; rows are prepared."""
    labels = np.arange(11, dtype=np.uint8)
    images = np.repeat(labels, 6).reshape(11, 2, 3) * np.uint8(20)
    for generator in (None, rng(0)):
        loader = level.make_loader(images, labels, 4, 50.0, 10.0, generator)
        assert len(loader) == 3
        for _ in range(2):
            batches = [(x.copy(), y.copy()) for x, y in loader]
            assert [x.shape for x, _ in batches] == [(4, 6), (4, 6), (3, 6)]
            x, y = (np.concatenate(parts) for parts in zip(*batches))
            expected = np.repeat((20.0 * y - 50) / 10, 6).reshape(11, 6).astype(np.float32)
            assert_close(x, expected, what="x", dtype=np.float32)
            assert sorted(y) == labels.tolist()
            assert (y.tolist() == labels.tolist()) == (generator is None)


@pytest.mark.value
@classes
def test_order_belongs_to_the_generator(level):
    """Every level draws the order as Chapter 6's loader does: one permutation an epoch."""
    labels = np.arange(9)
    loader = level.make_loader(np.zeros((9, 1, 1), np.uint8), labels, 4, 0.0, 1.0, rng(3))
    found = [np.concatenate([y for _, y in loader]).tolist() for _ in range(2)]
    dice = rng(3)
    assert found == [dice.permutation(9).tolist() for _ in range(2)]


@pytest.mark.shape
@classes
def test_model(level):
    """Layers in their places, float32, and the number of parameters of the real network."""
    model = level.build_model(rng(0), (6, 5, 4, 3), dropout=0.5, noise=rng(1))
    kinds = [type(module).__name__ for module in model.layers]
    assert kinds == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    logits = model(np.zeros((2, 6), np.float32))
    assert logits.shape == (2, 3) and logits.dtype == np.float32
    kinds = [type(m).__name__ for m in level.build_model(rng(0), (6, 5, 3)).layers]
    assert kinds == ["Linear", "ReLU", "Linear"]
    parameters = level.build_model(rng(0)).parameters()
    assert sum(p.data.size for p in parameters) == 235_146


@pytest.mark.value
@classes
def test_whose_dice(level):
    """Weights come from rng, masks from noise and at the rate that was asked for."""
    weights, noise = rng(0), rng(1)
    model = level.build_model(weights, (6, 500, 3), dropout=0.2, noise=noise)
    for p, same, other in zip(*(level.build_model(rng(s), (6, 500, 3)).parameters() for s in (0, 0, 9))):
        assert_close(p.data, same.data, tol=0, what="weights of the same seed")
        assert p.data.ndim == 1 or not np.array_equal(p.data, other.data), "rng is not used"
    drawn, before = weights.bit_generator.state, noise.bit_generator.state
    x = np.ones((40, 6), np.float32)
    hidden = model.layers[1](model.layers[0](x))
    dropped = model.layers[2](hidden)
    alive = hidden > 0
    assert abs((dropped[alive] == 0).mean() - 0.2) < 0.03, "dropout is another than 0.2"
    assert_close(dropped[dropped != 0], hidden[dropped != 0] / 0.8, what="what is kept")
    assert weights.bit_generator.state == drawn and noise.bit_generator.state != before, "masks are of rng"


@pytest.mark.value
def test_golden_counting(level, golden):
    """Confusion, precision, recall, accuracy and the worst mistakes of 40 random answers."""
    case = golden("counting")
    logits, target = case.inputs["logits"], case.inputs["target"]
    predicted, expected = logits.argmax(1), case.outputs
    assert_close(level.confusion_matrix(target, predicted, 5), expected["counts"], what="counts")
    found = level.precision_recall(expected["counts"])
    assert_close(found[0], expected["precision"], what="precision")
    assert_close(found[1], expected["recall"], what="recall")
    assert abs(level.accuracy(target, predicted) - expected["accuracy"]) < 1e-12
    assert_close(level.worst_mistakes(logits, target, 6), expected["worst"], what="worst")


@pytest.mark.value
def test_worst_is_the_largest_loss(level):
    """Not the largest margin over the truth: three rivals cost more than a single clear one."""
    logits = np.array([[0, 2.5, -9, -9], [0, 2, 1.9, 1.9], [0, -1, 3, -1], [9.0, 0, 0, 0]])
    assert level.worst_mistakes(logits, np.zeros(4, int), 9).tolist() == [2, 1, 0]


@pytest.mark.value
def test_worked_trace(level):
    """The ten samples of the chapter's table."""
    target, predicted = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]), np.array([0, 0, 0, 1, 1, 1, 2, 2, 0, 2])
    counts = level.confusion_matrix(target, predicted, 3)
    assert_close(counts, np.array([[3, 1, 0], [0, 2, 1], [1, 0, 2]]), what="counts")
    precision, recall = level.precision_recall(counts)
    assert_close(recall, np.array([3 / 4, 2 / 3, 2 / 3]), what="recall")
    assert_close(precision, np.array([3 / 4, 2 / 3, 2 / 3]), what="precision")
    assert abs(level.accuracy(target, predicted) - 0.7) < 1e-12


@pytest.mark.value
def test_counts_of_small_types(level):
    """A pair that comes twice, in labels of one byte, whose products with 200 do not fit one."""
    target, predicted = np.array([199, 199, 3], np.uint8), np.array([150, 150, 3], np.uint8)
    counts = level.confusion_matrix(target, predicted, 200)
    assert_close(counts[[199, 3], [150, 3]], np.array([2, 1]), what="counts of (199, 150) and (3, 3)")
    assert counts.sum() == 3
    for kind in (np.uint64, np.int8, np.uint16):
        small = np.array([1, 0, 1], kind)
        counts = level.confusion_matrix(small, small[::-1], 2)
        assert counts.tolist() == [[1, 0], [0, 2]] and counts.dtype == np.int64, kind


@pytest.mark.value
@pytest.mark.levels(3)
def test_counts_are_added_to_what_is_given(level):
    """Batch after batch into one matrix, as an evaluation does that never holds all answers."""
    target, predicted = rng(1).integers(0, 4, (2, 30))
    whole, out = level.confusion_matrix(target, predicted, 4), np.zeros((4, 4), np.int64)
    for rows in (slice(0, 11), slice(11, 30)):
        assert level.confusion_matrix(target[rows], predicted[rows], 4, out=out) is out
    assert out.tolist() == whole.tolist()


@pytest.mark.value
@classes
def test_mcnemar(level):
    """b = 1 and c = 5: p is 2 (1 + 6) / 64; equals give 1."""
    target = np.zeros(10, int)
    first = np.array([0, 1, 1, 1, 1, 1, 0, 0, 1, 1])
    second = np.array([1, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    b, c, p = level.mcnemar(target, first, second)
    assert (b, c) == (1, 5) and abs(p - 14 / 64) < 1e-12
    assert level.mcnemar(target, first, first) == (0, 0, 1.0)


@pytest.mark.value
@classes
def test_predict(level):
    """Evaluation mode: the same twice, as by hand; the mode is put back; nothing is drawn."""
    noise = rng(5)
    model = level.build_model(rng(0), (6, 8, 3), dropout=0.5, noise=noise)
    images = rng(1).integers(0, 256, (7, 2, 3), dtype=np.uint8)
    labels, state = np.arange(7), noise.bit_generator.state
    loader = level.make_loader(images, labels, 3, 100.0, 50.0)
    logits, target = level.predict(model, loader)
    assert_close(level.predict(model, loader)[0], logits, tol=0, what="logits again")
    assert model.training and noise.bit_generator.state == state
    x, layers = level.prepare(images, 100.0, 50.0), model.parameters()
    hidden = np.maximum(x @ layers[0].data + layers[1].data, 0)
    assert_close(logits, hidden @ layers[2].data + layers[3].data, what="logits")
    assert target.tolist() == labels.tolist()
    model.layers[1].eval()                                      # one frozen among others in training
    modes = [m.training for m in model.modules()]
    level.predict(model, loader)
    assert [m.training for m in model.modules()] == modes
    with pytest.raises(ZeroDivisionError):
        level.predict(model, (1 / 0 for _ in range(1)))
    assert [m.training for m in model.modules()] == modes, "modes after an error"
    model.eval()
    level.predict(model, loader)
    assert not model.training


class Reusing(Module):
    """A model whose answers all lie in one array."""

    room = np.zeros((3, 2))

    def forward(self, x):
        self.room[:len(x)] = x[:, :2]
        return self.room[:len(x)]


@pytest.mark.value
@classes
def test_predict_keeps_copies(level):
    """A model, and a loader, may write the next batch over the last one."""
    x, labels = rng(3).standard_normal((8, 4)), np.arange(8)
    room = np.zeros(3, int)

    def batches():
        for k in range(0, 8, 3):
            room[:len(labels[k:k + 3])] = labels[k:k + 3]
            yield x[k:k + 3], room[:len(labels[k:k + 3])]
    logits, target = level.predict(Reusing(), batches())
    assert_close(logits, x[:, :2], tol=0, what="logits")
    assert_close(target, labels, tol=0, what="target")


@pytest.mark.gradient
@classes
def test_gradients_of_the_network(level):
    """Every parameter of three layers, by central differences."""
    model = level.build_model(rng(2), (5, 4, 4, 3))
    check_module_gradients(model, [rng(3).standard_normal((3, 5))])


@pytest.mark.gradient
@classes
def test_gradients_equal_the_engines(level):
    """The same network in Chapter 02's engine, which knows nothing of layers."""
    model = level.build_model(rng(4), (5, 4, 4, 3))
    x, y = rng(5).standard_normal((6, 5)), np.array([0, 1, 2, 2, 1, 0])
    for p in model.parameters():
        p.data, p.grad = p.data.astype(np.float64), None
    model.zero_grad()
    engine = level.build_engine(model, 1)
    engine.loss(model(x), y)
    model.backward(engine.loss.backward())
    leaves = [Tensor(p.data.copy()) for p in model.parameters()]
    h = Tensor(x)
    for k in range(0, 6, 2):
        h = (h.relu() if k else h) @ leaves[k] + leaves[k + 1]
    top = h.data.max(axis=1, keepdims=True)
    loss = ((h - top).exp().sum(axis=1).log() + top[:, 0] - h[np.arange(6), y]).mean()
    loss.backward()
    for (name, p), leaf in zip(model.named_parameters(), leaves, strict=True):
        assert_close(p.grad, leaf.grad, tol=1e-9, what=name)


def losses(level, case, *rates):
    """The losses (steps,) of a recipe on a level, in float64."""
    made = {key: case.inputs[key] for key in ("seed", "widths", "batch", "steps", "side")}
    images, labels, layers = base.recipe(**made)
    model = level.build_model(rng(0), case.inputs["widths"])
    arrays = [array for layer in layers for array in layer]
    for p, array in zip(model.parameters(), arrays, strict=True):
        p.data, p.grad = array.copy(), None
    model.zero_grad()
    engine = level.build_engine(model, case.inputs["steps"], *rates)
    scale = level.pixel_statistics(images)
    loader = level.make_loader(images, labels, case.inputs["batch"], *scale)
    return np.array([engine.step(x.astype(np.float64), y)[0] for x, y in loader])


@pytest.mark.value
@pytest.mark.levels(2, 3)
def test_a_hundred_steps_of_pytorch(level, golden):
    """784-256-128-10, AdamW, cosine: each of 100 losses, to 1e-6, in float64."""
    case = golden("trajectory")
    rates = case.inputs["lr"], case.inputs["weight_decay"]
    assert_close(losses(level, case, *rates), case.outputs["losses"], tol=1e-6, what="losses")


@pytest.mark.value
@classes
def test_a_trajectory_at_other_rates(level, golden):
    """lr = 0.03 and weight_decay = 2.5, of which none is a default."""
    case = golden("trajectory-rates")
    rates = case.inputs["lr"], case.inputs["weight_decay"]
    assert_close(losses(level, case, *rates), case.outputs["losses"], tol=1e-6, what="losses")


@pytest.mark.value
@classes
def test_a_small_trajectory(level, golden):
    """Every fourth pixel, 49-8-10, twelve steps, and the defaults of build_engine."""
    case = golden("trajectory-small")
    assert_close(losses(level, case), case.outputs["losses"], tol=1e-6, what="losses")


EPOCHS, STEPS = 4, 3


def small_run(level, path, on_step=None, **changes):
    """Four epochs of three steps on random pictures, with dropout: engine and history."""
    source = rng(1)
    images = source.integers(0, 256, (12, 3, 3), dtype=np.uint8)
    labels = source.integers(0, 3, 12)
    dice = {"shuffle": rng(2), "noise": rng(3)}
    model = level.build_model(rng(4), (9, 8, 3), 0.3, dice["noise"])
    engine = level.build_engine(model, EPOCHS * STEPS, lr=0.02)
    if on_step is not None:
        update = engine.optimizer.step
        engine.optimizer.step = lambda: (update(), on_step())
    loader = level.make_loader(images, labels, 4, 127.0, 74.0, dice["shuffle"])
    options = {"epochs": EPOCHS, "settings": {"lr": 0.02, "widths": (9, 8, 3)}} | changes
    options = {"validation": level.make_loader(images, labels, 12, 127.0, 74.0)} | options
    history = level.train(engine, loader, path=path, generators=dice, progress=False, **options)
    return engine, history


class Killed(Exception):
    """Raised where a run is to end."""


def dying_after(updates, end):
    """A function that calls `end` when it is called for the `updates`-th time."""
    calls = []

    def count():
        calls.append(1)
        if len(calls) == updates:
            end()
    return count


def die():
    raise Killed


@pytest.mark.value
@classes
@pytest.mark.parametrize("updates", [1, 7, 9, 10])
def test_resumed_equals_uninterrupted(level, tmp_path, updates):
    """Stopped in epoch 1, in 3, between 3 and 4, in 4: the same bits at the end."""
    whole, expected = small_run(level, tmp_path / "whole.npz")
    path = tmp_path / "parts.npz"
    with pytest.raises(Killed):
        small_run(level, path, dying_after(updates, die))
    done = (updates - 1) // STEPS
    if done:
        kept = level.load_checkpoint(path).record["history"]
        assert kept == {name: values[:done] for name, values in expected.items()}
    resumed, history = small_run(level, path)
    epochs = len(history["loss"])
    assert epochs == EPOCHS, f"{epochs} epochs in the history; expected {EPOCHS}, {done} of them kept"
    for name, values in expected.items():
        assert_close(np.array(history[name]), np.array(values), tol=0, what=f"history of {name}")
    for name, array in whole.model.state_dict().items():
        assert np.array_equal(resumed.model.state_dict()[name], array), f"{name} differs"
    for name, value in whole.optimizer.state_dict().items():
        assert np.array_equal(resumed.optimizer.state_dict()[name], value), f"{name} differs"
    same = path.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert same, "the checkpoint of the resumed run is another one than that of the run in peace"


PROGRAM = """
import importlib, importlib.util, os, signal, sys
name, file, path, updates = sys.argv[1:]
if name.startswith("tangled."):
    level = importlib.import_module(name)
else:
    spec = importlib.util.spec_from_file_location(name, file)
    level = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(level)
from tangled.t10_mnist.tests.test_basic import dying_after, small_run
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
small_run(level, path, dying_after(int(updates), kill) if int(updates) else None)
"""


@pytest.mark.value
@pytest.mark.levels(2, 3)
@pytest.mark.limit(90)                  # three processes
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_process(level, tmp_path):
    """SIGKILL in mid-epoch; a new process goes on: file and history equal, bit for bit."""
    root = str(Path(tangled.__file__).resolve().parent.parent)
    environment = dict(os.environ, PYTHONPATH=root)

    def run(path, updates):
        command = [sys.executable, "-c", PROGRAM, level.__name__, str(level.__file__),
                   str(path), str(updates)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True,
                              text=True, timeout=60)
    killed = run(tmp_path / "parts.npz", 8)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-300:]
    assert len(level.load_checkpoint(tmp_path / "parts.npz").record["history"]["loss"]) == 2
    for name in ("parts.npz", "whole.npz"):
        finished = run(tmp_path / name, 0)
        assert finished.returncode == 0, finished.stderr[-300:]
    same = (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert same, "the checkpoint of the killed and resumed run is another one than that of the run in peace"
    assert [entry.name for entry in tmp_path.iterdir() if "partial" in entry.name] == []


@pytest.mark.value
@classes
def test_a_finished_run_is_not_repeated(level, tmp_path):
    """The history comes from the file; nothing is trained, nothing written."""
    path = tmp_path / "run.npz"
    _, expected = small_run(level, path)
    stamp = path.stat().st_mtime_ns
    engine, history = small_run(level, path, die)
    assert history == expected and path.stat().st_mtime_ns == stamp
    kept = level.load_checkpoint(path)
    assert kept.parts.keys() == {"model", "optimizer"}
    assert kept.generators.keys() == {"shuffle", "noise"}
    for name, array in engine.model.state_dict().items():
        assert np.array_equal(kept.parts["model"][name], array)


@pytest.mark.value
@classes
def test_history_has_the_validation(level, tmp_path):
    """Four numbers of each kind; the last two are those of the model as it ends, in evaluation."""
    engine, history = small_run(level, tmp_path / "run.npz")
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(
        ("loss", "accuracy", "validation_loss", "validation_accuracy"), EPOCHS)
    source = rng(1)
    images = source.integers(0, 256, (12, 3, 3), dtype=np.uint8)
    found = engine.evaluate(level.make_loader(images, source.integers(0, 3, 12), 12, 127.0, 74.0))
    for name, value in found.items():
        assert_close(np.array(history["validation_" + name][-1]), np.array(value), what=name)
    _, unwatched = small_run(level, None, validation=None)
    assert unwatched.keys() == {"loss", "accuracy"}
    assert_close(np.array(unwatched["loss"]), np.array(history["loss"]), tol=0, what="loss")


@pytest.mark.value
@classes
def test_a_resume_of_something_else(level, tmp_path):
    """Other settings are refused by name, and the checkpoint is left alone."""
    path = tmp_path / "run.npz"
    small_run(level, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"settings: lr = 0\.5; expected 0\.02.*run\.npz"):
        small_run(level, path, settings={"lr": 0.5, "widths": (9, 8, 3)})
    assert path.read_bytes() == before


@pytest.mark.value
@classes
@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_no_number(level, tmp_path):
    """Training ends in one line that names the epoch; the checkpoint before it survives."""
    path = tmp_path / "run.npz"

    def spoil():
        engine_of[0].model.parameters()[0].data[...] = np.nan
    engine_of = []

    class Spy:
        def __getattr__(self, name):
            return getattr(level, name)

        def build_engine(self, *args, **kwargs):
            engine_of.append(level.build_engine(*args, **kwargs))
            return engine_of[0]
    with pytest.raises(FloatingPointError, match="epoch 3 is nan; expected a finite number"):
        small_run(Spy(), path, dying_after(7, spoil))
    kept = level.load_checkpoint(path)
    assert len(kept.record["history"]["loss"]) == 2
    assert np.isfinite(kept.parts["model"]["0.weight"]).all()


@pytest.mark.value
@classes
@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_generators_travel(level, tmp_path, kind):
    """Every generator of NumPy goes on with the numbers that would have come."""
    dice = np.random.Generator(getattr(np.random, kind)(5))
    dice.random(7), dice.integers(0, 10, 3, dtype=np.uint8)
    level.save_checkpoint(tmp_path / "dice.npz", {}, {"dice": dice})
    expected = dice.random(5)
    other = np.random.Generator(getattr(np.random, kind)(9))
    level.load_checkpoint(tmp_path / "dice.npz").restore({}, {"dice": other})
    assert np.array_equal(other.random(5), expected)


@pytest.mark.value
@classes
def test_records_travel(level, tmp_path):
    """Floats to the last bit, nested values; a new folder is made; the file is an .npz."""
    path = tmp_path / "new" / "and deep" / "run.npz"
    history = {"loss": [0.1 + 0.2, 1e-310, 1 / 3], "accuracy": [float(np.float64(0.7))]}
    engine = level.build_engine(level.build_model(rng(0), (4, 3, 2)), 5)
    level.save_checkpoint(path, {"optimizer": engine.optimizer}, history=history, tag=[1, "x"])
    checkpoint = level.load_checkpoint(path)
    assert checkpoint.record == {"history": history, "tag": [1, "x"]}
    state = engine.optimizer.state_dict()
    assert checkpoint.parts["optimizer"].keys() == state.keys()
    assert "schedule.t" in state
    with np.load(path, allow_pickle=False) as file:
        for name, value in state.items():
            found = checkpoint.parts["optimizer"][name]
            assert np.array_equal(found, value) and found.dtype == np.asarray(value).dtype
            assert np.array_equal(file[f"optimizer/{name}"], value)


@pytest.mark.value
@pytest.mark.levels(2, 3)
def test_milestone(level):
    """3,000 real digits, six epochs: over 91 % of 2,000 others; every parameter took part."""
    folder = DATA / "mnist"
    images = level.read_idx(folder / "train-images-idx3-ubyte.gz")
    labels = level.read_idx(folder / "train-labels-idx1-ubyte.gz")
    learn, other = slice(3000), slice(50_000, 52_000)
    scale = level.pixel_statistics(images[learn])
    model = level.build_model(rng(0), dropout=0.1, noise=rng(1))
    loader = level.make_loader(images[learn], labels[learn], 50, *scale, rng(2))
    engine = level.build_engine(model, 6 * len(loader))
    before, received = model.state_dict(), dict.fromkeys(model.state_dict(), 0.0)
    update = engine.optimizer.step

    def watch():
        for name, p in model.named_parameters():
            received[name] = max(received[name], float(np.abs(p.grad).max()))
        update()
    engine.optimizer.step = watch
    history = level.train(engine, loader, 6, progress=False)
    for name, p in model.named_parameters():
        assert received[name] > 1e-4, f"{name} received no gradient"
        assert np.abs(p.data - before[name]).max() > 1e-3, f"{name} did not move"
        assert p.data.dtype == np.float32
    logits, target = level.predict(model, level.make_loader(images[other], labels[other], 500, *scale))
    assert np.array_equal(target, labels[other])
    assert level.accuracy(target, logits.argmax(1)) > 0.91
    assert 0.5 < history["loss"][0] < 1.5 and history["loss"][-1] < 0.15
