"""Gates on what a chapter holds: files, hints, pitfalls, levels, interface, imports, docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

from scripts.grading.sentry import GIVEN

FILES = ("level1_naive.py", "level2_vectorized.py", "level3_memory_efficient.py",
         "level4_pytorch_reference.py", "visualization.py",
         "tests/test_basic.py", "tests/test_edge.py", "tests/test_stress.py")
LEVELS = FILES[:3]
GRADED = re.compile(r"\((●{1,3}), graded: ([\w`, ]+)\)")
HINT = re.compile(r"^:{3,}\s*\{[^}]*\.hint\b[^}]*\}", re.M)
SHAPE = re.compile(r"\([A-Za-z0-9_.…*+\-/ ]*,[^)]*\)|\bscalar\b|\bshape\b|\bint\b|\bfloat\b|0-d", re.I)
FORBIDDEN = {"lstsq": "np.linalg.lstsq is not allowed in levels 1-3"}


def topics(book):
    return [chapter for chapter in book.selected if chapter.topic is not None]


def place(path: str, line: int) -> str:
    """`chapters/27-….qmd:212` for a line of a generated file, else the file's own place."""
    from scripts.tangling.origin import locate
    return "{}:{}".format(*(locate(path, line, ".") or (path, line)))


def package_file(chapter, name: str) -> Path:
    return Path("tangled", chapter.package, name)


def complete(book) -> list[str]:
    """All files, exactly three hints, at least three pitfalls, golden outputs."""
    offenders = []
    for chapter in topics(book):
        have = {chunk.target for chunk in chapter.chunks if chunk.target}
        for name in FILES:
            if package_file(chapter, name).as_posix() not in have:
                offenders.append(f"{chapter.path}:1: nothing tangles to {name}")
        hints = len(HINT.findall(chapter.text))
        if hints != 3:
            offenders.append(f"{chapter.path}:1: {hints} hints, expected 3")
        pitfalls = {chunk.pitfall for chunk in chapter.chunks if chunk.pitfall}
        if len(pitfalls) < 3:
            offenders.append(f"{chapter.path}:1: {len(pitfalls)} pitfalls, expected at least 3")
        if not Path("golden", f"t{chapter.topic:02d}.npz").exists():
            offenders.append(f"{chapter.path}:1: no golden outputs, expected golden/t{chapter.topic:02d}.npz "
                             f"(make golden TOPIC={chapter.topic})")
    return offenders


def graded(book) -> list[str]:
    """At least two graded exercises, one of them hard; each has its function in exercises.py, and a test."""
    return [line for chapter in topics(book) for line in judge_exercises(chapter)]


def judge_exercises(chapter):
    """What is wrong with the graded exercises of a chapter."""
    heads = [(n, match) for n, line in enumerate(chapter.lines, 1) for match in GRADED.finditer(line)]
    if len(heads) < 2:
        yield f"{chapter.path}:1: {len(heads)} graded exercises, expected at least 2: **3 (●●, graded: name).** …"
    if heads and not any(match[1] == "●●●" for _, match in heads):
        yield f"{chapter.path}:{heads[0][0]}: no graded exercise is hard (●●●), expected one"
    path, tests = package_file(chapter, "exercises.py"), package_file(chapter, "tests/test_exercises.py")
    have = {name for name, _ in public_definitions(path)} if path.exists() else set()
    tested = tests.read_text(encoding="utf-8") if tests.exists() else ""
    for number, match in heads:
        for name in re.findall(r"\w+", match[2]):
            if name not in have:
                yield f"{chapter.path}:{number}: graded exercise {name}: no such function in exercises.py"
            elif not re.search(rf"\bexercises\.{name}\b", tested):
                yield f"{chapter.path}:{number}: graded exercise {name}: tests/test_exercises.py does not test it"


def listed(book) -> list[str]:
    """_quarto.yml is Quarto's list; the files on disk are the truth."""
    named = {chapter.path for chapter in book.chapters}
    return [f"_quarto.yml:1: {path.as_posix()} exists but is not listed"
            for path in sorted(Path("chapters").glob("*.qmd")) if path.as_posix() not in named]


def public_definitions(path: Path):
    """(name, node) of each public function, class and public method of a generated file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from ((f"{node.name}.{inner.name}", inner) for inner in node.body
                            if isinstance(inner, kinds) and not inner.name.startswith("_"))


def targets(book) -> list[str]:
    """Each `targets: api:` of the front matter is a public name of the exports, with that signature."""
    offenders = []
    for chapter in topics(book):
        found = {}
        for stem in chapter.meta.get("exports", ["level2_vectorized"]):
            path = package_file(chapter, f"{stem}.py")
            if path.exists():
                found.update(public_definitions(path))
        for target in chapter.meta.get("targets", []):
            offenders += [f"{chapter.path}:1: {why}" for why in judge_target(target, found)]
        if not chapter.meta.get("targets"):
            offenders.append(f"{chapter.path}:1: no targets in the front matter")
    return offenders


def judge_target(target: dict, found: dict):
    api = str(target.get("api", ""))
    name = api.partition("(")[0].strip()
    missing = [key for key in ("api", "time", "space") if not target.get(key)]
    if missing:
        yield f"target {api or target}: no {' and no '.join(missing)}"
    elif name not in found:
        yield f"target {api}: no public {name} in the exported levels"
    elif isinstance(found[name], ast.FunctionDef) and "(" in api:
        want, have = f"{name}({signature_of(api)})", f"{name}({ast.unparse(found[name].args)})"
        if re.sub(r"\W", "", want) != re.sub(r"\W", "", strip_annotations(have)):
            yield f"target {want}: the code has {have}"


def signature_of(api: str) -> str:
    return api.partition("(")[2].rpartition(")")[0]


def strip_annotations(signature: str) -> str:
    function = ast.parse(f"def {signature}: pass").body[0]
    for argument in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]:
        argument.annotation = None
    return f"{function.name}({ast.unparse(function.args)})"


def imports(book) -> list[str]:
    """Levels 1-3: NumPy, the standard library, earlier topics (and, from chapter 03 on, tangled.data)."""
    offenders = []
    for chapter in topics(book):
        for name in (*LEVELS, "exercises.py"):
            path = package_file(chapter, name)
            if path.exists():
                offenders += [f"{place(path.as_posix(), line)}: {why}" for line, why in
                              forbidden_imports(path, chapter)]
    return offenders


def forbidden_imports(path: Path, chapter):
    own = path.name == "exercises.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [chapter.package if node.level else node.module or ""]
            names = [] if node.level == 1 else names
        else:
            names = []
            if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN:
                yield node.lineno, FORBIDDEN[node.attr]
        for name in names:
            if own and not builds_on(name, node, chapter.package):
                yield node.lineno, f"imports {name}; exercises.py builds on the public names of {chapter.package}"
            elif not allowed(name, chapter):
                yield node.lineno, (f"imports {name}; {'exercises.py' if own else 'levels 1-3'} may import NumPy, "
                                    f"the standard library and topics before {chapter.topic}")


def builds_on(module: str, node, package: str) -> bool:
    """An exercise takes public names from the package, else what is given to learners, or a level's private helper."""
    inside = module.removeprefix(f"tangled.{package}.")
    if inside == module or inside in GIVEN:
        return True
    return isinstance(node, ast.ImportFrom) and all(alias.name.startswith("_") for alias in node.names)


def allowed(name: str, chapter) -> bool:
    top = name.partition(".")[0]
    if top == "numpy" or top in sys.stdlib_module_names:
        return True
    match = re.fullmatch(r"tangled\.t(\d\d)_\w+(\.\w+)*", name)
    if match:
        return int(match[1]) < chapter.topic or name.startswith(f"tangled.{chapter.package}")
    return name in ("tangled.data", "tangled.autograd_stub")


def docstrings(book) -> list[str]:
    """Public functions and classes of levels 2 and 3 say what they take and give, with shapes."""
    offenders = []
    for chapter in topics(book):
        for name in FILES[:4]:
            path = package_file(chapter, name)
            if not path.exists():
                continue
            for label, node in public_definitions(path):
                why = judge_docstring(label, node, strict=name == "level2_vectorized.py")
                if why:
                    offenders.append(f"{place(path.as_posix(), node.lineno)}: {name}: {why}")
    return offenders


def judge_docstring(label: str, node, strict: bool) -> str | None:
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    if not text:
        return f"{label} has no docstring"
    takes = not isinstance(node, ast.ClassDef) and any(
        argument.arg not in ("self", "cls") for argument in node.args.args)
    if strict and takes and "." not in label and not SHAPE.search(text):
        return f"the docstring of {label} gives no shapes"
    return None
