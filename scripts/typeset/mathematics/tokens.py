"""TeX source as tokens, and a cursor over them."""

from __future__ import annotations

import re

TOKEN = re.compile(r"%[^\n]*\n?|\\[A-Za-z]+\*?|\\.|\s+|.", re.S)


class TexError(ValueError):
    """TeX outside the checked subset, or not TeX at all."""


def quoted(text: str) -> str:
    """A Typst string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def joined(parts: list[str]) -> str:
    """Parts with spaces between; not beside a string literal, where a space would be printed."""
    out = ""
    for part in filter(None, parts):
        tight = not out or out[-1] == '"' or part[0] == '"'
        out += part if tight else f" {part}"
    return out


class Tokens:
    """Reads tokens one by one, skipping white space and comments."""

    def __init__(self, tex: str, whole: str | None = None):
        self.whole = tex if whole is None else whole
        self.tokens = TOKEN.findall(tex)
        self.at = 0

    def fail(self, message: str):
        raise TexError(message)

    def peek(self) -> str | None:
        while self.at < len(self.tokens) and (
            self.tokens[self.at].isspace() or self.tokens[self.at][0] == "%"
        ):
            self.at += 1
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def next(self) -> str:
        token = self.peek()
        if token is None:
            self.fail("the formula ends where an argument was expected")
        self.at += 1
        return token

    def skip(self, token: str) -> bool:
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def group(self, opening: str = "{", closing: str = "}") -> str:
        """The source text of an argument in braces."""
        found = self.next()
        if found != opening:
            self.fail(f"found {found!r}; expected {opening!r}")
        depth, out = 1, ""
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            depth += (token == opening) - (token == closing)
            if depth == 0:
                return out
            out += token
        self.fail("braces do not match")

    def option(self) -> str | None:
        return self.group("[", "]") if self.peek() == "[" else None

    def number(self, first: str) -> str:
        """The rest of a decimal number whose first digit was read."""
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            after = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else ""
            if not (token.isdigit() or (token == "." and after.isdigit())):
                break
            first += token
            self.at += 1
        return first
