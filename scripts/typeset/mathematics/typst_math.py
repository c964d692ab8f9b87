"""TeX mathematics to Typst mathematics, for a fixed subset. What is not in the subset is an error."""

from __future__ import annotations

import functools
import re

from scripts.typeset.mathematics import symbols as S
from scripts.typeset.mathematics.commands import Commands
from scripts.typeset.mathematics.environments import Environments
from scripts.typeset.mathematics.tokens import TexError, Tokens, joined, quoted

__all__ = ["TexError", "convert"]


class Parser(Commands, Environments, Tokens):
    """A recursive descent over the tokens; every method answers Typst text."""

    def sub(self, tex: str) -> Parser:
        return Parser(tex, self.whole)

    def argument(self) -> str:
        """One TeX argument: a group or a single atom."""
        if self.skip("{"):
            parts = self.sequence({"}"})
            self.at += 1
            return joined(parts)
        if (self.peek() or "").isdigit():           # x^12 is x^1 followed by 2
            return self.next()
        return self.atom()

    def sequence(self, stop: set) -> list[str]:
        parts = []
        while True:
            token = self.peek()
            if token in stop:
                return parts
            if token is None:
                self.fail("the formula ends inside a group")
            if token in ("}", r"\right", r"\end"):
                self.fail(f"{token!r} without its beginning")
            parts.append(self.scripted())

    def scripted(self) -> str:
        """An atom with its sub- and superscripts, in whichever order they come."""
        base = self.base()
        below = above = None
        primes = 0
        while (token := self.peek()) in ("_", "^", "'", r"\limits", r"\nolimits"):
            self.at += 1
            if token == "_":
                below = self.once(below, token)
            elif token == "^":
                above = self.once(above, token)
            elif token == "'":
                primes += 1
            else:
                base = f"{'limits' if token == chr(92) + 'limits' else 'scripts'}({base})"
        if primes:
            above = joined(["prime"] * primes + [above or ""])
        return _attach(base, below, above)

    def once(self, script: str | None, token: str) -> str:
        if script is not None:
            self.fail(f"two {token!r} after one symbol")
        return self.argument()

    def base(self) -> str:
        token = self.peek()
        if token in ("^", "_", "'"):
            return "zws"
        if token != "{":
            return self.atom()
        self.at += 1
        parts = [part for part in self.sequence({"}"}) if part]
        self.at += 1
        base = joined(parts)
        if base == r"\,":                           # 131{,}071: no space behind it
            return r'class("normal", \,)'
        if self.peek() in ("^", "_", "'") and (len(parts) != 1 or "_(" in base or "^(" in base):
            return f'class("normal", {base})' if base else "zws"
        return base

    def atom(self) -> str:
        token = self.next()
        if token == "{":
            self.at -= 1
            return self.argument()
        if token[0] == "\\":
            return self.command(token)
        if token.isdigit():
            return self.number(token)
        if token in S.CHARACTERS:
            return S.CHARACTERS[token]
        return quoted(token) if ord(token) > 0x2FFF else token

    def delimiter(self) -> str:
        token = self.next()
        if token not in S.DELIMITERS:
            self.fail(f"{token!r} is not a delimiter")
        return S.DELIMITERS[token]

    def text(self, source: str) -> str:
        r"""The inside of \text{…}: strings, with $math$ and \textbf{…} in it."""
        out = []
        for k, piece in enumerate(re.split(r"(?<!\\)\$", source)):
            if k % 2:
                out.append(convert(piece))
                continue
            for part in re.split(r"(\\(?:text[a-z]*|emph)\{[^{}]*\})", piece):
                out.append(self.text_part(part))
        return joined(out)

    def text_part(self, part: str) -> str:
        styled = re.fullmatch(r"\\(\w+)\{([^{}]*)\}", part)
        plain = re.sub(r"\\([_#%&${}])", r"\1", styled[2] if styled else part)
        plain = plain.replace("~", "\u00a0").replace(r"\,", "\u2009").replace("\\ ", " ").replace("--", "–")
        if "\\" in plain:
            self.fail(f"a command inside \\text: {plain.strip()!r}")
        if not plain:
            return ""
        return S.TEXTS.get(styled[1], "{}").format(quoted(plain)) if styled else quoted(plain)


def _attach(base: str, below: str | None, above: str | None) -> str:
    brace = re.match(r"(under|over)(?:brace|bracket)\(", base)
    if brace:
        note = below if brace[1] == "under" else above
        if note is not None:
            base = f"{base[:-1]}, {note})"
            below, above = (None, above) if brace[1] == "under" else (below, None)
    return base + (f"_({below})" if below is not None else "") + (f"^({above})" if above is not None else "")


@functools.lru_cache(maxsize=20000)
def convert(tex: str) -> str:
    """Typst mathematics, without the dollar signs. Raises TexError."""
    return joined(Parser(tex).sequence({None}))
