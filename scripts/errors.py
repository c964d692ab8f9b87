"""What went wrong in a user's file, said in one line: `chapters/27-x.qmd:212: what, expected what`."""

from __future__ import annotations


class Problem(Exception):
    """One mistake, at a place.

    `path` is relative to the repository's root; `line` counts from 1 (0: the file as a whole).
    """

    def __init__(self, path: str, line: int, message: str):
        self.path, self.line, self.message = str(path), line, message
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.message}" if place else self.message


class Problems(Exception):
    """Several mistakes, found together and reported together, in order of place and each once."""

    def __init__(self, problems):
        self.problems = sorted(set(map(str, problems)), key=_place)
        super().__init__("\n".join(self.problems))


def _place(text: str) -> tuple[str, int, str]:
    path, _, rest = text.partition(":")
    number = rest.partition(":")[0]
    return path, int(number) if number.isdigit() else 0, text
