"""Other programs: the environment in which they are run, and what of their messages is shown."""

from __future__ import annotations

import functools
import locale
import os
import re

CODESETS = ("utf8", "utf_8")
BACKTRACE = re.compile(r"^(?:HasCallStack backtrace:|CallStack \(from HasCallStack\):|Stack trace:|Traceback \(most)")
FRAME = re.compile(r"^\s+(?:at |File \")|^  \S+, called at ")


@functools.cache
def utf8_locale() -> str | None:
    """A locale whose letters are UTF-8; "" where the user's own is one, None where there is none."""
    if not hasattr(locale, "nl_langinfo"):              # Windows, whose programs ask for no locale
        return ""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        for name in ("", "C.UTF-8", "C.utf8", "en_US.UTF-8"):
            try:
                locale.setlocale(locale.LC_CTYPE, name)
            except locale.Error:
                continue
            if locale.nl_langinfo(locale.CODESET).lower().replace("-", "") in CODESETS:
                return name
        return None
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def environment(**more: str) -> dict[str, str]:
    """The environment for another program: file names and texts are UTF-8, whatever LANG says."""
    name = utf8_locale()
    utf8 = {"PYTHONUTF8": "1"} if os.name == "nt" else {"LC_ALL": name} if name else {}
    return {**os.environ, **utf8, **more}


def message(text: str) -> str:
    """What a program said of its failure, without its backtrace."""
    said, skipping = [], False
    for line in text.strip().split("\n"):
        skipping = bool(BACKTRACE.match(line)) or (skipping and (line[:1].isspace() or not line))
        if not skipping and not FRAME.match(line):
            said.append(line.rstrip())
    return "\n".join(said).strip()
