# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:b6b02e5350a6f649
"""Chapter 20: models of any cell, training in turns, and the program."""

import numpy as np
import pytest

from tangled.t03_optimizers import Adam, CosineDecay
from tangled.t06_backpropagation import CrossEntropyLoss
from tangled.t18_rnn.experiments import held_out_loss
from tangled.t18_rnn.models import streams
from tangled.t20_gru.experiments import entries, lag_norms, train_cells
from tangled.t20_gru.models import CELLS, CharModel, count, size_for
from tangled.t20_gru.train_cells import main
from tangled.testing import assert_close, check_module_gradients, rng

TEXT = "the quick brown fox jumps over the lazy dog. "
SMALL = {"hidden": 6, "embedding": 4, "batch": 3, "window": 5}


@pytest.mark.gradient
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_model_gradients(cell):
    """Central differences through embedding, cell and logits."""
    check_module_gradients(CharModel(5, 3, 4, rng(0), cell), [rng(1).integers(0, 5, (2, 3))])


@pytest.mark.value
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_truncated(cell):
    """A state that is carried gives the outputs of the whole; its gradient is dropped."""
    model, ids = CharModel(5, 3, 4, rng(2), cell), rng(3).integers(0, 5, (2, 7))
    whole = model(ids)
    model(ids[:, :4])
    assert_close(model(ids[:, 4:], model.state), whole[:, 4:], tol=1e-5, what="logits")
    model.backward(np.ones((2, 3, 5), np.float32))
    assert all(p.grad is not None and np.abs(p.grad).max() > 0 for p in model.parameters())


@pytest.mark.value
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_count(cell):
    """The formula, against the arrays."""
    model = CharModel(7, 3, 5, rng(4), cell)
    assert count(cell, 5, 3, 7) == sum(p.data.size for p in model.parameters())
    size = size_for(cell, 2000, 3, 7)
    errors = [abs(count(cell, size + d, 3, 7) - 2000) for d in (-1, 0, 1)]
    assert errors[1] == min(errors)


@pytest.mark.value
def test_entries():
    """Three of one size, two of one number of parameters; the plain one is larger then, the LSTM smaller."""
    found = entries(128, 60)
    assert [found[name] for name in ("rnn", "lstm", "gru")] == [("rnn", 128), ("lstm", 128), ("gru", 128)]
    sizes = {cell: size for name, (cell, size) in found.items() if "," in name}
    budget = count("gru", 128, 64, 60)
    assert sizes["rnn"] > 128 > sizes["lstm"]
    assert all(abs(count(cell, size, 64, 60) - budget) < 0.01 * budget for cell, size in sizes.items())


@pytest.mark.value
def test_resume(tmp_path):
    """In one go, and interrupted within a turn: the same weights and curves, bit for bit, for all cells."""
    options = {**SMALL, "steps": 12, "every": 4}
    whole, _ = train_cells(TEXT * 40, path=tmp_path / "a.npz", **options)
    train_cells(TEXT * 40, path=tmp_path / "b.npz", stop=7, **options)
    pieces, _ = train_cells(TEXT * 40, path=tmp_path / "b.npz", **options)
    assert set(whole) == {"rnn", "lstm", "gru", "rnn, as many", "lstm, as many"}
    for name, racer in whole.items():
        for key, value in racer.model.state_dict().items():
            assert_close(pieces[name].model.state_dict()[key], value, tol=0, what=f"{name} {key}")
        for key in ("step", "loss", "held"):
            assert pieces[name].curves[key] == racer.curves[key]
        assert racer.curves["step"] == [4, 8, 12] and racer.curves["loss"][-1] < racer.curves["loss"][0]
        assert (np.diff(pieces[name].curves["seconds"]) > 0).all()


@pytest.mark.value
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_step_by_step(cell):
    """The loop, written out: state carried, and set back where the text ends; one norm for all gradients."""
    options = {**SMALL, "steps": 17, "every": 5, "lr": 0.02, "clip": 0.05, "window": 7}
    field, tokens = train_cells(TEXT * 6, {cell: (cell, 6)}, seed=3, **options)
    ids, cut = tokens.encode(TEXT * 6), len(TEXT * 6) * 9 // 10
    model, loss, losses = CharModel(tokens.vocab_size, 4, 6, np.random.default_rng(3), cell), CrossEntropyLoss(), []
    optimizer = Adam(model.parameters(), 0.02)
    schedule, batches = CosineDecay(optimizer, 17, warmup=0), list(streams(ids[:cut], 3, 7))
    assert len(batches) == 11                                   # so the text begins anew before the run ends
    state = None
    for k in range(17):
        x, y = batches[k % 11]
        losses.append(loss(model(x, None if k in (0, 11) else state), y))
        state = model.state
        optimizer.zero_grad()
        model.backward(loss.backward())
        norm = np.sqrt(sum(float((p.grad.astype(float) ** 2).sum()) for p in model.parameters()))
        assert norm > 0.05
        for parameter in model.parameters():
            parameter.grad *= np.float32(0.05 / norm)
        optimizer.step()
        schedule.step()
    racer = field[cell]
    assert racer.curves["step"] == [5, 10, 15, 17]
    means = [np.mean(losses[a:b]) for a, b in ((0, 5), (5, 10), (10, 15), (15, 17))]
    assert_close(np.array(racer.curves["loss"]), np.array(means), tol=1e-5, what="loss")
    for name, value in model.state_dict().items():
        assert_close(racer.model.state_dict()[name], value, tol=1e-5, what=name)
    want = np.asarray(held_out_loss(model, ids[cut:]))
    assert_close(np.asarray(racer.curves["held"][-1]), want, tol=1e-5, what="held")


@pytest.mark.value
def test_lag_norms():
    """What the chapter says of its figure: the gate's power, nearly; more bias, more left."""
    ends = {bias: lag_norms(bias)[-1] for bias in (None, 0, 2, 4)}
    assert ends[2] > 1e4 * ends[0] and ends[4] > 10 * ends[2] and ends[4] > 0.2
    assert ends[None] < 1e-6 and ends[0] < 1e-6
    assert 0.2 < lag_norms(4)[-1] / (1 / (1 + np.exp(-4))) ** 40 < 5
    assert_close(lag_norms(50), np.ones(41), tol=1e-6, what="a gate that stands open")
    assert lag_norms(0, variant="cho").shape == (41,)


@pytest.mark.edge
def test_the_command(tmp_path, capsys):
    """A short run prints a table and draws; a bad option is one line."""
    argv = ["--steps", "2", "--hidden", "6", "--folder", str(tmp_path), "--characters", "4000",
            "--out", str(tmp_path / "a" / "losses.png")]
    assert main(argv) == 0
    first = capsys.readouterr().out
    assert "lstm, as many" in first and (tmp_path / "a" / "losses.png").exists()
    assert main(argv) == 0                                      # from the checkpoint
    losses = lambda text: [line.split("parameters: ")[1][:5] for line in text.splitlines() if "nats" in line]
    assert losses(capsys.readouterr().out) == losses(first) and len(losses(first)) == 5
    assert main([*argv, "--fresh"]) == 0
    assert losses(capsys.readouterr().out) == losses(first)
    for option, value in (("--steps", "0"), ("--lr", "-1"), ("--hidden", "0")):
        assert main([option, value]) == 1
        assert option[2:] in capsys.readouterr().err
    assert main(["--steps", "2", "--characters", "2000", "--folder", str(tmp_path)]) == 1
    assert "text has 1800 symbols to train on; expected at least 2049" in capsys.readouterr().err
