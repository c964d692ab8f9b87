"""README.md's table of ladders, drawn from golden/records/ and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.errors import Problem

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
HEAD = ("topic", "task", "level 1", "level 2", "level 3", "level 4", "best PyTorch", "peak memory 2 / 3 / 4")


def draw(root: Path) -> int:
    """Put the table into README.md, where it differs."""
    path, text = root / "README.md", readme_text(root)
    new = between(text, markdown(root))
    if new != text:
        path.write_text(new, encoding="utf-8")
    print("README.md: " + ("the table is drawn from the records" if new != text else "unchanged"))
    return 0


def readme_text(root: Path) -> str:
    """README.md, with both marks in it."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not 0 <= text.find(START) < text.find(END):
        raise Problem("README.md", 0, f"has no place for the table; expected {START} and, after it, {END}")
    return text


def between(text: str, table: str) -> str:
    """The text with the table in the place of what stood between the marks."""
    head, _, rest = text.partition(START)
    return f"{head}{START}\n{table}{END}{rest.partition(END)[2]}"


def records(root: Path) -> dict[int, dict]:
    """Topic -> its record, in order."""
    found = {}
    for path in sorted((root / "golden" / "records").glob("t[0-9][0-9].json")):
        try:
            found[int(path.stem[1:])] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Problem(f"golden/records/{path.name}", getattr(error, "lineno", 0),
                          f"not JSON ({error.args[0]}); run: make bench TOPIC={int(path.stem[1:])} "
                          "ARGS=--record") from None
    return found


def markdown(root: Path) -> str:
    """One table of all ladders: times as multiples of level 4's, or times where PyTorch has no such task."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---:|:---|" + "---:|" * (len(HEAD) - 2)]
    machines: dict[str, list[int]] = {}
    for topic, found in records(root).items():
        for name, entry in found.get("ladders", {}).items():
            if "level 2" not in entry["rows"] and "level 3" not in entry["rows"]:
                continue                                        # no ladder of levels
            lines.append(row_of(topic, name, entry["rows"]))
            machines.setdefault(machine(found["by"][entry["by"]]), []).append(topic)
    said = [text if len(machines) == 1 else f"Topics {', '.join(map(str, sorted(set(topics))))}: {text}"
            for text, topics in machines.items()]
    note = ("Time against level 4 (PyTorch, eager, the default call), medians of interleaved runs; below 1.0 NumPy "
            "is the faster. *Best PyTorch* is the best call that its users would write, where it is another.")
    return "\n".join([*lines, "", " ".join([note, *said]), ""])


def machine(by: dict) -> str:
    """`AMD EPYC with AVX-512, one thread, Python 3.11.7, NumPy 2.4.6, PyTorch 2.13.0.`"""
    torch = f", PyTorch {by['torch']}" if by.get("torch") else ""
    return (f"{by['machine']} with {by['instructions']}, {by['threads']}, Python {by['python']}, "
            f"NumPy {by['numpy']}{torch}.")


def row_of(topic: int, name: str, rows: dict) -> str:
    """A line of the table."""
    times = [time_cell(level, rows.get(level)) for level in HEAD[2:7]]
    peaks = " / ".join(memory_cell(rows.get(f"level {n}")) for n in (2, 3, 4))
    cells = [str(topic), name.replace("|", "\\|"), *times, peaks]
    return "| " + " | ".join(cells) + " |"


def time_cell(level: str, row: dict | None) -> str:
    """`1.2x`, or the time where there is nothing to compare with."""
    from tangled.measuring import SECONDS, scaled
    if row is None:
        return "-"
    if row.get("ratio") is None or level == "level 4":
        return scaled(row["seconds"], SECONDS)
    ratio = row["ratio"]
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def memory_cell(row: dict | None) -> str:
    """`1.2 MB`."""
    from tangled.measuring import BYTES, scaled
    return "-" if row is None or row.get("peak") is None else scaled(row["peak"], BYTES)
