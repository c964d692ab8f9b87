"""`make completion`: a script for bash and zsh that completes the verbs, their variables and the topics' numbers.

    source <(make completion)        # in ~/.bashrc, or in ~/.zshrc

Verbs and variables are those of scripts/verbs.py at the time; topics, names of programs and your own files are looked
up in the folder where the Tab key is pressed. Elsewhere make and python complete as they did before.
"""

from __future__ import annotations

from pathlib import Path

from scripts.errors import Problem
from scripts.verbs import VERBS, variables

TEMPLATE = Path(__file__).with_name("completion.sh")
CHOICES = {"LEVEL": "1 2 3 4", "N": "1 2 3", "ENGINE": "auto embedded quarto", "PAPER": "a4 letter", "EXERCISES": "1",
           "FORCE": "1", "REVEAL": "1"}


def main(argv: list[str]) -> int:
    if argv:
        raise Problem("", 0, f"make completion takes nothing; found {' '.join(argv)}")
    print(script(), end="")
    return 0


def script() -> str:
    """The completion, with the verbs of now."""
    takes = "\n".join(f"    {name}) echo {' '.join(variables(name))} ;;" for name in VERBS if variables(name))
    known = "\n".join(f"    {name}) echo {words} ;;" for name, words in CHOICES.items())
    text = TEMPLATE.read_text(encoding="utf-8")
    for mark, words in (("    @TAKES@", takes), ("    @CHOICES@", known), ("@VERBS@", " ".join(VERBS))):
        text = text.replace(mark, words)
    return text
