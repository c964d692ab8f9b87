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


def text_of(tree) -> str:
    """The plain text of a tree, mathematics as TeX."""
    if isinstance(tree, list):
        return "".join(map(text_of, tree))
    if not isinstance(tree, dict):
        return ""
    kind = tree.get("t")
    if kind == "Str":
        return tree["c"]
    if kind in ("Space", "SoftBreak", "LineBreak"):
        return " "
    if kind in ("Code", "CodeBlock", "Math"):
        return tree["c"][1]
    if kind == "Program":
        return tree["source"] + "\n"
    if kind in ("RawInline", "RawBlock", "Note"):
        return ""
    if kind == "Quoted":
        marks = "“”" if tree["c"][0]["t"] == "DoubleQuote" else "‘’"
        return marks[0] + text_of(tree["c"][1]) + marks[1]
    inside = "".join(text_of(value) for key, value in tree.items() if key != "t")
    return inside + ("\n" if kind in ("Para", "Plain", "Header", "Heading") else "")


def each(tree, visit: Callable[[dict], bool | None]) -> None:
    """Call `visit` on every node, outermost first; a True answer leaves the node's inside alone."""
    if isinstance(tree, list):
        for item in tree:
            each(item, visit)
    elif isinstance(tree, dict):
        if "t" in tree and visit(tree):
            return
        for value in tree.values():
            if isinstance(value, (list, dict)):
                each(value, visit)


def find(tree, *kinds: str) -> Iterator[dict]:
    """Every node of these kinds, in document order."""
    found: list[dict] = []
    each(tree, lambda n: found.append(n) if n["t"] in kinds else None)
    return iter(found)


def rewrite(tree, change: Callable[[dict], list | None]):
    """A copy of the tree; `change` may put a list of nodes in a node's place (None: keep it and descend)."""
    if isinstance(tree, list):
        out = []
        for item in tree:
            if isinstance(item, dict) and "t" in item:
                new = change(item)
                out += [rewrite(item, change)] if new is None else new
            else:
                out.append(rewrite(item, change))
        return out
    if isinstance(tree, dict):
        return {key: rewrite(value, change) for key, value in tree.items()}
    return tree
