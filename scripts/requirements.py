"""What the book needs, what is installed and what the lock says; run by the Python of `.venv`.

    .venv/bin/python scripts/requirements.py missing EXTRA …    what is not there, one a line
    .venv/bin/python scripts/requirements.py lock               requirements.lock from what is installed

`pyproject.toml` holds the ranges, `requirements.lock` the exact versions they were last tried with. Standard
library and pip alone, for it runs before anything is installed.
"""

from __future__ import annotations

import importlib.metadata as metadata
import platform
import re
import sys
from pathlib import Path

try:
    from packaging.requirements import Requirement
except ImportError:
    try:
        from pip._vendor.packaging.requirements import Requirement
    except ImportError:         # a Python without pip: names can be told, ranges can't
        Requirement = None

UNLOCKED = ("quarto",)          # optional, and built on the reader's machine
MADE_WITH = re.compile(r"^# Made with Python (\d+\.\d+)")


def ranges(root: Path) -> dict[str, list[str]]:
    """`{"core": […], "test": […], …}`: the requirements of pyproject.toml, as written."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    try:
        import tomllib
    except ImportError:         # Python 3.10
        try:
            import tomli as tomllib
        except ImportError:
            from pip._vendor import tomli as tomllib
    project = tomllib.loads(text)["project"]
    return {"core": project.get("dependencies", []), **project.get("optional-dependencies", {})}


def locked(root: Path, python: str | None = None) -> dict[str, str]:
    """`{name: version}` of the lock, or nothing where it was made with another Python than this one."""
    path = root / "requirements.lock"
    python = python or "{}.{}".format(*sys.version_info[:2])
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    made = [m[1] for m in map(MADE_WITH.match, lines) if m]
    if python not in made:
        return {}
    return {plain(name): version for name, eq, version in (line.partition("==") for line in lines) if eq}


def plain(name: str) -> str:
    """A project's name as indexes compare it: `mini_racer` and `Mini-Racer` are one."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def installed(name: str) -> str | None:
    """The version installed, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def applies(requirement, extras=("",)) -> bool:
    """Whether the marker of a requirement (`; python_version < "3.11"`) holds here."""
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras)


def closure(wanted: list[str]) -> tuple[dict[str, str], list[str]]:
    """Everything that `wanted` needs, directly or not: `{name: installed version}` and what is amiss.

    The second is a list of lines: `torch>=2.2 (not installed)`, `numpy>=3 (2.4.6 is installed)`.
    """
    found, amiss, todo, seen = {}, [], [Requirement(w) for w in wanted], set()
    while todo:
        need = todo.pop()
        key = (plain(need.name), tuple(sorted(need.extras)), str(need.specifier))
        if key in seen or not applies(need):
            continue
        seen.add(key)
        version = installed(need.name)
        label = f"{need.name}{need.specifier}"
        if version is None:
            amiss.append(f"{label} (not installed)")
            continue
        if not need.specifier.contains(version, prereleases=True):
            amiss.append(f"{label} ({version} is installed)")
        found[plain(need.name)] = version
        asked = ("", *need.extras)
        for line in metadata.requires(need.name) or []:
            child = Requirement(line)
            if applies(child, asked):
                child.marker = None
                todo.append(child)
    return found, sorted(set(amiss))


def public(version: str) -> str:
    """A version without its local part: 2.13.0+cpu is 2.13.0, built for machines without a GPU."""
    return version.partition("+")[0]


def missing(root: Path, extras: list[str], lock: bool = True) -> tuple[list[str], list[str]]:
    """What does not meet the ranges, and what meets them but differs from the lock."""
    table = ranges(root)
    found, amiss = closure([line for extra in ["core", *extras] for line in table[extra]])
    exact = locked(root) if lock else {}
    other = [f"{name}=={exact[name]} ({version} is installed)" for name, version in sorted(found.items())
             if name in exact and public(version) != exact[name]]
    return amiss, other


def lock_text(root: Path) -> str:
    """The text of requirements.lock for what is installed now."""
    table = ranges(root)
    found, amiss = closure([line for extra, lines in table.items() if extra not in UNLOCKED
                            for line in lines])
    if amiss:
        raise SystemExit("the lock needs every extra but {}; amiss: {}".format(
            " and ".join(UNLOCKED), ", ".join(amiss)))
    head = ["# Exact versions with which the book was last built and tested; `make lock` writes them anew.",
            "# Constraints for the Python named here; other Pythons take the ranges of pyproject.toml.",
            "# Made with Python {}.{} on {} {}.".format(*sys.version_info[:2], platform.system(),
                                                       platform.machine())]
    return "\n".join(head + [f"{name}=={public(found[name])}" for name in sorted(found)]) + "\n"


def main(argv: list[str]) -> int:
    root = Path(__file__).resolve().parent.parent
    if argv[:1] == ["missing"]:
        amiss, other = missing(root, [e for e in argv[1:] if not e.startswith("--")], "--no-lock" not in argv)
        print("\n".join([f"range {line}" for line in amiss] + [f"lock {line}" for line in other]))
    elif argv == ["lock"]:
        path = root / "requirements.lock"
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
        text = lock_text(root)
        path.write_text(text, encoding="utf-8")
        print(f"requirements.lock: {text.count('==')} versions, {'changed' if text != old else 'unchanged'}")
    elif argv[:1] == ["list"]:
        table = ranges(root)
        print("\n".join(line for extra in ["core", *argv[1:]] for line in table[extra]))
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
