r"""The commands that take arguments: \frac, \sqrt, \operatorname, \left … \right and so on."""

from __future__ import annotations

import re

from scripts.typeset.mathematics import symbols as S
from scripts.typeset.mathematics.tokens import joined, quoted

FRACTIONS = {"frac": "{}", "tfrac": "inline({})", "dfrac": "display({})", "cfrac": "display({})"}
BINOMIALS = {"binom": "{}", "tbinom": "inline({})", "dbinom": "display({})"}
STYLES = {"displaystyle": "display", "textstyle": "inline", "scriptstyle": "script"}
SIZE = re.compile(r"(big|Big|bigg|Bigg)([lrm]?)")
WORDS = re.compile("[A-Za-z][A-Za-z0-9 \u2009_-]+")


class Commands:
    """Mixed into the Parser. Looks a command up in the tables, else calls the method `do_<command>`."""

    def command(self, token: str) -> str:
        name = token[1:]
        if name in S.SYMBOLS:
            return S.SYMBOLS[name]
        if name in S.OPERATORS:
            return name
        if name in S.ACCENTS:
            return f"{S.ACCENTS[name]}({self.argument()})"
        if name in S.FONTS:
            return self.font(name)
        if name in S.TEXTS:
            return S.TEXTS[name].format(self.text(self.group()))
        if name in FRACTIONS:
            return FRACTIONS[name].format(f"frac({self.argument()}, {self.argument()})")
        if name in BINOMIALS:
            return BINOMIALS[name].format(f"binom({self.argument()}, {self.argument()})")
        if name in S.CLASSES:
            return f'class("{S.CLASSES[name]}", {self.argument()})'
        return self.special(token, name)

    def special(self, token: str, name: str) -> str:
        method = getattr(self, f"do_{name.rstrip('*')}", None)
        if method:
            return method(name)
        if size := SIZE.fullmatch(name):
            kind = {"l": "opening", "r": "closing", "m": "relation"}.get(size[2], "normal")
            return f'class("{kind}", lr({self.delimiter()}, size: #{S.SIZES[size[1]]}))'
        if token in S.DELIMITERS:
            return f'class("{"opening" if name[0] == "l" else "closing"}", {S.DELIMITERS[token]})'
        self.fail(f"{token} is not in the checked subset of TeX")

    def font(self, name: str) -> str:
        """Words become one string, so that they are set as words; anything else is mathematics."""
        if self.peek() == "{":
            start = self.at
            words = self.group().replace(r"\,", "\u2009").replace(r"\_", "_").replace("\\ ", " ")
            if WORDS.fullmatch(words):
                return S.FONTS[name].replace("upright({})", "{}").format(quoted(words))
            self.at = start
        return S.FONTS[name].format(self.argument())

    def do_operatorname(self, name: str) -> str:
        limits = "" if name == "operatorname" else ", limits: #true"
        start = self.at
        words = re.sub(r"\\math(?:rm|sf)\{([^{}]*)\}|\\text\{([^{}]*)\}", r"\1\2", self.group())
        words = re.sub(r"\\[,;: !]", "\u2009", words)
        if "\\" in words:
            self.at = start
            return f"op({self.argument()}{limits})"
        return f"op({quoted(words)}{limits})"

    do_mathop = do_operatorname

    def do_sqrt(self, _: str) -> str:
        index = self.option()
        if index:
            return f"root({joined(self.sub(index).sequence({None}))}, {self.argument()})"
        return f"sqrt({self.argument()})"

    def do_underbrace(self, name: str) -> str:
        return f"{name}({self.argument()})"

    do_overbrace = do_underbracket = do_overbracket = do_underbrace

    def do_overset(self, name: str) -> str:
        note, base = self.argument(), self.argument()
        stacked = f"limits({base}){'_' if name == 'underset' else '^'}({note})"
        relation = name == "stackrel" or base in S.SYMBOLS.values() or base in ("=", "<", ">")
        return f'class("relation", {stacked})' if relation else stacked

    do_underset = do_stackrel = do_overset

    def do_xrightarrow(self, name: str) -> str:
        below, above = self.option(), self.argument()
        below = f"_({joined(self.sub(below).sequence({None}))})" if below else ""
        arrow = f"stretch(arrow.{name[1]}.long, size: #(100% + 0.6em))"
        return f'class("relation", limits({arrow}){below}^({above}))'

    do_xleftarrow = do_xrightarrow

    def do_left(self, _: str) -> str:
        opening, inside = self.delimiter(), self.sequence({r"\right"})
        self.at += 1
        return f"lr({joined([opening, *inside, self.delimiter()])})"

    def do_middle(self, _: str) -> str:
        return f"mid({self.delimiter()})"

    def do_not(self, _: str) -> str:
        negated = self.atom()
        return {"=": "eq.not"}.get(negated, f"{negated}.not")

    def do_bmod(self, _: str) -> str:
        return 'class("binary", "mod")'

    def do_pmod(self, _: str) -> str:
        return f'quad \\(op("mod") {self.argument()}\\)'

    def do_substack(self, _: str) -> str:
        return " \\\n".join(joined(row) for row in self.cells(self.group()))

    def do_phantom(self, _: str) -> str:
        return f"#hide($ {self.argument()} $)"

    def do_vphantom(self, _: str) -> str:
        return f"#box(width: 0pt, hide($ {self.argument()} $))"

    do_hphantom = do_phantom

    def do_boxed(self, _: str) -> str:
        return f"#box(stroke: 0.5pt, inset: 4pt, $ {self.argument()} $)"

    def do_cancel(self, _: str) -> str:
        return f"cancel({self.argument()})"

    def do_displaystyle(self, name: str) -> str:
        inside = self.sequence({None, "}", "&", r"\\", r"\right", r"\end"})
        return f"{STYLES[name]}({joined(inside)})"

    do_textstyle = do_scriptstyle = do_displaystyle

    def do_nonumber(self, _: str) -> str:
        return ""

    do_notag = do_nonumber

    def do_begin(self, _: str) -> str:
        return self.environment(self.group())
