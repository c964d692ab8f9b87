"""Finds the fenced blocks of a chapter with a Markdown parser, and reads their attributes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scripts.errors import Problem
from scripts.reading.front import near

TANGLING = ("file", "chunk", "extend", "pitfall", "replaces", "caught")
SHOWING = ("lst-cap", "lst-label", "filename", "code-fold", "code-summary", "code-line-numbers",
           "code-overflow", "startFrom", "start-from", "fig-alt", "style")
ATTRIBUTE = re.compile(r"""\s*(?:\#(?P<id>[^\s{}="']+)|\.(?P<cls>[^\s{}="']+)"""
                       r"""|(?P<key>[A-Za-z_][\w:.-]*)\s*=\s*"""
                       r"""(?:"(?P<dq>(?:\\.|[^"\\])*)"|'(?P<sq>(?:\\.|[^'\\])*)'|(?P<bare>[^\s{}"']+)))(?=\s|$)""")
UNBRACED = re.compile(r"""(?:^|\s)(file|chunk|extend|pitfall|replaces|caught)\s*=""")
BACKTICK = re.compile(r"^[ \t>]*`{3,}[ \t]*\{[^\n]*\b(?:file|chunk|extend|pitfall|replaces|caught)=[^\n]*`[^\n]*\}",
                      re.M)
MARKER = r"(?:(?:[:~|*+-]|\(?[\w#@]{1,9}[.)]|\[\^[^\]\n]*\]:)[ \t]+)?"       # of a list, definition or footnote
LOOKS = re.compile(rf"^[ \t>]*{MARKER}{MARKER}(?:`{{3,}}|~{{3,}})[ \t]*\{{[^`\n]*\b(?:{'|'.join(TANGLING)})[ \t]*="
                   r"[^`\n]*$", re.M)
HOLDER = re.compile(rf"[ >]{{0,3}}{MARKER[:-1]}")
_PARSER = None


@dataclass
class Fence:
    """One fenced block. `line` is the opening fence's line, `end` the closing one's (both from 1)."""

    line: int
    end: int
    info: str
    body: list[str]
    closed: bool
    classes: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    id: str = ""

    @property
    def first(self) -> int:
        return self.line + 1


def _comment(state, line: int, end: int, silent: bool) -> bool:
    """Block rule: an HTML comment that starts its line, up to the line with `-->`."""
    pos = state.bMarks[line] + state.tShift[line]
    if state.is_code_block(line) or not state.src.startswith("<!--", pos):
        return False
    if silent:
        return True
    last, closed = line, state.src.find("-->", pos, state.eMarks[line]) >= 0
    while not closed and last + 1 < end:
        last += 1
        closed = state.src.find("-->", state.bMarks[last], state.eMarks[last]) >= 0
    token = state.push("comment", "", 0)
    token.map, token.hidden = [line, last + 1], closed
    state.line = last + 1
    return True


def parser():
    """markdown-it with block rules alone: fences, what can hold a fence, and what can hide one."""
    global _PARSER
    if _PARSER is None:
        import logging

        from markdown_it import MarkdownIt
        logging.getLogger("markdown_it.rules_block").setLevel(logging.ERROR)
        md = MarkdownIt("commonmark")
        md.core.ruler.enableOnly(["normalize", "block"])
        md.block.ruler.before("html_block", "comment", _comment, {"alt": ["paragraph", "blockquote"]})
        md.block.ruler.enableOnly(["fence", "code", "blockquote", "list", "comment", "paragraph", "hr",
                                   "heading"])
        _PARSER = md
    return _PARSER


def find(text: str, path: str) -> tuple[list[Fence], list[tuple[int, int]], list[Problem]]:
    """All fences of `text`, the line ranges (from, to) that are code or comment, and the mistakes."""
    fences, hidden, problems = [], [], []
    for token in parser().parse(text):
        if token.type == "fence":
            start, stop = token.map
            body = token.content.split("\n")[:-1]
            closed = len(body) == stop - start - 2
            fences.append(fence := Fence(start + 1, stop, token.info.strip(), body, closed))
            hidden.append((start + 1, stop))
            if not closed:
                problems.append(Problem(path, fence.line, f"fence opened here is never closed; "
                                                          f"expected {token.markup}"))
            attributes(fence, path, problems)
        elif token.type == "code_block":
            hidden.append((token.map[0] + 1, token.map[1]))
        elif token.type == "comment":
            hidden.append((token.map[0] + 1, token.map[1]))
            if not token.hidden:
                problems.append(Problem(path, token.map[0] + 1, "comment opened here is never closed; "
                                                                "expected -->"))
    _strays(text, path, fences, hidden, problems)
    return fences, hidden, problems


def _strays(text, path, fences, hidden, problems) -> None:
    """Blocks that look like chunks and are none: they would be left out without a word."""
    inside = lambda n: any(a <= n <= b for a, b in hidden)
    wrong = lambda line, message: problems.append(Problem(path, line, message))
    for match in BACKTICK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if not inside(line):
            wrong(line, "a backtick in a chunk's attributes, so this is no code block; "
                        "expected the name without backticks")
    open_ = {f.line for f in fences}
    shut = [(f.line, f.end) for f in fences]
    line, reached = 1, 0
    for match in LOOKS.finditer(text):
        line, reached = line + text.count("\n", reached, match.start()), match.start()
        if line in open_ or any(a <= line <= b for a, b in shut) or _commented(text, match.start()):
            continue
        if _belongs(text.split("\n"), line - 1):
            wrong(line, "looks like a chunk and is none to tangle, though a page may show it (in a footnote, a "
                        "definition, a list with letters, an indented block); expected it at the margin")
    position = text.find("<!--")
    while position >= 0:
        start, stop = position, text.find("-->", position)
        first = text.count("\n", 0, start) + 1
        last = first + text.count("\n", start, stop) if stop >= 0 else first
        if first != last and not inside(first) and any(first < f.line <= last for f in fences):
            wrong(first, "a comment that holds code blocks begins within a paragraph; "
                         "expected <!-- at the start of its own line")
        position = text.find("<!--", max(stop, start + 4))


def _belongs(lines: list[str], n: int) -> bool:
    """Is line `n` (from 0) part of a list, note or definition? Else it is indented text that shows a chunk."""
    while lines[n].startswith(("    ", "\t")) or not lines[n].strip():
        if n == 0:
            return False
        n -= 1
    while not HOLDER.match(lines[n]):
        n -= 1
        if n < 0 or not lines[n].strip():
            return False
    return True


def _commented(text: str, position: int) -> bool:
    """Is this place inside an HTML comment?"""
    return text.rfind("<!--", 0, position) > text.rfind("-->", 0, position)


def attributes(fence: Fence, path: str, problems: list[Problem]) -> None:
    """Fill in `classes`, `keys`, `id` of a fence from its info string, strictly where it is ours."""
    info = fence.info
    wrong = lambda message: problems.append(Problem(path, fence.line, message))
    ours = UNBRACED.search(info.replace("{", " ")) is not None
    if not info.startswith("{"):
        if ours:
            wrong(f"attributes without braces: {info!r}; expected {{.python file=\"…\" chunk=\"…\"}}")
    elif not info.endswith("}"):
        if ours:
            wrong(f"attributes not closed: {info!r}; expected a closing brace")
    elif ours and re.match(r"=?\w", info[1:].strip()) and not ATTRIBUTE.match(info[1:-1].strip()):
        wrong("a cell {python …} is run, not tangled; expected {.python …}")
    else:
        _read(fence, info[1:-1].strip(), ours, wrong)
        _known(fence, wrong)


def _read(fence: Fence, inner: str, ours: bool, wrong) -> None:
    """The attributes between the braces."""
    position = 0
    while position < len(inner):
        match = ATTRIBUTE.match(inner, position)
        if not match:
            if ours:
                wrong(f"cannot read {inner[position:].strip()!r} in the attributes; "
                      "expected key=\"value\", .class or #id")
            elif position == 0:
                fence.classes = [inner]                       # a cell: {python}, {mermaid}
            return
        position = match.end()
        if match["cls"]:
            fence.classes.append("." + match["cls"])
        elif match["id"]:
            fence.id = match["id"]
        else:
            value = next(v for v in (match["dq"], match["sq"], match["bare"]) if v is not None)
            if match["key"] in fence.keys:
                wrong(f"attribute {match['key']!r} given twice; expected once")
            fence.keys[match["key"]] = re.sub(r"\\(.)", r"\1", value)


def _known(fence: Fence, wrong) -> None:
    ours = [k for k in fence.keys if k in TANGLING]
    if ours and ".python" not in fence.classes:
        wrong(f"{ours[0]}= on a block that is not Python; expected {{.python {ours[0]}=\"…\"}}")
    if ".python" in fence.classes:
        for key in fence.keys:
            if key not in TANGLING + SHOWING and not key.startswith("data-"):
                wrong(f"unknown attribute {key!r}" + (
                    near(key, TANGLING + SHOWING) or f"; expected one of {', '.join(TANGLING)}"))
