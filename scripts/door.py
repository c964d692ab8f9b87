"""Before a verb runs: `.venv` with the parts that it needs, and the Python in it.

A verb begun with the Python of the machine is run again by that of `.venv`, which is made where it is missing; begun
in another virtual environment that holds all it needs, it stays there. Standard library only, and readable by
Python 3.6, as `bootstrap.py` is, so that an old Python gets a sentence.
"""

import importlib
import os
import subprocess
import sys

from scripts import bootstrap


def enter(parts, argv, root=bootstrap.ROOT):
    """Set up `parts` and go on in `.venv`. Returns None to go on here, else the exit status of what was run there."""
    if not parts:
        return None
    inside = same(sys.prefix, os.path.join(root, ".venv"))
    if not inside and suffices(parts, root):
        return None
    if not ready(parts, root):
        status = bootstrap.main(parts, root)
        if status:
            return status
    if inside:
        importlib.invalidate_caches()
        return None
    return again(bootstrap.venv_python(root), argv)


def same(here, there):
    return os.path.realpath(here) == os.path.realpath(there)


def ready(parts, root):
    """Does `.venv` hold the parts, as pyproject.toml and the lock say now? Told by the dates of bootstrap's marks."""
    named = [os.path.join(root, name) for name in ("pyproject.toml", "requirements.lock")]
    newest = max([os.path.getmtime(path) for path in named if os.path.exists(path)] or [0])
    marks = [os.path.join(root, ".venv", "ready-" + part) for part in parts]
    return os.path.exists(bootstrap.venv_python(root)) and all(
        os.path.exists(mark) and os.path.getmtime(mark) >= newest for mark in marks)


def suffices(parts, root):
    """Is this another virtual environment, with all that the parts ask for?"""
    if sys.version_info < bootstrap.OLDEST or not (sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ):
        return False
    from pathlib import Path

    from scripts import requirements
    if not os.path.isfile(os.path.join(root, "pyproject.toml")):
        return True                                     # nothing says what is needed
    return requirements.Requirement is not None and not requirements.missing(Path(root), parts, lock=False)[0]


def again(python, argv, replace=os.name == "posix"):
    """Run the same command by another Python: in this process's place, or (on Windows) as a child of it."""
    command = [python, "-m", "scripts"] + argv
    if replace:
        sys.stdout.flush()
        os.execv(python, command)
    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:                       # the child got it too, and says the last word
            continue
