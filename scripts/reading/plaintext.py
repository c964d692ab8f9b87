r"""A chapter's Markdown as plain text for a terminal: wrapped paragraphs, formulae without backslashes.

`$\sqrt{d}$` becomes `sqrt(d)`, `$x \in \mathbb{R}^{B \times T}$` becomes `x in R^(B x T)`; code stays.
"""

from __future__ import annotations

import re
import textwrap

WORDS = {  # TeX commands that are not simply their own name
    "times": "x", "cdot": "*", "div": "/", "pm": "+/-", "mp": "-/+", "le": "<=", "leq": "<=", "ge": ">=",
    "geq": ">=", "ne": "!=", "neq": "!=", "approx": "~", "sim": "~", "equiv": "==", "to": "->",
    "rightarrow": "->", "leftarrow": "<-", "mapsto": "->", "Rightarrow": "=>", "iff": "<=>",
    "infty": "inf", "odot": "*", "otimes": "(x)", "ldots": "...", "dots": "...", "cdots": "...",
    "vdots": ":", "top": "T", "partial": "d", "mid": "|", "lVert": "||", "rVert": "||", "Vert": "||",
    "lvert": "|", "rvert": "|", "lfloor": "floor(", "rfloor": ")", "lceil": "ceil(", "rceil": ")",
    "langle": "<", "rangle": ">", "ll": "<<", "gg": ">>", "propto": "proportional to", "prime": "'",
    "ell": "l", "varepsilon": "epsilon", "notin": "not in", "cup": "or", "cap": "and", "setminus": "\\",
    "colon": ":", "lbrace": "{", "rbrace": "}", "subset": "in", "quad": "  ", "qquad": "    ",
    "forall": "for all", "exists": "there is", "nabla": "grad ", "star": "*", "ast": "*", "wedge": "and",
    "vee": "or", "neg": "not ", "bmod": "mod", "dagger": "+"}
SPACES = {"\\": "\n", ",": " ", ";": " ", ":": " ", "!": "", " ": " ", "|": "||"}
SILENT = (
    "left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "bigg", "Bigg", "displaystyle",
    "limits", "nolimits", "textstyle", "nonumber", "phantom", "middle")
WRAPPERS = ("mathbb", "mathbf", "mathrm", "mathcal", "mathsf", "mathit", "boldsymbol", "bm", "text", "textbf",
            "textit", "texttt", "operatorname", "mbox", "underline", "vec", "mathop", "underbrace", "overbrace")
ACCENTS = {"bar": "bar", "overline": "bar", "hat": "hat", "widehat": "hat", "tilde": "tilde", "widetilde": "tilde",
           "dot": "dot"}                        # \bar x becomes x_bar
CITED = re.compile(r"(?<![\w`@])@([a-z]+)((?:19|20)\d\d)\w*")
SIGNS = {
    "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "…": "...", "→": "->", "≤": "<=", "≥": ">=",
    "≠": "!=", "≈": "~", "√": "sqrt ", "∞": "inf", "’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " ",
    "²": "^2", "³": "^3", "½": "1/2", "±": "+/-", "∈": "in", "ᵀ": "^T", "⁻¹": "^-1", "Σ": "sum",
    "θ": "theta", "∂": "d", "α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "λ": "lambda",
    "μ": "mu", "σ": "sigma", "π": "pi", "φ": "phi", "ω": "omega", "η": "eta", "τ": "tau", "Δ": "Delta",
    "δ": "delta"}


def ascii_text(text: str) -> str:
    """The text with typographic signs spelled in ASCII where there is a plain way to do so."""
    for sign, spelled in SIGNS.items():
        text = text.replace(sign, spelled)
    return text


def group(text: str, at: int) -> tuple[str, int]:
    """The braced group (or the single token) that starts at `at`, and where it ends."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at >= len(text):
        return "", at
    if text[at] != "{":
        command = re.match(r"\\[A-Za-z]+", text[at:])
        end = at + (len(command[0]) if command else 1)
        return text[at:end], end
    depth = 0
    for end in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1:end] != "\\" else 0
        if depth == 0:
            return text[at + 1:end], end + 1
    return text[at + 1:], len(text)


def bracketed(text: str) -> str:
    """The converted text in round brackets unless it is one word or number."""
    text = plain_maths(text).strip()
    return text if re.fullmatch(r"\w+(\([^()]*\))?", text) else f"({text})"


def command_at(text: str, at: int) -> tuple[str, int]:
    """What the command at `text[at]` (a backslash) says in plain text, and where it ends."""
    match = re.match(r"\\([A-Za-z]+)\*?", text[at:])
    if not match:
        sign = text[at + 1:at + 2]
        return SPACES.get(sign, sign), at + 2
    name, end = match[1], at + len(match[0])
    if name in ("frac", "tfrac", "dfrac"):
        above, end = group(text, end)
        below, end = group(text, end)
        return f"{bracketed(above)}/{bracketed(below)}", end
    if name == "sqrt":
        root = re.match(r"\s*\[([^\]]*)\]", text[end:])
        inside, end = group(text, end + (len(root[0]) if root else 0))
        return (f"root{root[1]}" if root else "sqrt") + f"({plain_maths(inside).strip()})", end
    if name in ("begin", "end"):
        which, end = group(text, end)
        if name == "begin" and which == "array":
            end = group(text, end)[1]
        matrix = which.endswith("matrix") or which == "array"
        return ("[" if name == "begin" else "]") if matrix else "", end
    if name in WRAPPERS:
        inside, end = group(text, end)
        return plain_maths(inside), end
    if name in ACCENTS:
        inside, end = group(text, end)
        return f"{bracketed(inside)}_{ACCENTS[name]}", end
    if name in SILENT:
        return "", end + (text[end:end + 1] == ".")
    word = WORDS.get(name, name)
    return (word if not word[-1:].isalpha() or not text[end:end + 1].isalnum() else word + " "), end


def plain_maths(tex: str) -> str:
    r"""A formula with its commands spelled: `\alpha_i \le x^{2}` -> `alpha_i <= x^2`."""
    out, at = [], 0
    while at < len(tex):
        sign = tex[at]
        if sign == "\\":
            word, at = command_at(tex, at)
            if word[:1].isalpha() and out and out[-1][-1:].isalnum():
                word = " " + word
            out.append(word)
        elif sign in "^_":
            inside, at = group(tex, at + 1)
            out.append(sign + bracketed(inside))
        else:
            at += 1
            out.append({"{": "", "}": "", "&": ", " if "matrix" in tex else "", "~": " "}.get(sign, sign))
    text = re.sub(r"[ \t]+", " ", "".join(out))
    if "matrix" in tex:
        text = re.sub(r"\s*\n\s*", "; ", text)
    text = re.sub(r" ([,;)\]])", r"\1", re.sub(r"([\[(]) ", r"\1", text))
    return re.sub(r"\|\| (\w+) \|\|", r"||\1||", re.sub(r";(?=\S)", "; ", text)).strip()


def cited(text: str) -> str:
    """A source named in a sentence, `@he2015delving`, as "He (2015)"."""
    return CITED.sub(lambda match: f"{match[1].capitalize()} ({match[2]})", text)


def plain_line(text: str, names=None) -> str:
    """Inline Markdown without its marks. `names(kind, label)` says what `@eq-27-x` is called."""
    codes = []

    def keep(match):
        codes.append(match[2].strip())
        return f"\x00{len(codes) - 1}\x00"

    text = re.sub(r"(`+)(.+?)\1(?:\{[^}]*\})?", keep, text)
    text = re.sub(r"(?<!\\)\$(?!\s)([^$]+?)(?<!\s)(?<!\\)\$(?!\d)", lambda m: plain_maths(m[1]), text)
    text = re.sub(r"\s*\[@(?!eq-|fig-|tbl-|sec-|lst-|thm-)[^\]]*\]", "", text)
    text = cited(text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)(?:\{[^}]*\})?", r"\1", text)
    text = re.sub(r"\[\^[\w-]+\]", "", text)
    label = re.compile(r"\[?-?@((?:eq|fig|tbl|sec|lst|thm)-[\w-]*\w)\]?", re.I)
    text = label.sub(lambda m: names(m[1].lower()) if names else m[1], text)
    text = re.sub(r"(\*{1,3})(?=\S)(.+?)(?<=\S)\1", r"\2", text)
    text = re.sub(r"(?<![\w/])_(?=\S)([^_]+?)(?<=\S)_(?!\w)", r"\1", text)
    text = re.sub(r"\\([*_$`#@~^\\])", r"\1", text)
    return re.sub(r"\x00(\d+)\x00", lambda m: codes[int(m[1])], ascii_text(text))


def blocks(lines: list[str]):
    """The blocks of a piece of Markdown: (kind, lines); kinds are text, item, code and maths."""
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        end = at + 1
        if re.match(r"(```|~~~)", line):
            while end < len(lines) and not lines[end].strip().startswith(line[:3]):
                end += 1
            yield "code", lines[at + 1:end]
            end += 1
        elif line.startswith("$$"):
            while "$$" not in line[2:] and end < len(lines):
                line += "\n" + lines[end]
                end += 1
            yield "maths", [re.sub(r"\$\$|\{#[^}]*\}", "", line).strip()]
        elif line and not line.startswith(":::"):
            item = re.match(r"([-*+]|\d+[.)]) ", line)
            stop = r"\s*$|\s*(```|~~~|\$\$|:::)|\s*([-*+]|\d+[.)]) "
            while end < len(lines) and not re.match(stop, lines[end]):
                end += 1
            yield "item" if item else "text", [" ".join(part.strip() for part in lines[at:end])]
        at = end


def plain(text: str, width: int = 88, names=None) -> str:
    """Markdown as wrapped plain text; blocks are separated by a blank line, items of a list are not."""
    out, before = [], ""
    for kind, lines in blocks(text.split("\n")):
        if kind == "code":
            body = textwrap.indent(textwrap.dedent("\n".join(lines)), "    ")
        elif kind == "maths":
            body = textwrap.indent(ascii_text(plain_maths(lines[0])), "    ")
        elif kind == "item":
            mark, _, rest = lines[0].partition(" ")
            body = textwrap.fill(plain_line(rest, names), width, initial_indent=f"  {mark} ",
                                 subsequent_indent=" " * (len(mark) + 3), break_long_words=False,
                                 break_on_hyphens=False)
        else:
            body = textwrap.fill(plain_line(lines[0], names), width, break_long_words=False,
                                 break_on_hyphens=False)
        out.append(("\n" if kind == before == "item" else "\n\n") + body)
        before = kind
    return "".join(out).strip("\n")
