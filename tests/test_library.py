"""`pip install .`: the wheel holds `tangled` alone, and every topic is imported from a foreign folder."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOPICS = sorted(path.name for path in (ROOT / "tangled").glob("t[0-9][0-9]_*") if (path / "__init__.py").is_file())


def run(*command, cwd, **environment) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "TANGLED"))}
    return subprocess.run([str(word) for word in command], cwd=cwd, env=clean | environment, text=True,
                          capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without the network from a copy of what it needs."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed: make setup")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "tangled", source / "tangled", ignore=shutil.ignore_patterns("__pycache__", ".staging"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q",
               "--disable-pip-version-check", "-w", out, source, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of an empty environment into which the wheel has been installed; NumPy is lent to it."""
    home = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home).returncode == 0
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).stdout.strip())
    done = run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q", "--target", site,
               "--disable-pip-version-check", wheel, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    (site / "lent.pth").write_text("\n".join({sysconfig.get_path(kind) for kind in ("purelib", "platlib")}))
    return python


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"tangled", "dl_from_scratch"}
    assert not [name for name in names if "/tests/" in name or "/pitfalls/" in name]
    assert {name.split("/")[1] for name in names if re.match(r"tangled/t\d\d_", name)} == set(TOPICS)


def test_every_topic_is_imported_from_a_foreign_folder(python, tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "__init__.py").write_text("raise SystemExit('a foreign package was imported')\n")
    modules = [f"tangled.{topic}{level}" for topic in TOPICS for level in (
        "", ".level1_naive", ".level2_vectorized", ".level3_memory_efficient")]
    program = ("import importlib, sys\nhook = sys.excepthook\n"
               f"for name in {modules + ['tangled.data', 'tangled.records', 'tangled.testing']!r}:\n"
               "    importlib.import_module(name)\n"
               f"assert {str(ROOT)!r} not in sys.modules['tangled'].__file__\n"
               "assert sys.excepthook is hook, 'the hook of exceptions was changed'\n")
    done = run(python, "-c", program, cwd=tmp_path)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("call", [
    "data.load_mnist()", "data.load_fashion_mnist()", "data.load_emoji()", "data.load_nhefs()", "data.load_cps85()",
    "data.load_shakespeare()", "data.load_sotu()", "data.load_first_names()", "data.load_en_fr()", "data.verify()",
    "records.record(9)", "records.store_run(9, 'x')"])
def test_what_is_not_there_says_how_to_get_it(python, tmp_path, call):
    done = run(python, "-c", f"from tangled import data, records\n{call}", cwd=tmp_path)
    last = done.stderr.strip().split("\n")[-1]
    said = r"FileNotFoundError: \S+: not found; .*set TANGLED_HOME to a copy of it( \(make .*\))?"
    assert done.returncode == 1 and re.fullmatch(said, last), done.stderr


def test_a_copy_of_the_repository_lends_its_data(python, tmp_path):
    program = ("from tangled import data, records\nprint(data.load_mnist('test')[0].shape, "
               "len(data.verify()), records.record(9).names()[0])")
    done = run(python, "-c", program, cwd=tmp_path, TANGLED_HOME=str(ROOT))
    assert done.stdout.startswith("(10000, 28, 28) "), done.stderr
