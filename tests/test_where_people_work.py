"""What stands in the root for editors, containers and assistants names only what exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts.verbs import VERBS, options

HERE = Path(__file__).resolve().parent.parent
AGENTS = (HERE / "AGENTS.md").read_text(encoding="utf-8")
TASKS = json.loads((HERE / ".vscode/tasks.json").read_text(encoding="utf-8"))
MADE = ("workspace/", "build/", "_book/", ".venv/")              # made on the way, or the reader's


# -- AGENTS.md

def test_it_is_short():
    assert len(AGENTS.splitlines()) < 80 and max(map(len, AGENTS.splitlines())) <= 120


def test_each_command_of_it_is_one():
    found = re.findall(r"`make ([a-z-]+)((?: [A-Z]+=(?:\"[^\"]*\"|[^\s`]+))*)`", AGENTS)
    assert {"start", "test", "hint", "tangle", "stitch", "check"} <= {verb for verb, _ in found} <= set(VERBS)
    for verb, rest in found:
        options(verb, [word.replace('"', "") for word in re.findall(r"[A-Z]+=(?:\"[^\"]*\"|\S+)", rest)])
    bare = set(re.findall(r"\bmake ([a-z-]+)\b", re.sub(r"`make VERB[^`]*`|is no make|of make", "", AGENTS)))
    assert bare <= set(VERBS), bare - set(VERBS)


def test_each_path_of_it_is_there():
    paths = {word for word in re.findall(r"`([\w./*-]+)`", AGENTS) if "/" in word or "." in word}
    assert {"workspace/", "tangled/", "chapters/*.qmd", "scripts/verbs.py"} <= paths
    stems = {path.name for path in HERE.glob("tangled/t27_*/*.py")} | {"exercises.py"}
    for path in paths:
        if path in MADE or path in stems:
            continue
        if path.startswith("t27_"):
            assert (HERE / "tangled" / path.removesuffix(".py")).is_dir()
        else:
            assert list(HERE.glob(path.rstrip("/"))), path
    assert any(HERE.glob("tangled/*/exercises.py"))


def test_what_it_quotes_of_a_report_is_a_pitfall():
    name = re.search(r'equals pitfall 27\.\d+ "([^"]+)"', AGENTS)[1]
    text = next(HERE.glob("chapters/27-*.qmd")).read_text(encoding="utf-8")
    assert f'pitfall="{name.replace(" ", "-")}"' in text
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    assert '"Writing a chapter"' in " ".join(AGENTS.split()) and "## Writing a chapter" in readme


# -- editors and containers

@pytest.mark.parametrize("task", TASKS["tasks"], ids=lambda task: task["label"])
def test_each_task_is_a_command(task):
    dash, module, verb, *words = task["args"]
    assert (dash, module, task["command"], task["windows"]) == ("-m", "scripts", "python3", {"command": "py"})
    options(verb, words)
    asked = set(re.findall(r"\$\{input:(\w+)\}", " ".join(words)))
    assert asked <= {each["id"] for each in TASKS["inputs"]}


def test_tasks_cover_what_a_reader_does():
    verbs = {task["args"][2] for task in TASKS["tasks"]}
    assert {"start", "test", "hint", "watch", "progress", "notebook", "render", "verify-setup"} <= verbs
    assert len({task["label"] for task in TASKS["tasks"]}) == len(TASKS["tasks"])


def test_the_container():
    made = json.loads((HERE / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    lock = (HERE / "requirements.lock").read_text(encoding="utf-8")
    assert made["image"].rpartition(":")[2] == re.search(r"Made with Python (\d+\.\d+)", lock)[1]
    assert made["postCreateCommand"] == "make setup" and "setup" in VERBS
