"""A learner's stub, derived from the book's own modules: signatures and docstrings, bodies to be written.

What stays: imports, constants, public functions and classes with their decorators, signatures, comments in
the signature and docstrings. What goes: every body, and every private helper that nothing kept refers to.
"""

from __future__ import annotations

import ast
import builtins
import io
import sys
import tokenize
from dataclasses import dataclass, field

from scripts.reading.syntax import parse

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
WIDTH = 110


def stub_of(modules: list[tuple[str, str]], header: str, package: str) -> str:
    """The stub for `[(module stem, its text), …]`; a name that two modules define is taken from the last."""
    parts = [Part(stem, text) for stem, text in modules]
    for part, later in ((p, parts[i + 1:]) for i, p in enumerate(parts)):
        part.hide({name for other in later for name in other.defined})
    imports = import_block(parts, package)
    bodies = [body for part in parts if (body := part.render(len(parts) > 1))]
    text = "\n\n".join(filter(None, [parts[-1].docstring, imports]))
    for n, body in enumerate(bodies):       # one blank line between the imports and what is no definition
        text += ("\n\n\n" if n or body.startswith(("def ", "class ", "async ", "@")) else "\n\n") + body
    text += "\n"
    lines = [header.rstrip()]
    if unused_imports(text):
        lines.append("# ruff: noqa: F401  (what is imported is there for you to use)")
    return "\n".join(lines) + "\n" + text


@dataclass
class Part:
    """One module: what of it a learner is given."""

    stem: str
    text: str
    items: list = field(default_factory=list)       # statements that are neither imports nor the docstring
    imports: list = field(default_factory=list)

    def __post_init__(self):
        tree = parse(self.text)
        self.lines = self.text.splitlines()
        body = tree.body
        self.docstring = ""
        if body and is_docstring(body[0]):
            self.docstring = "\n".join(self.lines[body[0].lineno - 1:body[0].end_lineno])
            body = body[1:]
        for node in body:
            (self.imports if isinstance(node, (ast.Import, ast.ImportFrom)) else self.items).append(node)
        self.defined = {name for node in self.items for name in names_bound(node)}
        self.imported = {alias.asname or alias.name.partition(".")[0]
                         for node in self.imports for alias in node.names}

    def hide(self, names: set[str]) -> None:
        """Leave out what a later module defines again."""
        self.items = [node for node in self.items if not (bound := names_bound(node)) or not bound <= names]

    def render(self, several: bool) -> str:
        """Everything of the module that is kept, as text."""
        self.wanted = self.kept()
        body, last = "", None
        for node in self.items:
            text = self.item(node)
            if text is not None:
                tight = not isinstance(node, DEFINITIONS) and not isinstance(last, DEFINITIONS)
                body += ("" if last is None else "\n" if tight else "\n\n\n") + text
                last = node
        return f"# -- after {self.stem}.py\n\n{body}" if several and body else body

    def kept(self) -> set[str]:
        """The names that stay: public ones, constants, and what signatures, bases and decorators refer to."""
        by_name = {name: node for node in self.items for name in names_bound(node)}
        todo = [name for name, node in by_name.items()
                if is_public(name) or (name.isupper() and not isinstance(node, DEFINITIONS))]
        wanted = set()
        while todo:
            name = todo.pop()
            if name in wanted or name not in by_name:
                continue
            wanted.add(name)
            node = by_name[name]
            todo += evaluated_names(node) if isinstance(node, DEFINITIONS) else names_in(node)
        self.decorators = {n for node in self.items if isinstance(node, DEFINITIONS)
                           for sub in ast.walk(node) if isinstance(sub, DEFINITIONS)
                           for d in sub.decorator_list for n in names_in(d)}
        return wanted

    def item(self, node) -> str | None:
        """One top-level statement as the learner sees it, or None where it goes."""
        if isinstance(node, DEFINITIONS):
            if node.name not in self.wanted:
                return None
            if node.name in self.decorators:        # needed while the file is imported
                return self.source(node)
            return "\n".join(self.definition(node, node.name))
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            return self.constant(node) if names_bound(node) <= self.wanted else None
        if isinstance(node, (ast.If, ast.Try)) and only_imports(node):
            return self.source(node)
        return None

    def constant(self, node) -> str | None:
        """A constant as it is; one that calls what the learner has yet to write is left open."""
        if self.needs_bodies(node):
            public = [name for name in names_bound(node) if is_public(name)]
            return "\n".join(f"{name} = None  # yours to work out" for name in public) or None
        return self.source(node)

    def needs_bodies(self, node) -> bool:
        """Whether a statement calls a definition of this module, or names one that goes."""
        own = {n.name for n in self.items if isinstance(n, DEFINITIONS)}
        own |= {name for n in self.items for name in names_bound(n)} - self.wanted
        calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
        called = {name for call in calls for name in names_in(call.func)}
        return bool(called & (own - self.decorators) or names_in(node) & (own - self.wanted))

    def source(self, node) -> str:
        """The lines of a statement, with the comment right above it."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        while not isinstance(node, DEFINITIONS) and first > 1 and self.lines[first - 2].startswith("# ") \
                and not self.lines[first - 2].startswith(("# --", "# Tangled from")):
            first -= 1
        return "\n".join(self.lines[first - 1:node.end_lineno])

    def definition(self, node, qualified: str) -> list[str]:
        """A function or class: header, docstring, and `raise` or the members."""
        indent = " " * (node.col_offset + 4)
        out = self.header(node)
        body = node.body
        if body and is_docstring(body[0]):
            out += self.docstring_lines(body[0], node, indent)
            body = body[1:]
        if isinstance(node, FUNCTIONS):
            return [*out, f'{indent}raise NotImplementedError("{qualified} is yours to write")']
        members = self.members(node, body, qualified)
        if not members and len(out) == len(self.header(node)):
            return [*out, f"{indent}pass"]
        return out + members

    def members(self, node, body, qualified: str) -> list[str]:
        """The members of a class that stay, a blank line before each method."""
        gone = {m.name for m in body if isinstance(m, FUNCTIONS) and not is_member_public(m.name)}
        out, last = [], None if is_docstring(node.body[0]) else node
        for member in body:
            if isinstance(member, DEFINITIONS):
                if not is_member_public(member.name):
                    continue
                lines = [""] * (last is not node) + self.definition(member, f"{qualified}.{member.name}")
            elif isinstance(member, (ast.Assign, ast.AnnAssign)) and not names_in(member) & gone \
                    and not self.needs_bodies(member):
                tight = last is node or isinstance(last, (ast.Assign, ast.AnnAssign))
                lines = [""] * (not tight) + self.lines[member.lineno - 1:member.end_lineno]
            else:
                continue
            out += lines
            last = member
        return out

    def header(self, node) -> list[str]:
        """From the first decorator to the colon, as written, and the comment after the colon."""
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        line, column = colon_after(self.lines, node.lineno)
        rest = self.lines[line - 1][column:].strip()
        out = self.lines[first - 1:line]
        if rest and not rest.startswith("#"):
            out[-1] = out[-1][:column]
        return out

    def docstring_lines(self, string, node, indent: str) -> list[str]:
        if string.lineno > colon_after(self.lines, node.lineno)[0]:
            return self.lines[string.lineno - 1:string.end_lineno]
        return [f'{indent}"""{ast.get_docstring(node)}"""']      # def f(x): "doc"


def colon_after(lines: list[str], first: int) -> tuple[int, int]:
    """Line (from 1) and column just after the colon that ends the header starting on line `first`."""
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines[first - 1:]) + "\n").readline):
        if token.type == tokenize.OP and token.string in "([{":
            depth += 1
        elif token.type == tokenize.OP and token.string in ")]}":
            depth -= 1
        elif token.type == tokenize.OP and token.string == ":" and depth == 0:
            return first - 1 + token.end[0], token.end[1]
    raise ValueError(f"line {first}: no colon ends this definition")


# -- names

def is_docstring(node) -> bool:
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))


def is_public(name: str) -> bool:
    return not name.startswith("_")


def is_member_public(name: str) -> bool:
    return is_public(name) or (name.startswith("__") and name.endswith("__"))


def names_bound(node) -> set[str]:
    if isinstance(node, DEFINITIONS):
        return {node.name}
    targets = getattr(node, "targets", []) if isinstance(node, ast.Assign) else (
        [node.target] if isinstance(node, ast.AnnAssign) else [])
    return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)
            and isinstance(n.ctx, ast.Store)}


def names_in(node) -> set[str]:
    """The names that a piece of code looks up, its own lambdas' and comprehensions' variables excepted."""
    inner = [n for n in ast.walk(node) if isinstance(n, ast.Lambda)]
    own = {a.arg for f in inner for a in ast.walk(f.args) if isinstance(a, ast.arg)}
    own |= {n.id for f in ast.walk(node) if isinstance(f, ast.comprehension) for n in ast.walk(f.target)
            if isinstance(n, ast.Name)}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - own


def evaluated_names(node) -> set[str]:
    """What a kept definition refers to outside its body: decorators, bases, defaults, annotations."""
    if isinstance(node, FUNCTIONS):
        shell = [*node.decorator_list, node.args, *filter(None, [node.returns])]
        return {name for part in shell for name in names_in(part)}
    found = {name for part in [*node.decorator_list, *node.bases, *node.keywords] for name in names_in(part)}
    for member in node.body:
        if isinstance(member, DEFINITIONS) and is_member_public(member.name):
            found |= evaluated_names(member)
    return found


def only_imports(node) -> bool:
    """`if TYPE_CHECKING:` and `try: import …` blocks."""
    inside = [n for n in ast.walk(node) if isinstance(n, ast.stmt) and n is not node]
    return all(isinstance(n, (ast.Import, ast.ImportFrom, ast.Assign, ast.Pass)) for n in inside)


# -- imports

def import_block(parts: list[Part], package: str) -> str:
    """The imports of all modules, merged and in the order that linters ask for."""
    own = {part.stem for part in parts}
    plain_imports, members = set(), {}
    for node in (n for part in parts for n in part.imports):
        if isinstance(node, ast.Import):
            plain_imports |= {(a.name, a.asname) for a in node.names}
            continue
        module = node.module or ""
        if node.level:
            module = f"tangled.{package}" + (f".{module}" if module else "")
        if module.startswith(f"tangled.{package}.") and module.rpartition(".")[2] in own:
            continue
        members.setdefault(module, set()).update((a.name, a.asname) for a in node.names)
    groups: list[list[str]] = [[], [], [], []]
    for name, alias in sorted(plain_imports):
        groups[section(name)].append(f"import {name}" + (f" as {alias}" if alias else ""))
    for module in sorted(members):
        groups[section(module)].append(from_line(module, members[module]))
    return "\n\n".join("\n".join(group) for group in groups if group)


def section(module: str) -> int:
    top = module.partition(".")[0]
    return 0 if top == "__future__" else 1 if top in sys.stdlib_module_names else 3 if top == "tangled" else 2


def from_line(module: str, members: set) -> str:
    def order(pair):
        name = pair[0]
        return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)

    names = [name + (f" as {alias}" if alias else "") for name, alias in sorted(members, key=order)]
    line = f"from {module} import {', '.join(names)}"
    if module.startswith("tangled.") and any(name == "checks" for name, _ in members):
        line += "  # given: call it to refuse bad arguments"
    if len(line) <= WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def unused_imports(text: str) -> set[str]:
    """Names imported at the top that the stub itself does not use."""
    tree = parse(text)
    bound = {a.asname or a.name.partition(".")[0] for node in tree.body
             if isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") != "__future__"
             for a in node.names}
    return bound - {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}


def undefined_names(text: str) -> set[str]:
    """Names that the stub would look up in vain while it is imported (a check for the tests)."""
    tree = parse(text)
    known = set(dir(builtins)) | {a.asname or a.name.partition(".")[0] for n in ast.walk(tree)
                                  if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    known |= {name for node in tree.body for name in names_bound(node)}
    used = {name for node in tree.body if isinstance(node, DEFINITIONS) for name in evaluated_names(node)}
    members = {name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
               for m in node.body for name in names_bound(m)}
    return used - known - members
