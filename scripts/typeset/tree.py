"""Pandoc's syntax tree: small helpers, and the node types of our own that the writers add to it.

A node is a dict with its type under "t". Pandoc's nodes keep their content under "c"; ours name their
fields. See `normalise.py` for the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator


def node(kind: str, /, **fields) -> dict:
    return {"t": kind, **fields}


def string(text: str) -> dict:
    return {"t": "Str", "c": text}


SPACE = {"t": "Space"}


def attributes(attr: list) -> tuple[str, list[str], dict[str, str]]:
    """Identifier, classes and key-values of a pandoc attribute."""
    return attr[0], attr[1], dict(attr[2])


LEAVES = {"Space": " ", "SoftBreak": " ", "LineBreak": " ", "RawInline": "", "RawBlock": "", "Note": ""}


def text_of(tree, longest: int | None = None) -> str:
    """The plain text of a tree, mathematics as TeX; with `longest`, neither programs nor longer formulas."""
    if isinstance(tree, list):
        return "".join([text_of(item, longest) for item in tree])
    if not isinstance(tree, dict):
        return ""
    kind = tree.get("t")
    if kind == "Str":
        return tree["c"]
    if kind in LEAVES:
        return LEAVES[kind]
    if kind in ("Code", "CodeBlock", "Math"):
        text = tree["c"][1]
        return "" if kind == "Math" and longest is not None and len(text) > longest else text
    if kind == "Program":
        return tree["source"] + "\n" if longest is None else ""
    if kind == "VisibleSpan" and "html" not in tree["formats"]:
        return ""                               # searches and descriptions are of the web
    if kind == "Quoted":
        marks = "“”" if tree["c"][0]["t"] == "DoubleQuote" else "‘’"
        return marks[0] + text_of(tree["c"][1], longest) + marks[1]
    inside = "".join([text_of(value, longest) for key, value in tree.items() if key != "t"])
    return inside + ("\n" if kind in ("Para", "Plain", "Header", "Heading") else "")


def each(tree, visit: Callable[[dict], bool | None]) -> None:
    """Call `visit` on every node, outermost first; a True answer leaves the node's inside alone."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if "t" in item and visit(item):
                continue
            stack += [value for value in reversed(item.values()) if isinstance(value, (list, dict))]
        else:
            stack += [value for value in reversed(item) if isinstance(value, (list, dict))]


def find(tree, *kinds: str) -> Iterator[dict]:
    """Every node of these kinds, in document order."""
    found: list[dict] = []
    each(tree, lambda n: found.append(n) if n["t"] in kinds else None)
    return iter(found)

