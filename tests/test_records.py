"""Records: stored whole, merged, hashed over code alone; quoted numbers refuse what they do not bear."""

from __future__ import annotations

import ast
import json
import math

import numpy as np
import pytest

from tangled import recording, records
from tangled.measuring import Measured, Row


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A package t90_sums and an empty folder of records."""
    package = tmp_path / "tangled" / "t90_sums"
    package.mkdir(parents=True)
    (tmp_path / "golden").mkdir()
    (package / "__init__.py").write_text("from .level2_vectorized import total\n")
    (package / "checks.py").write_text("LIMIT = 3\n")
    (package / "level2_vectorized.py").write_text("from tangled.t90_sums.checks import LIMIT\n\n\ndef total(x):\n"
                                                  '    """Sum."""\n    return x.sum()\n')
    (package / "visualization.py").write_text("COLOUR = 1\n")
    (package / "benchmark.py").write_text("from tangled.t90_sums import level2_vectorized, visualization\n")
    (package / "train_x.py").write_text("from tangled.t90_sums import total\n")
    monkeypatch.setattr(recording, "HERE", tmp_path / "tangled")
    monkeypatch.setattr(recording, "FOLDER", tmp_path / "golden" / "records")
    return package


def ladder(name, *times):
    rows = [Row(f"level {k}", t, t / times[-1], 1000 * k, "n") for k, t in enumerate(times, 5 - len(times))]
    return Measured(name, rows, "one thread", f"note of {name}")


def store(*names):
    recording.store_ladders(90, [ladder(name, 2e-3, 1e-3, 2e-3) for name in names])


def test_a_ladder_comes_back(book):
    store("sum")
    r = records.record(90)
    found = r.ladder("sum")
    assert found.seconds("level 3") == 1e-3 and found.peak("level 2") == 2000 and found.ratio("level 3") == 0.5
    assert "| level 3 | 1 ms | 0.5 | 3 kB | n |" in found._repr_markdown_()
    assert "best" not in found._repr_markdown_() and "| sum | 2 |" in r.ladders()._repr_markdown_()
    assert r.note.startswith("Measured on ") and recording.instructions() in r.note and "one thread" in r.note
    assert r.note == found.note


def test_the_best_call_is_a_column(book):
    rows = [Row("level 3", 2.0, 0.5, 1, "", 2.0), Row("level 4", 4.0, 1.0, 1, "", 4.0),
            Row("best PyTorch", 1.0, 0.25, 1, "", 1.0)]
    recording.store_ladders(90, [Measured("x", rows, "one thread")])
    found = records.record(90).ladder("x")
    assert found.ratio("level 3", to="best PyTorch") == 2 and found.ratio("level 4", to="best PyTorch") == 4
    assert found.ratio("level 3", to="level 4") == 0.5 and found.ratio("best PyTorch") == 0.25
    assert "against best PyTorch" in found._repr_markdown_() and "best PyTorch | 1 s | 0.25" in str(
        found._repr_markdown_())


def test_a_ladder_of_other_names(book):
    from tangled.measuring import Ladder, measure
    found = measure(Ladder("branch", {"np.where": lambda: sum(range(3000)), "a factor": lambda: sum(range(300)),
                                      "none": None}), budget=0.02)
    assert [row.level for row in found.rows] == ["np.where", "a factor"]
    recording.store_ladders(90, [found])
    assert records.record(90).ladder("branch").ratio("np.where", to="a factor") > 2


def test_merging_keeps_the_rest(book):
    store("a", "b")
    before = json.loads(recording.path_of(90).read_text())
    recording.store_run(90, "train_x", values={"accuracy": np.float64(0.123456789)},
                        curves={"loss": [1, 0.5]}, seconds=3)
    recording.store_ladders(90, [ladder("b", 5.0, 1.0)])
    after = json.loads(recording.path_of(90).read_text())
    assert after["ladders"]["a"] == before["ladders"]["a"] and after["ladders"]["b"] != before["ladders"]["b"]
    assert after["runs"]["train_x"]["values"] == {"accuracy": 0.12345679}
    recording.store_ladders(90, [ladder("b", 5.0, 1.0)], keep=["b"])
    assert list(json.loads(recording.path_of(90).read_text())["ladders"]) == ["b"]
    assert set(json.loads(recording.path_of(90).read_text())["by"]) == {
        e["by"] for kind in ("ladders", "runs") for e in json.loads(recording.path_of(90).read_text())[kind].values()}


def test_writing_is_deterministic_and_whole(book, monkeypatch):
    store("a")
    text = recording.path_of(90).read_text()
    store("a")
    assert recording.path_of(90).read_text() == text and max(map(len, text.split("\n"))) < 130
    monkeypatch.setattr(recording.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError):
        store("b")
    assert recording.path_of(90).read_text() == text


def test_a_run_comes_back(book):
    recording.store_run(90, "train_x", values={"accuracy": 0.98, "epochs": 3, "text": "x", "by_rate": [0.1, 0.2]},
                        curves={"loss": np.array([1.0, 1 / 3])}, seconds=12.34567)
    run = records.record(90).run("train_x")
    assert (run.values["accuracy"], run.values["epochs"], run.values["text"]) == (0.98, 3, "x")
    assert isinstance(run.values["epochs"], int) and run.values["by_rate"][1].source == "90/train_x/by_rate/1"
    assert run.curves["loss"] == [1.0, 0.33333] and run.seconds == 12.35
    assert run.date in run.note and "(" in run.machine


def test_arrays(book):
    arrays = {"W": np.linspace(-3, 3, 35).reshape(5, 7), "steps": np.arange(4), "t": np.arange(6.0).reshape(2, 3).T}
    recording.store_run(90, "train_x", arrays={"weights": arrays})
    path = recording.FOLDER / "t90_weights.npz"
    first = path.read_bytes()
    recording.store_run(90, "train_x", arrays={"weights": arrays})
    assert path.read_bytes() == first
    found = records.record(90).run("train_x").arrays("weights")
    assert found["W"].dtype == np.float32 and found["W"].shape == (5, 7)
    assert found["steps"].dtype == arrays["steps"].dtype
    np.testing.assert_allclose(found["W"], arrays["W"], rtol=1e-3)
    np.testing.assert_array_equal(found["t"], arrays["t"])
    path.write_bytes(first[:-1] + b"x")
    with pytest.raises(ValueError, match="not the file that was recorded"):
        records.record(90).run("train_x").arrays("weights")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="set TANGLED_HOME"):
        records.record(90).run("train_x").arrays("weights")
    with pytest.raises(KeyError, match=r"no arrays 'w'; there are \['weights'\]"):
        records.record(90).run("train_x").arrays("w")
    for wrong in (np.array([1e6]), np.array([math.nan]), np.array(["a"]), np.array([None])):
        with pytest.raises(ValueError, match="bad"):
            recording.store_arrays(90, "w", {"bad": wrong})


def test_what_is_missing_is_named(book):
    with pytest.raises(FileNotFoundError, match="TOPIC=90 ARGS=--record"):
        records.record(90)
    store("a")
    with pytest.raises(KeyError, match=r"no ladder 'b' in t90.json; there are: a"):
        records.record(90).ladder("b")
    with pytest.raises(KeyError, match="make train TOPIC=90"):
        records.record(90).run("train_x")
    with pytest.raises(ValueError, match="level is 'level 1'"):
        records.record(90).ladder("a").seconds("level 1")


def test_says():
    says = records.says
    for word, a, b in (("faster", 1, 2), ("slower", 2, 1), ("much faster", 1, 2), ("a little slower", 1.1, 1),
                       ("half", 1, 2), ("about half", 0.9, 2), ("twice", 2.0, 1), ("as fast", 1.0, 1.05),
                       ("gains", 0.4, 0.5), ("higher", 0.98, 0.97)):
        assert says(word, a, b) == word
    for word, a, b in (("faster", 2, 1), ("much faster", 1, 1.9), ("a little slower", 1.3, 1), ("half", 3, 4),
                       ("twice", 1.5, 1), ("as fast", 1, 2), ("faster", 1, 1), ("faster", math.nan, 1),
                       ("faster", 1, 0), ("quicker", 1, 2)):
        with pytest.raises(ValueError, match=r"says|word is 'quicker'"):
            says(word, a, b)


def test_nothing_is_compared_with_itself(book):
    store("a", "b")
    r = records.record(90)
    a = r.ladder("a")
    with pytest.raises(ValueError, match=r"itself .90/a/level 3/seconds."):
        records.says("as fast", a.seconds("level 3"), r.ladder("a").seconds("level 3"))
    assert records.says("as fast", a.seconds("level 3"), r.ladder("b").seconds("level 3"))
    for level, to in (("level 3", "level 3"), ("level 4", "level 4"), ("level 4", "best PyTorch")):
        with pytest.raises(ValueError, match="itself"):
            a.ratio(level, to=to)
    with pytest.raises(ValueError, match="a quotient compares a number with itself"):
        a.seconds("level 3") / r.ladder("a").seconds("level 3")
    with pytest.raises(ValueError, match="a difference compares"):
        a.peak("level 3") - a.peak("level 3")
    assert a.seconds("level 2") / a.seconds("level 3") == 2 and a.seconds("level 3") - 1e-3 == 0
    x = 0.25
    with pytest.raises(ValueError, match="itself"):
        records.says("as much", x, x)


def test_the_hash_is_of_code(book):
    store("a")
    recording.store_run(90, "train_x", values={"x": 1.0})
    by = records.record(90).by(records.record(90).entry("ladders", "a"))
    assert sorted(by["code"]) == ["benchmark", "checks", "level2_vectorized"]
    run = records.record(90).run("train_x")
    assert sorted(run.by["code"]) == ["checks", "level2_vectorized", "train_x"]
    level = book / "level2_vectorized.py"
    text = level.read_text()
    level.write_text("# A comment\n" + text.replace('"""Sum."""', '"""Another docstring."""'))
    assert recording.changed(90, by) == []
    (book / "visualization.py").write_text("COLOUR = 2\n")
    assert recording.changed(90, by) == []
    level.write_text(text.replace("x.sum()", "x.sum() + 0"))
    assert recording.changed(90, by) == ["level2_vectorized.py"]
    level.unlink()
    assert recording.changed(90, by) == ["level2_vectorized.py"]


@pytest.mark.parametrize("a, b, same", [
    ("def f():\n    'd'\n    return 1", "def f():\n\n    return 1  # c", True),
    ("x = 'd'", "x = 'e'", False), ("f(a, b)", "f(b, a)", False), ("x += 1", "x = x + 1", False),
    ("class A:\n    'd'\n    x = 1", "class A:\n    x = 1", True), ("x = 1", "x = True", False),
    ("f'{x:.2f}'", "f'{x:.3f}'", False), ("def f(x): return x", "async def f(x): return x", False)])
def test_shape_of_code(a, b, same):
    shapes = [repr(recording.shape_of(ast.parse(text))) for text in (a, b)]
    assert (shapes[0] == shapes[1]) == same


def test_ratio_text():
    assert [records.ratio_text(x) for x in (0.0849, 0.5, 1.27, 9.96, 376.2)] == ["0.085", "0.50", "1.3", "10", "376"]


def test_text_of_records_is_read_back(tmp_path):
    """Lists too long for a line are broken between their entries, never within a sentence."""
    for value in ([f"a sentence, {k} of them, with blanks and a \"quotation\"" for k in range(9)],
                  ["one that is longer than any line " * 9], list(range(90)), {"x": [["a b, c"] * 40, []]}):
        text = recording.as_text(value)
        assert json.loads(text) == value
        assert value != list(range(90)) or max(map(len, text.split("\n"))) <= recording.WIDTH + 2
