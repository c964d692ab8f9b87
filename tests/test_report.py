"""The report: the table, failures with chapter lines, pitfalls; every accident of a learner's file in one line."""

from __future__ import annotations

import re

import pytest
from harness_book import PACKAGE, ROOT, grade, level_two, make_repo, run, scripts

from scripts.grading import report_table
from scripts.tangling.pitfalls import build

SCALE = "out = out / math.sqrt(q.shape[-1])"
PRODUCT = "    out = q @ k.T"


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_repo(tmp_path_factory.mktemp("report"))


def changed(repo, old: str, new: str) -> str:
    """Level 2 with one piece of text replaced."""
    text = level_two(repo)
    assert old in text
    return text.replace(old, new)


def test_all_levels_pass(repo):
    graded = run(repo)
    assert graded.status == 0
    assert re.search(r"^ +shape +value +gradient +edge +performance$", graded.text, re.M)
    for n in (1, 2, 3, 4):
        assert re.search(rf"^level {n} +1/1 +1/1 +1/1 +1/1 +{'1/1' if n == 3 else '-'}$", graded.text, re.M)
    assert "17 of 17 tests passed (100 %)" in graded.text
    assert re.search(r"^17 passed in ", graded.text, re.M)
    assert all(len(line) <= 100 and line.isascii() for line in graded.text.splitlines())


def test_level_2_in_the_workspace_passes(repo):
    graded = grade(repo, level_two(repo))
    assert graded.status == 0 and len(graded.records) == 4          # the test for level 3 is left out
    assert re.search(r"^your file +1/1", graded.text, re.M)


def test_one_level(repo):
    graded = run(repo, "--level", "3")
    assert graded.status == 0 and {r["level"] for r in graded.records} == {"level3"}


def test_pitfall_is_named(repo):
    graded = grade(repo, changed(repo, SCALE, "out = out * 1.0"))
    assert graded.status == 1
    line = next(i for i, x in enumerate((repo / "chapters/90-scores.qmd").read_text().splitlines(), 1)
                if "forgot-the-scale" in x)
    assert f'equals pitfall 90.1 "forgot the scale" (chapters/90-scores.qmd:{line})' in graded.text
    assert "got = 2 * expected; 2 is sqrt(4), 4 being the size of axis 1 of input" in graded.text
    assert "2 of 2 failures equal pitfall 90.1" in graded.text
    assert "make hint TOPIC=90" in graded.text
    assert "FAILED your file  test_golden: The golden scores" in graded.text


def test_second_pitfall_and_chapter_lines(repo):
    graded = grade(repo, changed(repo, "dq = dout @ k\n",
                                 "dq = np.broadcast_to(k.sum(0), q.shape) / math.sqrt(q.shape[-1])\n"))
    record, = graded.failures()
    assert [p["number"] for p in record["pitfalls"]] == ["90.2"]
    assert "analytic" in record["lines"][0] and "numeric" in record["lines"][0]
    chapter = (repo / "chapters/90-scores.qmd").read_text().splitlines()
    place = re.match(r"chapters/90-scores\.qmd:(\d+) \(tangled/t90_scores/tests/test_basic\.py:\d+\)", record["test"])
    assert "check_gradients(" in chapter[int(place[1]) - 1]


def test_a_wrong_level_is_shown_with_its_chapter_line(repo):
    path = repo / "chapters" / "90-scores.qmd"
    kept = path.read_text()
    path.write_text(kept.replace(SCALE, "out = out / math.sqrt(q.shape[-7])"))
    try:
        assert scripts(repo, "tangle").returncode == 0
        graded = run(repo, "--level", "2")
        chapter = path.read_text().splitlines()
    finally:
        path.write_text(kept)
        scripts(repo, "tangle")
    record = graded.failures()[0]
    place = re.match(r"chapters/90-scores\.qmd:(\d+) in scores", record["code"])
    assert record["lines"][0].startswith("IndexError") and "math.sqrt" in chapter[int(place[1]) - 1]


def test_plain_tracebacks_name_the_chapter(repo):
    graded = grade(repo, changed(repo, SCALE, "out = out * 1.0"), "--tb", "short")
    assert re.search(r"^chapters/90-scores\.qmd:\d+: .*\(tangled/t90_scores/tests/test_basic\.py:\d+\)",
                     graded.text, re.M)


def test_missing_level_fails(repo):
    path = repo / "tangled" / PACKAGE / "level3_memory_efficient.py"
    kept = path.read_text()
    path.unlink()
    try:
        graded = run(repo, "--level", "3")
    finally:
        path.write_text(kept)
    assert graded.status == 1 and len(graded.failures()) == 5
    assert f"tangled/{PACKAGE}/level3_memory_efficient.py is missing" in graded.text


def test_no_torch_is_skipped_with_the_command(repo):
    hide = repo / "hide.py"
    hide.write_text("import importlib.util as u\nfind = u.find_spec\n"
                    "u.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n")
    graded = run(repo, "-p", "hide")
    assert graded.status == 0
    assert re.search(r"^level 4 +- +- +- +- +- +skipped: PyTorch not installed \(.+\)$", graded.text, re.M)
    nothing = run(repo, "-p", "hide", "--level", "4")
    assert nothing.status == 5 and "no test ran: all 4 were skipped (PyTorch not installed" in nothing.text


def test_nothing_selected_fails(repo):
    graded = run(repo, "-k", "no_such_test")
    assert graded.status != 0 and "no test ran: 17 were left out by the options" in graded.text


INFINITE = "    while True:\n        q = q + 0\n" + PRODUCT
ACCIDENTS = {
    "no file": (None, "workspace/t90_scores.py is missing; run: make start TOPIC=90"),
    "syntax": ("def scores(q, k)\n    return q\n", "workspace/t90_scores.py:1: expected ':'"),
    "not utf-8": (b"x = 1\ny = 'caf\xe9'\n", "workspace/t90_scores.py:"),
    "null": (b"x = 1\0\n", "workspace/t90_scores.py"),
    "fails at import": ("import numpy as np\n\nx = 1 / 0\n",
                        "workspace/t90_scores.py:3: importing it fails: ZeroDivisionError: division by zero"),
    "missing module": ("import nunpy\n", "workspace/t90_scores.py:1: importing it fails: ModuleNotFoundError"),
    "exit at import": ("import sys\nsys.exit(3)\n", "workspace/t90_scores.py:2: importing it calls sys.exit(3)"),
    "os._exit at import": ("import os\nos._exit(0)\n", "workspace/t90_scores.py:2: importing it fails: Quit"),
    "loop at import": ("n = 0\nwhile True:\n    n += 1\n",
                       "importing it takes longer than 1 s: a loop without an end?"),
    "torch": ("import numpy as np\nif True:\n    from torch import nn\n",
              "workspace/t90_scores.py:3: imports torch; only NumPy"),
    "hidden torch": ("t = __import__('torch.nn')\n", "workspace/t90_scores.py:1: imports torch.nn"),
    "solution": ("from tangled.t90_scores import scores\n",
                 "workspace/t90_scores.py:1: imports tangled.t90_scores, which is the solution"),
    "missing function": ("def score(q, k):\n    return q\n", "has no 'scores'; did you mean 'score'?"),
    "not written": ("def scores(q, k):\n    raise NotImplementedError\n", "scores is not implemented yet"),
    "loop": ((PRODUCT, INFINITE), "took longer than its time limit (1 s) and was stopped"),
    "loop that swallows": ((PRODUCT, "    while True:\n        try:\n            q = q + 0\n"
                            "        except Exception:\n            pass\n" + PRODUCT), "took longer than its time"),
    "exit": ((PRODUCT, "    raise SystemExit\n"), "scores called sys.exit(None), which would end the program"),
    "os._exit": ((PRODUCT, "    import os\n    os._exit(0)\n"), "scores called os._exit()"),
    "recursion": ((PRODUCT, "    return scores(q, k)\n"), "scores calls itself without an end"),
    "memory": ((PRODUCT, "    return np.zeros((10**7, 10**7)), None\n"), "out of memory: Unable to allocate"),
    "none": (("    return out, (q, k)", "    pass"), "NoneType"),
    "list": (("return out, (q, k)", "return out.tolist(), (q, k)"), "object has no attribute 'shape'"),
    "shape": ((PRODUCT, "    out = k @ q.T"), "assert (3, 5) == (5, 3)"),
    "input changed": ((PRODUCT, "    out = q @ k.T\n    q *= 2.0"), "input q was changed in place"),
    "crash in the code": ((PRODUCT, "    out = q @ k"), "ValueError: matmul: Input operand 1"),
}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_accidents(repo, name):
    code, words = ACCIDENTS[name]
    if isinstance(code, bytes):
        (repo / "workspace").mkdir(exist_ok=True)
        (repo / "workspace" / f"{PACKAGE}.py").write_bytes(code)
        graded = run(repo, "--impl", "workspace", "--limit", "1")
    else:
        few = ["-k", "golden or shape"] if "loop" in name else []
        graded = grade(repo, changed(repo, *code) if isinstance(code, tuple) else code, "--limit", "1", *few)
    assert graded.status == 1
    said = [line for record in graded.failures() for line in record["lines"]]
    assert any(words in line for line in said), said
    assert "Traceback" not in graded.text and "scripts/" not in graded.text
    assert re.search(r"^\d+ failed", graded.text, re.M)


def test_flood_of_prints(repo):
    code = changed(repo, PRODUCT, "    print('begin')\n    for i in range(30000):\n        print('line', i)\n"
                   "    out = q @ k.T * 7")
    graded = grade(repo, code, "-k", "golden")
    assert graded.status == 1 and len(graded.text) < 10_000
    assert re.search(r"and [\d,]+ characters more", graded.text)


def test_the_limit_shrinks_after_two_timeouts(repo):
    code = changed(repo, PRODUCT, INFINITE).replace("    dout = dout /", "    while True: pass\n    dout = dout /")
    graded = grade(repo, code, "--limit", "2.2")
    limits = [re.search(r"\(([\d.]+) s\)", r["lines"][0])[1] for r in graded.failures()]
    assert limits == ["2.2", "2.2", "2"]


def test_a_file_in_the_place_of_level_2(repo):
    path = build(repo, PACKAGE)["forgot_the_scale"].path
    graded = run(repo, "--impl", str(path))
    assert graded.status == 1 and len(graded.failures()) == 2


def test_coverage_still_works(repo):
    import subprocess
    import sys

    from harness_book import environment, forgotten
    pytest.importorskip("coverage")
    command = [sys.executable, "-m", "coverage", "run", f"--include=tangled/{PACKAGE}/level2*", "-m", "pytest",
               f"tangled/{PACKAGE}", "--level", "2"]
    forgotten(repo)
    subprocess.run(command, cwd=repo, env=environment(), capture_output=True, check=True, timeout=60)
    said = subprocess.run([sys.executable, "-m", "coverage", "report"], cwd=repo, env=environment(), text=True,
                          capture_output=True, timeout=60)
    assert re.search(r"level2_vectorized\.py +\d+ +0 +100%", said.stdout)


def record(**more) -> dict:
    """A record of a passed test."""
    return {"id": "x", "package": "t01_tensor_operations", "level": "level1", "category": "value",
            "outcome": "passed", "why": "", "name": "test_x", "doc": "", "kind": "", "lines": [], "code": "",
            "test": "", "printed": [], "pitfalls": [], "alike": []} | more


def test_table_of_topics():
    records = [record(), record(package="t27_positional_encodings", level="level2"),
               record(package="t27_positional_encodings", outcome="failed", lines=["x"], kind="assertion"),
               record(package=None, level=None), record(level="level4", outcome="skipped", why="no PyTorch")]
    text = "\n".join(report_table.report(records))
    assert re.search(r"^01 tensor operations +1/1 +- +- +skipped 1: no PyTorch$", text, re.M)
    assert re.search(r"^27 positional encodings +0/1 +1/1 +-$", text, re.M)
    assert re.search(r"^tools and appendices +1/1", text, re.M)
    assert "3 of 4 tests passed (75 %), 1 skipped" in text


def test_the_pitfall_that_explains_most_is_named():
    one, two = ({"number": f"1.{n}", "name": str(n), "place": "chapters/01.qmd:1"} for n in (1, 2))
    failed = [record(outcome="failed", kind="mismatch", lines=[chr(97 + i)], pitfalls=p)
              for i, p in enumerate(([one, two], [two], [two], []))]
    text = "\n".join(report_table.failure_lines(failed, "levels"))
    assert text.count("equals pitfall 1.2") == 3 and "3 of 4 failures equal pitfall 1.2" in text


def test_failures_without_arrays_are_a_pitfall_where_all_of_them_are():
    """Three different things said, all of them on one pitfall; not fewer, not where one is said on no pitfall"""
    one, two = ({"number": f"1.{n}", "name": str(n), "place": "chapters/01.qmd:1"} for n in (1, 2))
    failed = [record(outcome="failed", kind="assertion", lines=[f"assert {i} == 9"], alike=p)
              for i, p in enumerate(([one, two], [one], [one]))]
    text = "\n".join(report_table.failure_lines(failed, "levels"))
    assert 'all 3 failures are those of pitfall 1.1 "1"' in text and "equals" not in text
    assert report_table.named([record(), *failed]) == ["1.1"]
    assert report_table.named(failed[:2]) == [] == report_table.named([])
    assert report_table.named([*failed, record(outcome="failed", kind="error", lines=["TypeError: no"])]) == []
    assert report_table.named([f | {"alike": [one, two]} for f in failed]) == []        # which of the two?
    assert report_table.named([failed[0] | {"pitfalls": [two]}, *failed[1:]]) == ["1.2"]       # arrays say more


def test_the_same_words_are_told_from_others():
    import numpy as np

    from scripts.grading.pitfalls import same_words
    from tangled.comparing import Mismatch
    of = lambda got: Mismatch("y", "text", np.asarray(got), np.zeros_like(got))
    mine, theirs = (f"assert 4 == 3\n + where 4 = <function size at 0x{a}>(8)\n + = <module '{m}' from '{m}.py'>.size"
                    for a, m in (("7f3", "workspace_t11_conv2d_naive"), ("5d2", "tangled.t11.pitfalls.ceiling")))
    assert same_words(AssertionError(mine), AssertionError(theirs))
    assert not same_words(AssertionError(mine), AssertionError(theirs.replace("8", "9")))
    assert not same_words(ValueError("no"), TypeError("no"))
    assert same_words(of(3), of(3)) and not same_words(of(3), of(4))


def test_long_lists_are_cut():
    failed = [record(outcome="failed", kind="assertion", lines=[chr(97 + i)]) for i in range(40)]
    lines = report_table.failure_lines(failed, "levels")
    assert sum(x.startswith("FAILED") for x in lines) == report_table.SHOWN
    assert any("and 25 more failures" in x for x in lines)


def test_root_is_the_repository():
    assert (ROOT / "pyproject.toml").is_file()


@pytest.mark.parametrize("marker, runs, status", [("performance", 2, 0), ("value", 1, 1)])
def test_only_what_measures_is_run_again(repo, marker, runs, status):
    """A measurement that holds at the second try passes; a value that holds at the second try is wrong."""
    runs_needed = 2
    path = repo / "tangled" / PACKAGE / "tests" / "test_tries.py"
    path.write_text(f"""import pytest
tries = []

@pytest.mark.{marker}
@pytest.mark.levels(2)
def test_tries(level):
    from tangled.measuring import seconds_a_call
    seconds_a_call(lambda: sum(range(1000)))
    tries.append(1)
    print(f"run {{len(tries)}}.")
    assert len(tries) == {runs_needed}
""")
    try:
        graded = run(repo, "-k", "test_tries", "-rP")
    finally:
        path.unlink()
    assert graded.status == status
    assert max(int(n) for n in re.findall(r"run (\d)\.", graded.text)) == runs


@pytest.mark.parametrize("marker, grading", [("performance", ()), ("value", ("--level", "3"))])
def test_a_failure_that_says_nothing_equals_no_pitfall(repo, marker, grading):
    """A measurement, and a test that is wrong itself, fail on the pitfalls too: that explains nothing."""
    path = repo / "tangled" / PACKAGE / "tests" / "test_wrong.py"
    path.write_text(f"import pytest\n\n@pytest.mark.{marker}\n@pytest.mark.levels(2, 3)\n"
                    "def test_wrong(level):\n    assert False, 'grows as n^2.1'\n")
    try:
        graded = run(repo, "-k", "test_wrong", *grading)
    finally:
        path.unlink()
    assert graded.status == 1 and "grows as n^2.1" in graded.text and "equal" not in graded.text


# -- told as a new user needs it

def test_one_value_for_two(repo):
    graded = grade(repo, changed(repo, "    return out, (q, k)", "    return out"), "-k", "golden or gradient")
    said = [" ".join(r["lines"]) for r in graded.failures()]
    assert said and all("scores gives back one value ('return out'); 2 are expected: (out, cache)" in x for x in said)


def test_other_names_than_the_stubs():
    import ast

    from scripts.grading import solution
    right, own = ({"linear": ast.parse(f"def linear({names}): pass").body[0]} for names in ("x, W, b=None", "x, w"))
    for text in ("linear() got an unexpected keyword argument 'W'", "linear() takes 2 positional arguments but 3 were"):
        line, = solution.signature_line(TypeError(text), own, right)
        assert line.startswith("the stub has linear(x, W, b=None); yours has linear(x, w)")
    assert solution.signature_line(TypeError("f() missing 1 required positional argument"), own, right) == []
    assert solution.signature_line(TypeError("linear() missing 1 required"), right, right) == []


def test_what_is_not_written_takes_one_line():
    failed = [record(id=f"t.py::test_{i}", outcome="failed", kind="todo", lines=[f"f{i % 9} is not implemented yet"])
              for i in range(30)]
    lines = report_table.failure_lines(failed, "workspace")
    assert lines[1].startswith("9 not written yet: f0, f1, f2, f3, f4, f5, f6, f7, f8  (30 tests wait for")
    assert len(lines) < 7 and not any(x.startswith("FAILED") for x in lines)


def test_alike_failures_are_shown_once():
    """Cases of one test, and texts that differ in numbers only; another test apart from them"""
    failed = [record(id=f"t.py::test_x[{i}]", outcome="failed", kind="mismatch", lines=[f"y: {word} of 9 wrong"])
              for i, word in enumerate(("one", "two", "three"))]
    failed += [record(id=f"t.py::test_z{i}", outcome="failed", kind="mismatch", lines=[f"dx[{i}] is {i / 7}"])
               for i in range(4)] + [record(id="t.py::test_y", outcome="failed", kind="error", lines=["TypeError: no"])]
    lines = report_table.failure_lines(failed, "levels")
    assert sum(x.startswith("FAILED") for x in lines) == 3
    text = "\n".join(lines)
    assert "alike in 2 more tests: " in text and "alike in 3 more tests: " in text


def test_pitfalls_are_built_and_imported_once_a_run(monkeypatch):
    """Each test of a learner's file begins with the solution out of sys.modules; the next import reads no chapter"""
    import sys

    from scripts.grading import pitfalls as diagnosis
    from scripts.tangling import pitfalls as building
    monkeypatch.delitem(building.KNOWN, "t09_batch_norm", raising=False)
    found = diagnosis.pitfalls_of("t09_batch_norm")
    monkeypatch.setattr(building, "read_book", None)
    module = diagnosis.module_of(found[0].module)
    monkeypatch.delitem(sys.modules, found[0].module)
    assert diagnosis.module_of(found[0].module) is module
    assert [p.number for p in diagnosis.pitfalls_of("t09_batch_norm")] == [p.number for p in found]
    assert diagnosis.module_of(found[1].module).__file__ == str(found[1].path)


def test_the_pitfall_that_names_a_test_is_tried_first_on_it(monkeypatch):
    from types import SimpleNamespace

    from scripts.grading import pitfalls as diagnosis
    known = [diagnosis.Pitfall(PACKAGE, stem, "90.1", stem, ROOT / stem, "", caught)
             for stem, caught in (("a", ()), ("b", ("test_x",)), ("c", ("test_y", "test_z")))]
    tried = []
    monkeypatch.setattr(diagnosis, "pitfalls_of", lambda package: known)
    monkeypatch.setattr(diagnosis, "failure_on", lambda module, item, seconds: tried.append(module[-1]))
    item = SimpleNamespace(originalname="test_z", callspec=SimpleNamespace(params={"level": "level2"}))
    assert diagnosis.matching(AssertionError("no"), item, PACKAGE) == ([], []) and tried == ["c", "a", "b"]


def test_a_boolean_equals_no_pitfall():
    import numpy as np

    from scripts.grading.pitfalls import same_failure
    from tangled.comparing import Mismatch
    of = lambda got: Mismatch("y", "text", np.asarray(got), np.zeros_like(got))
    assert same_failure(of([1.5, 2.0]), of([1.5, 2.0])) and not same_failure(of([1.5, 2.0]), of([1.5, 2.1]))
    assert same_failure(of([1, 2, 3, 4]), of([1, 2, 3, 4])) and not same_failure(of(3), of(3))
    assert not same_failure(of([True, False]), of([True, False]))
    assert not same_failure(AssertionError("assert False"), AssertionError("assert False"))
    assert not same_failure(Mismatch("y", "is None"), Mismatch("y", "is None"))


def test_a_missing_refusal_names_the_check():
    import ast

    from scripts.grading import solution
    right, own = ({f.name: f for f in ast.parse(text).body} for text in (
        "def f(x):\n    x = check.floats('x', x)\n    return x\n", "def f(x):\n    return x\n"))
    text = "f accepted a bad 'x', expected a ValueError"
    line, = solution.check_line(text, own, right, "t05_mlp_forward")
    assert line == ("tangled/t05_mlp_forward/checks.py has this refusal ready, and the stub imports it: "
                    "check.floats('x', x)")
    assert solution.check_line(text, right, right, "t05_mlp_forward") == []
    assert solution.check_line("f accepted a bad 'y'", {}, {}, "t05_mlp_forward") == []


def test_the_stub_says_what_checks_is_for():
    from scripts.grading import stub
    text = stub.stub_of([("level2_vectorized", "from tangled.t05_mlp_forward import checks as check\n\n\n"
                          "def f(x):\n    return check.floats('x', x)\n")], "# head", "t05_mlp_forward")
    assert "import checks as check  # given: call it to refuse bad arguments" in text


def test_the_reason_of_a_skip_is_whole():
    """Beside six categories there is room for how to get PyTorch"""
    from scripts.grading.report_table import align
    why = "skipped: PyTorch not installed (make setup)"
    lines = align([["", *["performance"] * 6, ""], ["level 4", *["-"] * 6, why], ["level 5", *["-"] * 6, "y" * 99]])
    assert lines[1].endswith(why) and lines[2].endswith("yyy...")
