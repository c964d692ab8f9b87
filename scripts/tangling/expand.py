"""Puts the chunks of one chapter together: `<<names>>` resolved, each line with its chapter line.

A reference stands alone on its line; what it names is indented as the reference is. Two kinds of line are
left as they are: a lone `<<…>>` inside a multi-line string is text, and the lines of a multi-line string keep
their indentation, docstrings excepted (those move with the code around them).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from scripts.errors import Problem
from scripts.reading.chapters import Chapter, Chunk, phrase
from scripts.reading.front import near

REFERENCE = re.compile(r"([ \t]*)<<([^<>\n]+)>>[ \t]*$")
STARTS = ("def ", "class ", "@", "async def ")
LONGEST = 50_000
DEEPEST = 200
LEX = re.compile(r"""#[^\n]*|(?:\b[rRbBuUfFtT]{1,2})?(?P<q>\"{3}|'{3}|"|')"""
                 r"""|(?P<open>[\[({])|(?P<close>[\])}])|\\\n|\n""")
ENDS = {'"""': re.compile(r'(?:[^"\\]|\\.|"(?!""))*"""', re.S),
        "'''": re.compile(r"(?:[^'\\]|\\.|'(?!''))*'''", re.S),
        '"': re.compile(r'(?:[^"\\\n]|\\.)*"?', re.S), "'": re.compile(r"(?:[^'\\\n]|\\.)*'?", re.S)}


class Row(NamedTuple):
    """A generated line: its text, the chapter's line (0: made by tangle), the indentation put before it."""

    text: str
    line: int
    indent: str


class Strings(NamedTuple):
    """Of a chunk's lines (from 0): those that begin in a string, in a docstring, within brackets."""

    inside: set[int]
    docs: set[int]
    bracketed: set[int]


def strings(lines: list[str]) -> Strings:
    """Where the multi-line strings and brackets of a piece of Python are, even of one that is not whole."""
    text = "\n".join(lines)
    inside, docs, bracketed = set(), set(), set()
    position = line = depth = 0
    fresh = True                                      # nothing of this statement yet
    while match := LEX.search(text, position):
        token, between = match[0], text[position:match.start()]
        fresh = fresh and not between.strip()
        position = match.end()
        if token.endswith("\n"):
            line, fresh = line + 1, token == "\n" and depth == 0
            if depth:
                bracketed.add(line)
        elif match["q"]:
            end = ENDS[match["q"]].match(text, position)
            stop = end.end() if end else len(text)
            spans = set(range(line + 1, line + 1 + text.count("\n", position, stop)))
            inside |= spans
            if fresh and len(match["q"]) == 3 and re.match(r"[ \t]*(#|\n|$)", text[stop:stop + 200]):
                docs |= spans
            position, line, fresh = stop, line + len(spans), False
        elif match["open"]:
            depth, fresh = depth + 1, False
        elif match["close"]:
            depth, fresh = max(0, depth - 1), False
    return Strings(inside, docs, bracketed)


class Program:
    """The chunks of one chapter, by name, file and pitfall; `problems` collects what is wrong with them."""

    def __init__(self, chapter: Chapter):
        self.chapter, self.problems = chapter, []
        self.names: dict[str, list[Chunk]] = {}
        self.roots: dict[str, list[Chunk]] = {}
        self.pitfalls: dict[str, list[Chunk]] = {}
        self._lexed: dict[int, Strings] = {}
        self._refs: dict[int, list[tuple[int, str, str]]] = {}
        for chunk in chapter.chunks:
            self._register(chunk)
        self._check()

    def wrong(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.chapter.path, line, message))

    def _near(self, name: str) -> str:
        place = lambda hit: f" (line {self.names[hit][0].line})"
        return near(name, self.names, place) or "; expected a chunk= of this chapter"

    def _register(self, chunk: Chunk) -> None:
        if chunk.pitfall is not None and chunk.replaces is not None:
            self.pitfalls.setdefault(chunk.pitfall, []).append(chunk)
        elif chunk.extend is not None:
            if chunk.extend in self.names:
                self.names[chunk.extend].append(chunk)
            else:
                self._extends_nothing(chunk)
        elif chunk.name is not None:
            if chunk.name in self.names:
                first = self.names[chunk.name][0].place
                self.wrong(chunk.line, f"chunk {chunk.name!r} is already defined at {first}; "
                                       "expected another name, or extend= to add to it")
                return
            self.names[chunk.name] = [chunk]
        if chunk.target is not None:
            self.roots.setdefault(chunk.target, []).append(chunk)

    def _extends_nothing(self, chunk: Chunk) -> None:
        later = next((c.line for c in self.chapter.chunks if c.name == chunk.extend), 0)
        if later:
            self.wrong(chunk.line, f"extend={chunk.extend!r} stands before its chunk (line {later}); "
                                   "expected it after")
        else:
            self.wrong(chunk.line, f"extend={chunk.extend!r}, but there is no such chunk"
                       + self._near(chunk.extend))

    def lexed(self, chunk: Chunk) -> Strings:
        if id(chunk) not in self._lexed:
            self._lexed[id(chunk)] = strings(chunk.lines)
        return self._lexed[id(chunk)]

    def references(self, chunk: Chunk) -> list[tuple[int, str, str]]:
        """(index of the line, name, indentation) of each reference."""
        if id(chunk) not in self._refs:
            found = []
            for i, line in enumerate(chunk.lines):
                if "<<" in line and (match := REFERENCE.match(line)):
                    found.append((i, phrase(match[2]), match[1]))
            if found and any(q in line for line in chunk.lines for q in ('"""', "'''", "\\")):
                inside = self.lexed(chunk).inside
                found = [f for f in found if f[0] not in inside]
            self._refs[id(chunk)] = found
        return self._refs[id(chunk)]

    # -- mistakes in the web of names

    def _check(self) -> None:
        used = set()
        for chunk in self.chapter.chunks:
            for i, name, _ in self.references(chunk):
                used.add(name)
                if name not in self.names:
                    self.wrong(chunk.first + i, f"no chunk named {name!r}" + self._near(name))
        for name, pieces in self.names.items():
            if name not in used and pieces[0].file is None:
                self.wrong(pieces[0].line, f"chunk {name!r} is never used; "
                                           f"expected <<{name}>> somewhere, or file=")
        self._cycles(self.names)
        for slug, chunks in self.pitfalls.items():
            self._pitfall(slug, chunks)

    def _pitfall(self, slug: str, chunks: list[Chunk]) -> None:
        replaced = {}
        for chunk in chunks:
            if chunk.replaces not in self.names:
                self.wrong(chunk.line, f"pitfall {slug!r} replaces {chunk.replaces!r}, "
                                       "but there is no such chunk" + self._near(chunk.replaces))
            elif chunk.replaces in replaced:
                self.wrong(chunk.line, f"pitfall {slug!r} replaces {chunk.replaces!r} twice, first at "
                                       f"{replaced[chunk.replaces][0].place}; expected once")
            else:
                replaced[chunk.replaces] = [chunk]
        self._cycles({**self.names, **replaced}, list(replaced))

    def _cycles(self, names: dict[str, list[Chunk]], starts=None) -> None:
        """Report each cycle of chunks once, with every hop; given `starts`, only those through them."""
        done: set[str] = set()
        for start in starts or names:
            path: list[tuple[str, int]] = []                 # (name, line of the reference that leads on)
            walk = [(start, iter(self._steps(names, start)))]
            while walk:
                name, steps = walk[-1]
                step = next(steps, None) if name not in done else None
                if step is None:
                    done.add(name)
                    walk.pop()
                    del path[-1:]
                elif len(walk) > DEEPEST:
                    self.wrong(step[1], f"chunks nested more than {DEEPEST} deep; expected fewer")
                    return
                elif step[0] in [name, *(n for n, _ in path)]:
                    self._cycle([*path, (name, step[1])], step[0], starts)
                else:
                    path.append((name, step[1]))
                    walk.append((step[0], iter(self._steps(names, step[0]))))

    def _cycle(self, path: list[tuple[str, int]], onto: str, starts) -> None:
        names = [name for name, _ in path]
        hops = path[names.index(onto):]
        if not starts or set(starts) & set(names[names.index(onto):]):
            chain = " -> ".join(f"{n!r} (line {at})" for n, at in hops)
            self.wrong(hops[0][1], f"chunks include each other: {chain} -> {onto!r}; expected no cycle")

    def _steps(self, names, name) -> list[tuple[str, int]]:
        pieces = names.get(name, [])
        return [(to, c.first + i) for c in pieces for i, to, _ in self.references(c) if to in names]

    # -- text

    def uses(self, target: str) -> set[str]:
        """Names of the chunks that go into a file."""
        seen: set[str] = set()
        todo = [c for root in self.roots.get(target, []) for c in (self.names.get(root.name) or [root])]
        seen |= {c.name for c in todo if c.name}
        while todo:
            for _, name, _ in self.references(todo.pop()):
                if name not in seen:
                    seen.add(name)
                    todo += self.names.get(name, [])
        return seen

    def rows(self, target: str, replaced: dict[str, list[Chunk]] | None = None) -> list[Row]:
        """The lines of a file, with `replaced` chunks in place of those of the same names."""
        names = {**self.names, **replaced} if replaced else self.names
        out: list[Row] = []
        for root in self.roots[target]:
            piece: list[Row] = []
            self._pieces(names.get(root.name) or [root], "", False, names, piece)
            while piece and not piece[0].text.strip():
                del piece[0]
            while piece and not piece[-1].text.strip():
                del piece[-1]
            if out and piece:
                out += [Row("", 0, "")] * (2 if _starts(piece) or _ends_in_definition(out) else 1)
            out += piece
        return out

    def _pieces(self, chunks, indent, bracketed, names, out) -> None:
        begin = len(out)
        for chunk in chunks:
            fresh: list[Row] = []
            self._chunk(chunk, indent, bracketed, names, fresh)
            if chunk.extend is not None and len(out) > begin and fresh and _starts(fresh, indent):
                blank = next((k for k, r in enumerate(reversed(out)) if r.text.strip()), len(out))
                out += [Row("", 0, "")] * ((1 if indent else 2) - blank)
            out += fresh
            if len(out) > LONGEST:
                raise Problem(self.chapter.path, chunk.line, f"a file of more than {LONGEST} lines; "
                                                             "expected fewer inclusions")

    def _chunk(self, chunk, indent, bracketed, names, out) -> None:
        refs = {i: (name, more) for i, name, more in self.references(chunk)}
        text = "\n".join(chunk.lines)
        risky = '"""' in text or "'''" in text or "\\\n" in text
        first = chunk.first
        kept = ()
        if risky:
            found = self.lexed(chunk)
            kept = found.inside if bracketed else found.inside - found.docs
        for i, line in enumerate(chunk.lines):
            if i in refs:
                name, more = refs[i]
                within = bracketed or i in self.lexed(chunk).bracketed
                self._pieces(names.get(name, ()), indent + more, within, names, out)
            elif i in kept:
                out.append(Row(line, first + i, ""))
            elif line.strip():
                out.append(Row(indent + line, first + i, indent))
            else:
                out.append(Row("", first + i, ""))


def _starts(rows: list[Row], indent: str = "") -> bool:
    """True if the first line of code is a definition (comments before it belong to it)."""
    for row in rows:
        text = row.text[len(indent):] if row.text.startswith(indent) else row.text
        if text.strip() and not text.startswith("#"):
            return text.startswith(STARTS)
    return False


def _ends_in_definition(rows: list[Row]) -> bool:
    for row in reversed(rows):
        if row.text and row.text[0] not in " \t#)]}\"'" and row.line:
            return row.text.startswith(STARTS)
    return False
