"""Golden files: no pickle, the same bytes each time, and every way in which one can be wrong is said in one line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from harness_book import environment, make_repo, run, scripts

from scripts import golden
from scripts.errors import Problem
from scripts.grading import golden_file
from tangled.testing import Case

NO_TORCH = ("import importlib.metadata as m\nversion = m.version\n\ndef hidden(name):\n    if name == 'torch':\n"
            "        raise m.PackageNotFoundError(name)\n    return version(name)\n\nm.version = hidden\n")


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_repo(tmp_path_factory.mktemp("golden"))


@pytest.fixture
def npz(repo):
    """The golden file; it and the manifest are put back afterwards."""
    path, manifest = repo / "golden" / "t90.npz", repo / "golden" / "manifest.json"
    kept = path.read_bytes(), manifest.read_bytes()
    yield path
    path.write_bytes(kept[0])
    manifest.write_bytes(kept[1])


def check(repo, torch: bool = True, *arguments: str) -> subprocess.CompletedProcess:
    """`golden --check`, with or without PyTorch."""
    if torch:
        return scripts(repo, "golden", "--check", *arguments)
    code = NO_TORCH + ("import sys\nfrom scripts.__main__ import run\nfrom scripts.verbs import find\n"
                       "sys.exit(run(find('golden'), sys.argv[1:]))\n")
    return subprocess.run([sys.executable, "-c", code, "--check", *arguments], cwd=repo, env=environment(), text=True,
                          capture_output=True, timeout=60)


def test_fresh_files_are_right(repo):
    done = check(repo)
    assert done.returncode == 0 and "1 topics are as their level 4 makes them" in done.stdout
    done = check(repo, False)
    assert done.returncode == 0 and "by hash" in done.stdout
    assert "needs PyTorch" not in done.stdout + done.stderr


def test_byte_stable_and_without_pickle(repo, npz):
    before, manifest = npz.read_bytes(), (repo / "golden" / "manifest.json").read_bytes()
    npz.unlink()
    assert scripts(repo, "golden", "--topic", "90").returncode == 0
    assert npz.read_bytes() == before and (repo / "golden" / "manifest.json").read_bytes() == manifest
    with zipfile.ZipFile(npz) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(npz, allow_pickle=False) as file:
        assert {key.partition("/")[0] for key in file.files} == {"plain", "nested"}
    entry = json.loads(manifest)["t90_scores"]
    assert entry["numpy"] == np.__version__ and entry["cases"] == 2 and entry["seed"] == [20240, 90]


def test_the_last_digit_of_another_machine_changes_nothing(repo, npz):
    """Values within 1e-10 of the stored ones are kept, and their file with them"""
    arrays = golden.read_arrays(npz)
    moved = {k: a + 1e-13 if a.dtype.kind == "f" else a for k, a in arrays.items()}
    assert golden.differences(arrays, moved) == []
    before = npz.read_bytes()
    assert "unchanged" in scripts(repo, "golden", "--topic", "90").stdout and npz.read_bytes() == before


@pytest.mark.parametrize("spoil, words", [
    (lambda path: path.unlink(), "golden/t90.npz: missing; run: make golden TOPIC=90"),
    (lambda path: path.write_bytes(path.read_bytes()[:300]), "golden/t90.npz: cannot be read"),
    (lambda path: path.write_bytes(b"not a zip"), "golden/t90.npz: cannot be read"),
    (lambda path: np.savez(path, x=np.ones(2)), "its arrays are not those of golden/manifest.json"),
    (lambda path: path.with_name("manifest.json").write_text("{}"), "not in golden/manifest.json"),
    (lambda path: path.with_name("manifest.json").write_text("{"), "golden/manifest.json:1: not JSON"),
    (lambda path: path.with_name("manifest.json").unlink(), "not in golden/manifest.json"),
])
def test_check_names_what_is_wrong(repo, npz, spoil, words):
    spoil(npz)
    done = check(repo, False)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_pickles_are_refused(repo, npz):
    marker = repo / "was_run"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    array = np.empty(1, dtype=object)
    array[0] = Bomb()
    np.savez(npz, **{"plain/inputs.q": array})
    assert "cannot be read" in check(repo, False).stderr
    graded = run(repo, "--level", "2", "-k", "golden")
    assert "golden/t90.npz cannot be read" in graded.text and "make golden TOPIC=90" in graded.text
    assert not marker.exists()


def test_a_changed_level_4_is_noticed_without_torch(repo, npz):
    path = repo / "tangled" / "t90_scores" / "level4_pytorch_reference.py"
    kept = path.read_text()
    try:
        path.write_text(kept.replace("q, k = rng", "# a comment changes nothing\n    q, k = rng"))
        assert check(repo, False).returncode == 0
        path.write_text(kept.replace("(3, 4))\n", "(2, 4))\n"))
        assert "changed since golden/t90.npz was made" in check(repo, False).stderr
    finally:
        path.write_text(kept)


def test_changed_values_are_noticed_with_torch(repo, npz):
    """Arrays and manifest agree, and are not what level 4 computes"""
    arrays = golden.read_arrays(npz)
    arrays["plain/outputs.out"] = arrays["plain/outputs.out"] + 1e-6
    npz.write_bytes(golden.as_npz(arrays))
    manifest = json.loads(npz.with_name("manifest.json").read_text())
    manifest["t90_scores"]["arrays"] = golden.arrays_hash(arrays)
    npz.with_name("manifest.json").write_text(json.dumps(manifest))
    assert check(repo, False).returncode == 0
    assert "plain/outputs.out differs by 1e-06; run: make golden TOPIC=90" in check(repo).stderr


def test_leftovers(repo, npz):
    """A file or an entry of a topic that is gone is named, and removed by the next `make golden`"""
    other, manifest = npz.with_name("t91.npz"), npz.with_name("manifest.json")
    other.write_bytes(npz.read_bytes())
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"t91_gone": {}}))
    said = check(repo, False).stderr
    assert "golden/t91.npz: belongs to no topic" in said and "names t91_gone" in said
    assert scripts(repo, "golden").returncode == 0
    assert not other.exists() and check(repo).returncode == 0


def test_unknown_topic(repo):
    done = scripts(repo, "golden", "--topic", "7")
    assert done.returncode == 1 and "topics that have: 90" in done.stderr


def test_missing_file_and_case_in_a_test(repo, npz):
    npz.unlink()
    assert "golden/t90.npz is missing; run: make golden TOPIC=90" in run(repo, "--level", "2").text
    with pytest.raises(AssertionError, match=r"has no case 'x', only .*; run: make golden TOPIC=0"):
        golden_file.load_case(0, "x")


def test_cases_survive_storing():
    case = Case("c", inputs={"x": np.arange(6.0).reshape(2, 3), "n": 3, "eps": 1e-5, "mode": "half", "on": True,
                             "none": None, "size": (3, (1, 2)), "zero": np.array(2.0), "f32": np.ones(2, np.float32),
                             "params": {"W": np.ones((2, 2)), "layers": [np.zeros(1), np.ones(1)]},
                             "empty": np.zeros((0, 4))})
    arrays = {k: v for n, value in case.inputs.items() for k, v in golden_file.flatten(value, n).items()}
    data = golden.as_npz(arrays)
    assert data == golden.as_npz(dict(reversed(arrays.items())))
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        back = golden_file.unflatten({k: file[k] for k in file.files})
    assert (back["n"], back["eps"], back["mode"], back["on"], back["none"]) == (3, 1e-5, "half", True, None)
    assert back["size"] == (3, (1, 2)) and back["zero"].shape == () and back["empty"].shape == (0, 4)
    assert back["f32"].dtype == np.float32 and (back["x"] == case.inputs["x"]).all()
    assert isinstance(back["params"]["layers"], tuple) and back["params"]["layers"][1][0] == 1.0


def test_what_cannot_be_stored_is_refused():
    with pytest.raises(Problem, match="is of type object"):
        golden.checked(np.array([None]), "c: inputs.x", "level4.py")
    with pytest.raises(TypeError):
        golden_file.flatten(object(), "x")


def test_differences():
    a = {"x": np.ones(3), "n": np.arange(2)}
    assert golden.differences(a, {"x": np.ones(3)}) == ["n is no longer made"]
    assert golden.differences({"x": np.ones(3)}, a) == ["n is missing"]
    assert "float64[3], level 4 makes float32[3]" in golden.differences(a, a | {"x": np.ones(3, np.float32)})[0]
    assert golden.differences(a, a | {"n": np.array([0, 2])}) == ["n differs"]
    nan = {"x": np.array([np.nan, np.inf, 1.0])}
    assert golden.differences(nan, nan) == []
