"""The small verbs: `help`, `setup`, `lock` and `clean`."""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts import requirements
from scripts.errors import Problem
from scripts.verbs import GROUPS, VERBS

MADE = ("_book", "build", ".cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".coverage")
CODE = ("scripts", "tests", "tangled")


def bare(verb: str, argv: list[str]) -> None:
    """These verbs take nothing."""
    if argv:
        raise Problem("", 0, f"make {verb} takes nothing; found {' '.join(argv)}")


def help(argv: list[str]) -> int:
    """The verbs, by what they are for."""
    print("make VERB [TOPIC=27] [IMPL=workspace] [LEVEL=2] [N=2] [ENGINE=auto|embedded|quarto] [PAPER=a4|letter]")
    print("or, where there is no make: python -m scripts VERB [TOPIC=27] ... (on Windows: py -m scripts VERB ...)")
    for group in GROUPS:
        print(f"\n{group}")
        for name, verb in VERBS.items():
            if verb.group == group:
                print(f"  make {name:14s}{verb.what}")
    return 0


def setup(argv: list[str]) -> int:
    """By now the set-up has been done."""
    bare("setup", argv)
    print("All that any verb needs is in .venv; make verify-setup says what.")
    return 0


def lock(argv: list[str]) -> int:
    """requirements.lock from what is installed."""
    bare("lock", argv)
    return requirements.main(["lock"])


def clean(argv: list[str], root: Path = Path(".")) -> int:
    """Remove what can be made again."""
    bare("clean", argv)
    caches = [path for folder in CODE for path in (root / folder).rglob("__pycache__")]
    for path in [*(root / name for name in MADE), *caches]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return 0
