"""The figures that a hand can move: their arithmetic is the chapters' own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from scripts.typeset.assets import HERE

CODE = (HERE / "assets" / "movable.js").read_text(encoding="utf-8")
CHAPTERS = Path(__file__).parents[1] / "chapters"


@pytest.fixture(scope="module")
def js():
    from py_mini_racer import MiniRacer

    with MiniRacer() as engine:
        engine.eval(CODE + ";0")
        yield lambda call: json.loads(engine.eval(f"JSON.stringify({call})"))


@pytest.mark.parametrize("position, base, dim", [(0, 100, 8), (7, 1e4, 8), (100, 1e6, 64)])
def test_rope_turns_as_in_chapter_27(js, position, base, dim):
    from tangled.t27_positional_encodings import rope_tables

    cos, sin = rope_tables(position + 1, dim, base)
    angles = np.array(js(f"MOVABLE.sums.rope({position}, {base}, {dim})"))
    np.testing.assert_allclose(np.cos(angles), cos[position], atol=1e-9)
    np.testing.assert_allclose(np.sin(angles), sin[position], atol=1e-9)


@pytest.mark.parametrize("lr, mu", [(0.02, 0), (0.078, 0), (0.03, 0.8), (0.01, 0.95)])
def test_momentum_goes_as_in_chapter_3(js, lr, mu):
    from tangled.t03_optimizers import experiments

    path = experiments.follow(experiments.rules.Momentum, experiments.VALLEY["function"], experiments.VALLEY["start"],
                              40, lr=lr, momentum=mu)
    np.testing.assert_allclose(js(f"MOVABLE.sums.momentum({lr}, {mu}, 40)"), path, rtol=1e-4, atol=1e-5)


def test_windows_are_as_many_as_in_chapter_11(js):
    from tangled.t11_conv2d_naive import conv_output_size

    for stride in (1, 2, 3):
        for padding in (0, 1, 2):
            found = js(f"MOVABLE.sums.windows(6, 3, {stride}, {padding})")
            assert len(found) == conv_output_size(6, 3, stride, padding) and found == sorted(set(found))
            drawn = f"MOVABLE.figures.convolution.draw({{stride: {stride}, padding: {padding}, window: 64}})"
            assert js(f"{drawn}.most.window") == len(found) ** 2     # the slider ends at the last window


@pytest.mark.parametrize("temperature, top_p", [(1.0, 0.9), (0.3, 0.5), (3.0, 0.85), (1.0, 1.0)])
def test_sampling_keeps_what_chapter_30_keeps(js, temperature, top_p):
    from tangled.t30_mini_gpt import filter_logits

    logits = -1.5 * np.log(np.arange(1, 17))
    z = filter_logits(logits, temperature=temperature, top_p=top_p)
    found = js(f"MOVABLE.sums.sampling({logits.tolist()}, {temperature}, {top_p})")
    assert [token["kept"] for token in found] == np.isfinite(z).tolist()
    p = np.exp(logits / temperature)
    np.testing.assert_allclose([token["p"] for token in found], p / p.sum())


@pytest.mark.parametrize("rows, columns", [(6, 8), (1, 1), (24, 24), (5, 7)])
def test_tiles_move_what_chapter_32_counts(js, rows, columns):
    from tangled.t32_flash_attention import traffic

    forward, _ = traffic(24, 24, 64, 64, rows, columns, causal=True)
    found = js(f"MOVABLE.sums.tiles(24, 64, {rows}, {columns})")
    assert found["moved"] == forward
    assert sum(tile["rows"] * tile["columns"] for tile in found["grid"]) == 24 * 24


def test_every_figure_draws_at_the_ends_of_every_knob(js):
    names = js("Object.keys(MOVABLE.figures)")
    for name in names:
        knobs = js(f"MOVABLE.figures.{name}.knobs")
        for end in (2, 3, 5):
            values = {knob[0]: knob[end] for knob in knobs}
            drawn = js(f"MOVABLE.figures.{name}.draw({json.dumps(values)})")
            assert drawn["said"] and drawn["shapes"], name
            assert "null" not in json.dumps(drawn) and "NaN" not in json.dumps(drawn), (name, values)
    used = [name for file in CHAPTERS.glob("*.qmd")
            for name in re.findall(r'\{\.movable figure="(\w+)"\}', file.read_text(encoding="utf-8"))]
    assert sorted(used) == sorted(names), "each stands in one chapter"
