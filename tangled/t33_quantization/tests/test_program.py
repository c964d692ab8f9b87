# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:eea4c044e454b5e3
"""Chapter 33: the program and the derivation of the best clip."""

import numpy as np
import pytest

from tangled.t30_mini_gpt import GPT
from tangled.t33_quantization import train_quantized as program
from tangled.t33_quantization.experiments import best_clip, clip_errors, laplace_error
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.value


def test_best_clip():
    """The root of eq. 33.8, the minimum of eq. 33.6; and what is measured is what is derived."""
    for bits, Q in ((4, 7), (8, 127)):
        c = best_clip(bits)
        assert abs(c * np.exp(c) / (12 * Q * Q) - 1) < 1e-9
        errors = [sum(laplace_error(np.array(c * f), bits)) for f in (0.97, 1, 1.03)]
        assert errors[1] < min(errors[0], errors[2])
    for bits, (clips, errors) in clip_errors(50_000).items():
        derived = sum(laplace_error(clips, bits))
        assert (np.abs(np.log(errors / derived)) < 0.35).all()


def test_fine_tuning_on_the_grid():
    """A small model: on the grid, the loss at 3 bits falls, and every matrix moves."""
    model = GPT(7, 8, 16, 2, 1, rng=rng(0)).eval()
    for p in model.parameters():
        p.data += 0.2 * rng(1).standard_normal(p.data.shape).astype(np.float32)
    ids = np.tile(np.arange(7), 60)
    grids = [program.calibrate(p.data, 3, True, (None, 1), "mse") for p in program.matrices(model)]
    before = program.loss_at(model, grids, ids)
    tuned = program.fine_tuned(model, ids, 25, 0.01, grids)
    assert program.loss_at(tuned, grids, ids) < 0.8 * before
    assert all((p.data != q.data).any() for p, q in zip(model.parameters(), tuned.parameters()))
    found = program.table(model, ids, {"float32": {"bits": None}, "INT4": {"bits": 4, "cache_bits": 8}})
    assert found["INT4"]["bytes"] < found["float32"]["bytes"] / 2
    assert found["float32"]["cache"] == 2 * 8 * 16 * 4 and found["INT4"]["cache"] == 2 * 8 * (16 + 2 * 4)


@pytest.mark.edge
def test_the_command(monkeypatch, capsys):
    """A short run with a small network; a bad option is one line."""
    text = "to be or not to be\n" * 60

    class Tokens:
        def encode(self, text):
            return np.array([ord(c) % 11 for c in text])
    monkeypatch.setattr(program, "load_shakespeare", lambda: text)
    monkeypatch.setattr(program, "load_pretrained", lambda: (GPT(11, 8, 32, 2, 1).eval(), Tokens()))
    assert program.main(["--symbols", "80", "--steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "INT4, groups of 32" in said and "3 bits" in said
    assert program.main(["--steps", "0"]) == 1
    assert_close(np.array(len(capsys.readouterr().err.splitlines())), np.array(1), tol=0, what="lines")
