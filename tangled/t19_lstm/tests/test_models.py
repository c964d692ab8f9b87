# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:3b4b09360728cfbd
"""Chapter 19: the adding problem, and the program."""

import numpy as np
import pytest

from tangled.t03_optimizers import Adam
from tangled.t19_lstm.experiments import BASELINE, SOLVED, Added, Adder, adding_batch, held_out_error, train_adder
from tangled.t19_lstm.train_adding import main
from tangled.testing import assert_close, check_module_gradients, rng


@pytest.mark.value
@pytest.mark.parametrize("T", [2, 7, 20])
def test_batches(T):
    """Two marks, one in each half, at every place of it; the sum of what is marked; the baseline."""
    x, y = adding_batch(T, 4000, rng(0))
    assert x.dtype == y.dtype == np.float32 and x.shape == (4000, T, 2)
    assert_close(x[:, :T // 2, 1].sum(1), np.ones(4000), tol=0, what="marks in the first half")
    assert_close(x[:, T // 2:, 1].sum(1), np.ones(4000), tol=0, what="marks in the second half")
    assert (x[:, :, 1].max(0) == 1).all() and 0 <= x[:, :, 0].min() < 0.01 and 0.99 < x[:, :, 0].max() < 1
    assert_close((x[:, :, 0] * x[:, :, 1]).sum(1), y, tol=1e-6, what="sums")
    assert abs(np.mean((y - 1) ** 2) - BASELINE) < 0.01


@pytest.mark.gradient
@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_adder_gradients(cell):
    """Central differences, from one number back through all steps."""
    check_module_gradients(Adder(cell, 4, rng(1)), [rng(2).standard_normal((3, 5, 2))])


@pytest.mark.value
@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_step_by_step(cell):
    """The loop, written out: new sequences by step, the mean's gradient, one norm for all."""
    found = train_adder(cell, 6, seed=3, steps=5, hidden=4, batch=3, lr=0.02, clip=0.05, forget_bias=2.0, every=2)
    model = Adder(cell, 4, np.random.default_rng(3), 2.0)
    optimizer, held = Adam(model.parameters(), 0.02), []
    x_held, y_held = adding_batch(6, 500, np.random.default_rng([3, 6, 0]))
    for k in range(5):
        x, y = adding_batch(6, 3, np.random.default_rng([3, 6, k + 1]))
        optimizer.zero_grad()
        model.backward((2 * (model(x) - y) / 3).astype(np.float32))
        norm = np.sqrt(sum(float((p.grad.astype(float) ** 2).sum()) for p in model.parameters()))
        assert norm > 0.05
        for parameter in model.parameters():
            parameter.grad *= np.float32(0.05 / norm)
        optimizer.step()
        if k in (1, 3, 4):
            held.append(np.mean((model(x_held) - y_held).astype(float) ** 2))
    assert found.curves["step"] == [2, 4, 5]
    assert_close(np.array(found.curves["held"]), np.array(held), tol=1e-5, what="held")
    for name, value in model.state_dict().items():
        assert_close(found.model.state_dict()[name], value, tol=1e-5, what=name)


@pytest.mark.value
def test_resume(tmp_path):
    """Twelve steps in one go, and in two pieces: the same weights, bit for bit."""
    options = {"T": 6, "steps": 12, "hidden": 4, "batch": 5, "every": 4}
    whole = train_adder("lstm", path=tmp_path / "a.npz", **options)
    train_adder("lstm", path=tmp_path / "b.npz", stop=7, **options)
    pieces = train_adder("lstm", path=tmp_path / "b.npz", **options)
    for name, value in whole.model.state_dict().items():
        assert_close(pieces.model.state_dict()[name], value, tol=0, what=name)
    assert pieces.curves == whole.curves


@pytest.mark.value
def test_solved():
    """The first step below the threshold; a short problem is solved and the training then stops."""
    assert Added(None, {"step": [5, 10, 15], "held": [0.2, SOLVED / 2, 0.3]}).solved == 10
    assert Added(None, {"step": [5], "held": [SOLVED]}).solved is None
    found = train_adder("lstm", 4, steps=600, hidden=16, every=20)
    assert found.solved == found.curves["step"][-1] < 600
    x, y = adding_batch(4, 250, rng(4))
    want = np.mean((found.model(x) - y).astype(float) ** 2)
    assert_close(np.asarray(held_out_error(found.model, x, y)), np.asarray(want), tol=1e-6, what="held-out error")
    assert want < 2 * SOLVED


@pytest.mark.edge
def test_the_command(tmp_path, capsys):
    """A short run ends in a table and a figure, and goes on; --fresh sets aside; a bad option is one line."""
    argv = ["--lengths", "3,4", "--seeds", "1", "--steps", "2", "--folder", str(tmp_path),
            "--out", str(tmp_path / "a.png")]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "rnn, T = 4: below 0.01 after not steps (always 1: 0.167)" in text and (tmp_path / "a.png").exists()
    assert main(argv) == 0 and main([*argv, "--fresh"]) == 0
    assert [len(list(tmp_path.glob(p))) for p in ("*.old-1.npz", "adding-????????.npz")] == [5, 5]
    assert main(["--steps", "0"]) == 1
    assert "steps = 0; expected at least 1" in capsys.readouterr().err
    assert main(["--lengths", "1,5"]) == 1
    assert "lengths = [1, 5]; expected at least 2 each" in capsys.readouterr().err
