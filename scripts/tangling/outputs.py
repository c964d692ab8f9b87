"""What the chapters make: `outputs(book)` gives every generated file's text and its lines' origins."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from scripts.errors import Problem, Problems
from scripts.reading.chapters import Book, Chapter
from scripts.reading.front import near
from scripts.tangling.expand import Program, Row

HEADER = "# Tangled from {source}; edit the chapter, then run make tangle. sha256:{digest}"
HEADING = re.compile(r"# Tangled from (.+?); edit the chapter, then run make tangle\. sha256:([0-9a-f]{16})$")
CITATION = re.compile(r"(?<![\w@])@(eq-[A-Za-z0-9][\w-]*)")
TEST = re.compile(r"^def (test_\w+)\(", re.M)
NUMBER = re.compile(r"\beq\. ([0-9A-Z]+(?:\.[0-9]+)?)(?![\w-])")
ROOT_INIT = '''\
"""The programs of the book, a package a topic. All of it is made from the chapters by `make tangle`."""

import sys
from pathlib import Path


def _show(kind, error, trace, plain=sys.excepthook):
    """Print an uncaught exception with the chapter's file, line and text; plainly if that cannot be done."""
    try:
        from scripts.tangling.provenance import show

        shown = show(kind, error, trace)
    except Exception:
        shown = False
    if not shown:
        plain(kind, error, trace)


class _Pitfalls:
    """Finds `tangled.tNN_name.pitfalls`: wrong versions, built from the chapter when they are imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.startswith("tangled.t") or ".pitfalls" not in name:
            return None
        try:
            from scripts.tangling.pitfalls import find_spec
        except ImportError:
            return None
        return find_spec(name, __path__[0])


_IN_THE_BOOK = (Path(__file__).parent.parent / "scripts" / "tangling").is_dir()     # else it is installed
if _IN_THE_BOOK and getattr(sys.excepthook, "__name__", "") != "_show":
    sys.meta_path.insert(0, _Pitfalls)
    sys.excepthook = _show
    if "IPython" in sys.modules:
        try:
            from scripts.tangling.provenance import install_in_ipython

            install_in_ipython()
        except Exception:
            pass
'''


PITFALLS = "build/pitfalls"


@dataclass
class Output:
    """A generated file. `rows[i]` is the (chapter, line) of line i+1, line 0 where tangle made it itself."""

    text: str
    rows: list[tuple[str, int]]
    chapter: str
    kind: str = "file"                               # file, pitfall or derived
    indents: list[str] = field(default_factory=list)

    @property
    def body(self) -> str:
        return self.text.partition("\n")[2]


def pitfall_file(package: str, slug: str) -> str:
    """Where a pitfall is built, below the root: `build/pitfalls/t27_x/forgot_the_scale.py`."""
    return f"{PITFALLS}/{package}/{slug.replace('-', '_')}.py"


def digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def make(source: str, rows: list[Row], kind: str) -> Output:
    """Header and rows as an Output."""
    body = "\n".join([row.text for row in rows]) + "\n" if rows else ""
    head = HEADER.format(source=source, digest=digest(body))
    return Output(head + "\n" + body, [(source, 0)] + [(source, row.line) for row in rows], source, kind,
                  [""] + [row.indent for row in rows])


def derive(source: str, text: str) -> Output:
    return make(source, [Row(line, 0, "") for line in text.split("\n")[:-1]], "derived")


def cite(rows: list[Row], chapter: Chapter, book: Book, problems: list[Problem]) -> list[Row]:
    """`@eq-27-rotation` becomes `eq. 27.4`."""
    done = []
    for row in rows:
        if "@eq-" in row.text:
            def number(match, line=row.line):
                label = match[1].rstrip("-")
                found = chapter.equations.get(label) or book.equations.get(label)
                if found is None:
                    problems.append(Problem(chapter.path, line, f"no equation labelled {label!r}" + (
                        near(label, {**chapter.equations, **book.equations}) or "; "
                                                                         "expected a label $$ … $$ {#eq-…}")))
                    return match[0]
                return f"eq. {found}" + match[1][len(label):]
            row = row._replace(text=CITATION.sub(number, row.text))
        done.append(row)
    return done


def cited(lines: list[str], chapter: Chapter, book: Book) -> list[str]:
    """The lines with known `@eq-…` replaced by their numbers."""
    return [row.text for row in cite([Row(line, 0, "") for line in lines], chapter, book, [])]


def uncited(lines: list[str], chapter: Chapter, book: Book) -> list[str]:
    """The lines with `eq. 27.4` turned back into `@eq-27-rotation`."""
    labels = {number: label for label, number in {**book.equations, **chapter.equations}.items()}
    back = lambda m: f"@{labels[m[1]]}" if m[1] in labels else m[0]
    return [NUMBER.sub(back, line) if "eq. " in line else line for line in lines]


def chapter_outputs(chapter: Chapter, book: Book) -> dict[str, Output]:
    """The files of one chapter; raises `Problems`."""
    program = Program(chapter)
    problems = program.problems
    if problems:
        raise Problems(problems)
    found: dict[str, Output] = {}
    try:
        for target in program.roots:
            found[target] = make(chapter.path, cite(program.rows(target), chapter, book, problems), "file")
            problems += _tabs(chapter, found[target])
        for k, slug in enumerate(program.pitfalls, 1):
            _pitfall(program, book, found, slug, k)
    except Problem as problem:
        problems.append(problem)
    problems += _caught(program, found)
    if not problems and chapter.package:
        _init(chapter, found, problems)
    if problems:
        raise Problems(problems)
    return found


def _tabs(chapter: Chapter, output: Output):
    """Indentation by tabs in a file indented by spaces, or both in one line."""
    if "\t" not in output.text:
        return
    from scripts.tangling.expand import strings
    lines = output.text.split("\n")
    inside = strings(lines).inside
    style = None
    for i, line in enumerate(lines[:-1]):
        blank = line[:len(line) - len(line.lstrip())]
        if not blank or i in inside or not line.strip():
            continue
        style = style or blank[0]
        if blank.strip(style):
            yield Problem(chapter.path, output.rows[i][1], "tabs mixed with spaces in the indentation; "
                                                           "expected spaces")
            return


def _pitfall(program: Program, book: Book, found: dict[str, Output], slug: str, k: int) -> None:
    chapter, chunks = program.chapter, program.pitfalls[slug]
    modules = [f"tangled/{chapter.package}/{stem}.py" for stem in chapter.exports]
    wanted = {c.replaces for c in chunks}
    base = next((m for m in reversed(modules) if m in found and wanted <= program.uses(m)), None)
    if base is None:
        names = ", ".join(m.rpartition("/")[2] for m in modules)
        absent = lambda c: not any(c.replaces in program.uses(m) for m in modules)
        missing = next(filter(absent, chunks), chunks[0])
        program.wrong(missing.line, f"pitfall {slug!r} replaces nothing: {missing.replaces!r} is no part of "
                                    f"{names}; expected a chunk of that file")
        return
    rows = cite(program.rows(base, {c.replaces: [c] for c in chunks}), chapter, book, program.problems)
    if "\n".join(r.text for r in rows) + "\n" == found[base].body:
        program.wrong(chunks[0].line, f"pitfall {slug!r} equals the original; expected a wrong version")
        return
    name = f"# Pitfall {chapter.number}.{k}: {slug.replace('-', ' ')}"
    target = pitfall_file(chapter.package, slug)
    found[target] = make(chapter.path, [Row(name, chunks[0].line, "")] + rows, "pitfall")
    program.problems += _tabs(chapter, found[target])


def _caught(program: Program, found: dict[str, Output]):
    """Names in `caught=` that are no tests of this chapter."""
    tests: set[str] | None = None
    for chunk in (c for chunks in program.pitfalls.values() for c in chunks if "caught" in c.keys):
        if tests is None:
            files = [o.text for t, o in found.items() if "/tests/test_" in t and not t.endswith("test_exercises.py")]
            tests = {name for text in files for name in TEST.findall(text)}
        names = chunk.keys["caught"].split()
        if not names:
            yield Problem(chunk.path, chunk.line, 'caught="" names no test; expected caught="test_golden_values"')
        for name in names:
            if name not in tests:
                yield Problem(chunk.path, chunk.line, f"caught={name!r} is no test of this chapter" + (
                    near(name, tests) or "; expected the name of a function in its tests/"))


def _init(chapter: Chapter, found: dict[str, Output], problems: list[Problem]) -> None:
    """The package's `__init__.py`: public names of the exported modules; and those of its folders."""
    folder = f"tangled/{chapter.package}"
    wrong = lambda message: problems.append(Problem(chapter.path, chapter.front_line("exports"), message))
    lines, owners = [f'"""{chapter.title or chapter.package}."""'.replace("\\", "")], {}
    for stem in chapter.exports:
        module = f"{folder}/{stem}.py"
        if module not in found:
            if "exports" in chapter.meta:
                have = [t[len(folder) + 1:-3] for t in found if t.startswith(folder + "/")]
                wrong(f"exports {stem!r}, but no chunk has file=\"{stem}.py\""
                      + (near(stem, have) or "; expected one"))
            continue
        names = public_names(found[module].text)
        for name in names:
            if owners.setdefault(name, stem) != stem:
                wrong(f"{owners[name]} and {stem} both define {name!r}; "
                      "expected exported modules to differ in their names")
        if names:
            listed = [f"    {name}," for name in sorted(names)]
            lines += ["", f"from tangled.{chapter.package}.{stem} import (", *listed, ")"]
    if owners:
        lines += ["", "__all__ = [", *(f'    "{n}",' for n in sorted(owners)), "]"]
    found[f"{folder}/__init__.py"] = derive(chapter.path, "\n".join(lines) + "\n")
    _folders(chapter, folder, found)


def _folders(chapter: Chapter, folder: str, found: dict[str, Output]) -> None:
    """An `__init__.py` for each folder within the package."""
    for inner in {t.rpartition("/")[0] for t in found if t.startswith(folder + "/")} - {folder}:
        while inner != folder:
            found[f"{inner}/__init__.py"] = derive(chapter.path, "")
            inner = inner.rpartition("/")[0]


def public_names(text: str) -> list[str]:
    """Top-level functions, classes and UPPERCASE constants without a leading underscore."""
    import ast

    from scripts.reading.syntax import parse
    try:
        body = parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []                                     # reported, with its line, by `syntax`
    names = []
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for t in node.targets if isinstance(node, ast.Assign) else [node.target]:
                parts = t.elts if isinstance(t, ast.Tuple) else [t]
                names += [p.id for p in parts if isinstance(p, ast.Name) and p.id.isupper()]
    return [n for n in dict.fromkeys(names) if not n.startswith("_")]


def syntax(target: str, output: Output) -> Problem | None:
    """The mistake that keeps a generated file from compiling, at the chapter's line."""
    import warnings
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(output.text, target, "exec", dont_inherit=True)
        return None
    except SyntaxError as error:
        n, what = error.lineno or 1, error.msg
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        n, what = 1, str(error) or "nested too deep"
    lines = output.text.split("\n")
    n = min(max(n, 1), len(lines))
    text = lines[n - 1].strip()
    if not output.rows:                               # a file on disk rather than what a chapter makes
        return Problem(target, n, f"Python does not compile: {what}: {text[:80]!r}; expected valid Python")
    line = next((at for _, at in reversed(output.rows[:n]) if at), 0)
    if re.search(r"<<[^<>]+>>", text):
        return Problem(output.chapter, line, f"a reference beside code: {text!r}; "
                                             "expected <<…>> alone on its line")
    return Problem(output.chapter, line, f"Python does not compile: {what}: {text[:80]!r} ({target}:{n}); "
                                         "expected valid Python")


def outputs(book: Book) -> dict[str, Output]:
    """Every generated file of the selected chapters: path under the root -> Output. Raises `Problems`."""
    found: dict[str, Output] = {"tangled/__init__.py": derive("chapters/", ROOT_INIT)}
    problems = []
    for chapter in book.selected:
        try:
            found.update(chapter_outputs(chapter, book))
        except Problems as mistakes:
            problems += mistakes.problems
    for target in [t for t in found if t.startswith("tangled/")]:
        parts = target.split("/")[:-1]
        for i in range(2, len(parts) + 1):
            init = "/".join(parts[:i]) + "/__init__.py"
            if init not in found:
                found[init] = derive("chapters/", "")
    problems += _collisions(found)
    if problems:
        raise Problems(problems)
    return dict(sorted(found.items()))


def _collisions(found: dict[str, Output]) -> list[Problem]:
    """Files that cannot stand beside each other, on every system or for Python."""
    problems, lower = [], {}
    for target, output in found.items():
        line = next((at for _, at in output.rows if at), 0)
        other = lower.setdefault(target.lower(), target)
        if other != target:
            problems.append(Problem(output.chapter, line, f"{target} and {other} differ in capitals alone; "
                                                          "expected other names"))
        if target[:-3] + "/__init__.py" in found:
            problems.append(Problem(output.chapter, line, f"{target} stands beside a folder of that name; "
                                                          "expected another name"))
    return problems
