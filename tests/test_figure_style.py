"""The typeface of the figures: found beside the tools, for every weight and in formulas, without a word of warning."""

from __future__ import annotations

import logging
import warnings

import pytest

from scripts.weaving import figure_style

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture
def styled():
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.use("agg")
        matplotlib.rc_file(figure_style.STYLE)
        figure_style.use_face(matplotlib)
        yield


@pytest.mark.parametrize("weight", ["normal", "bold"])
@pytest.mark.parametrize("family", [figure_style.FACE, "monospace"])
def test_the_books_letters_are_found(styled, caplog, family, weight):
    from matplotlib.font_manager import FontProperties, findfont
    with caplog.at_level(logging.WARNING):
        path = findfont(FontProperties(family=family, weight=weight), fallback_to_default=False)
    assert str(figure_style.FONTS) in path and not caplog.records


def test_a_figure_draws_what_the_chapters_write_without_a_warning(styled, caplog, tmp_path):
    import matplotlib.pyplot as plt
    figure, axis = plt.subplots()
    axis.semilogy([1, 2], [1, 1e6])
    axis.set_title(r"$\nabla_\theta\mathcal{L}$, $\hat{\beta}_1 = \frac{1}{\sqrt{d_k}}$")
    axis.set_ylabel(r"$x \in \mathbb{R}^n$, $\mathbf{W}$")
    axis.set_xlabel("‖g‖ ∈ 0–1, −5, a · b × √d → ∞ ≤ ∇", weight="bold")
    axis.text(1, 1, "(B, T, D) × 2", family="monospace")
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "figure.svg")
    plt.close(figure)
    assert not caplog.records and "<text" not in (tmp_path / "figure.svg").read_text(encoding="utf-8")
