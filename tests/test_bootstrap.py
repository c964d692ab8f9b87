"""Setting up `.venv`: from nothing, again, interrupted, offline, with an old Python. No index is asked."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from scripts import bootstrap, requirements

HERE = Path(__file__).resolve().parent.parent
PYTHON = "{}.{}".format(*sys.version_info[:2])
PROJECT = """[project]
name = "book"
version = "0"
dependencies = ["tiny-core>=1"]
[project.optional-dependencies]
test = ["tiny_test>=1,<3", 'tiny-old>=1; python_version < "3"']
wrong = ["tiny-absent>=1"]
quarto = ["tiny-absent>=1"]
"""


# -- on its own

def test_an_old_python_can_read_it():
    ast.parse((HERE / "scripts/bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_it_needs_nothing_installed():
    tree = ast.parse((HERE / "scripts/bootstrap.py").read_text(encoding="utf-8"))
    names = {a.name.partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert names <= sys.stdlib_module_names
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]


def test_an_old_python_gives_way_to_a_newer_one(monkeypatch, capsys):
    on_path = {"python3.12": "/opt/python3.12"}
    monkeypatch.setattr(bootstrap.shutil, "which", on_path.get)
    monkeypatch.setattr(bootstrap, "version_of", lambda python: (3, 12))
    assert bootstrap.new_enough_python((3, 8)) == "/opt/python3.12"
    said = capsys.readouterr().out
    assert said == "This is Python 3.8; the book needs 3.10 or newer: using /opt/python3.12.\n"


def test_an_old_python_alone_is_refused(monkeypatch):
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    with pytest.raises(bootstrap.Refused, match=r"This is Python 3\.9; the book needs 3\.10 or newer"):
        bootstrap.new_enough_python((3, 9))


def test_a_shim_without_its_python_is_passed_over(tmp_path, monkeypatch):
    shim = tmp_path / "python3.19"
    shim.write_text("#!/bin/sh\necho no such version >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bootstrap.Refused):
        bootstrap.new_enough_python((3, 8))


def test_without_venv_the_package_is_named(monkeypatch):
    monkeypatch.setattr(bootstrap, "asked", lambda python, code: None if "ensurepip" in code else "3 11")
    with pytest.raises(bootstrap.Refused, match=r"sudo apt-get install python3\.11-venv"):
        bootstrap.check_venv_module("/usr/bin/python3")


@pytest.mark.parametrize("output, said", [
    ("WARNING: Retrying: Temporary failure in name resolution')': /simple/x/", "can't be reached"),
    ("NewConnectionError: Failed to establish a new connection: it is unreachable", "can't be reached"),
    ("ERROR: could not install due to an OSError: [Errno 28] No space left on device", "disk is full"),
    ("a\n\nERROR: No matching distribution found for torch==9\n", "    ERROR: No matching distribution")])
def test_what_pip_says_is_explained(output, said):
    assert said in bootstrap.explain(output)


@pytest.mark.parametrize("argv, status", [([], 2), (["--help"], 0), (["--frob"], 2)])
def test_usage(argv, status, capsys):
    assert bootstrap.main(argv) == status
    assert "scripts/bootstrap.py EXTRA" in capsys.readouterr().out


def test_two_at_once_take_turns(tmp_path):
    pytest.importorskip("fcntl")
    held = bootstrap.exclusively(str(tmp_path))
    code = f"import sys; sys.path.insert(0, {str(HERE)!r})\nfrom scripts import bootstrap\n" \
           f"bootstrap.exclusively({str(tmp_path)!r}); print('mine')"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert "waiting for it" in other.stdout.readline()
        time.sleep(0.2)
        assert other.poll() is None
        os.close(held)
        assert other.communicate(timeout=10)[0] == "mine\n"
    finally:
        other.kill()
        other.wait()


# -- for real, in a folder of its own, with packages from a folder

def wheel(folder: Path, name: str, version: str, needs: tuple = ()) -> None:
    stem = f"{name}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        archive.writestr(f"{stem}.dist-info/METADATA",
                         f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                         + "".join(f"Requires-Dist: {need}\n" for need in needs))
        archive.writestr(f"{stem}.dist-info/WHEEL",
                         "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    root = tmp_path_factory.mktemp("clone")
    (root / "scripts").mkdir()
    (root / "wheels").mkdir()
    for name in ("bootstrap.py", "requirements.py"):
        (root / "scripts" / name).write_text((HERE / "scripts" / name).read_text(encoding="utf-8"))
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "requirements.lock").write_text(
        f"# Made with Python {PYTHON} on X y.\ntiny-core==1.1\ntiny-test==1.0\n")
    for version in ("1.0", "1.1", "1.2"):
        wheel(root / "wheels", "tiny_core", version)
    wheel(root / "wheels", "tiny_test", "1.0", ("tiny-dependency",))
    wheel(root / "wheels", "tiny_dependency", "2.0")
    return root


def set_up(clone, *arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    clean.update(PIP_CONFIG_FILE=os.devnull, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(clone / "wheels"),
                 PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable, str(clone / "scripts/bootstrap.py"), *arguments], cwd="/",
                          env=clean | environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def versions(clone):
    code = "import importlib.metadata as m; [print(f'{d.name}=={d.version}') for d in m.distributions()]"
    done = subprocess.run([bootstrap.venv_python(str(clone)), "-c", code], capture_output=True, text=True)
    return sorted(text for text in done.stdout.split() if text.startswith("tiny"))


def test_from_nothing_to_ready(clone):
    status, out, err = set_up(clone, "test")
    assert (status, err) == (0, "")
    assert f"Making .venv with Python {PYTHON}" in out and "Installing into .venv, for test: tiny-" in out
    assert versions(clone) == ["tiny_core==1.1", "tiny_dependency==2.0", "tiny_test==1.0"]
    assert (clone / ".venv/ready-core").exists() and (clone / ".venv/ready-test").exists()
    assert set_up(clone, "test") == (0, "", "")


def test_the_lock_is_followed_or_not(clone):
    ready(clone)
    assert set_up(clone, "core", LOCK="0")[0] == 0 and "tiny_core==1.1" in versions(clone)
    lock = clone / "requirements.lock"
    text = lock.read_text()
    try:
        lock.write_text(text.replace("tiny-core==1.1", "tiny-core==1.2"))
        assert set_up(clone, "core")[0] == 0 and "tiny_core==1.2" in versions(clone)
        lock.write_text(text.replace(f"Python {PYTHON}", "Python 3.99").replace("1.1", "1.0"))
        assert set_up(clone, "core") == (0, "", "") and "tiny_core==1.2" in versions(clone)
        lock.write_text(text.replace("tiny-core==1.1", "tiny-core==1.9"))
        status, out, _ = set_up(clone, "core")
        assert status == 0 and "can't be had now; going on with those installed" in out
    finally:
        lock.write_text(text)


def ready(clone):
    if not (clone / ".venv/ready-test").exists():
        assert set_up(clone, "test")[0] == 0


def test_an_interrupted_install_is_taken_up(clone):
    ready(clone)
    python = bootstrap.venv_python(str(clone))
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "tiny_dependency"], check=True)
    status, out, _ = set_up(clone, "test")
    assert status == 0 and "tiny-dependency" in out and "tiny_dependency==2.0" in versions(clone)


def test_a_package_that_is_not_to_be_had(clone):
    ready(clone)
    status, _, err = set_up(clone, "wrong")
    assert status == 1 and "pip failed; its last lines" in err and "tiny-absent" in err
    assert "Traceback" not in err and not (clone / ".venv/ready-wrong").exists()


def test_no_such_extra(clone):
    ready(clone)
    assert set_up(clone, "frobnicate")[::2] == (1, "pyproject.toml has no extra 'frobnicate'.\n")


def test_offline(clone):
    ready(clone)
    status, _, err = set_up(clone, "wrong", PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:9/simple",
                            PIP_TIMEOUT="1")
    assert status == 1 and err.startswith("The package index can't be reached") and err.count("\n") == 1


def test_a_venv_whose_python_went_is_made_anew(clone):
    ready(clone)
    python = Path(bootstrap.venv_python(str(clone)))
    python.unlink()
    python.symlink_to("/nowhere/python3")
    status, out, _ = set_up(clone, "test")
    assert status == 0 and "The .venv here does not run; making it anew" in out
    assert "tiny_core==1.1" in versions(clone)


def test_a_venv_without_pip_is_finished(tmp_path):
    (tmp_path / ".venv").mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    assert bootstrap.asked(bootstrap.ensure_venv(str(tmp_path)), "import pip") is not None


# -- pyproject.toml and the lock of this repository

def test_the_lock_covers_what_is_asked_for():
    lines = (HERE / "requirements.lock").read_text().splitlines()
    python = next(m[1] for m in map(requirements.MADE_WITH.match, lines) if m)
    lock = requirements.locked(HERE, python)
    for extra, wanted in requirements.ranges(HERE).items():
        for need in map(requirements.Requirement, wanted):
            if extra not in requirements.UNLOCKED and (need.marker is None or need.marker.evaluate()):
                assert need.specifier.contains(lock[requirements.plain(need.name)]), need


def test_the_lock_holds_versions_alone():
    lines = (HERE / "requirements.lock").read_text().splitlines()
    for line in lines:
        assert re.fullmatch(r"# .*|[a-z0-9-]+==[0-9][\w.]*", line), line
    assert not re.search(r"https?:|--|/simple|\+", "\n".join(lines))
    names = [line.partition("==")[0] for line in lines if "==" in line]
    assert names == sorted(names)
