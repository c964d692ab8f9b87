"""README.md's tables of ladders and of programs, drawn from golden/records/ and the front matter, nothing else."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from scripts.errors import Problem
from scripts.reading.chapters import read_book
from scripts.reading.syntax import parse

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
PROGRAMS = "<!-- programs:start -->", "<!-- programs:end -->"
HEAD = ("topic", "task", "level 1", "level 2", "level 3", "level 4", "best PyTorch", "peak memory 2 / 3 / 4")


def draw(root: Path) -> int:
    """Put the tables into README.md, where they differ."""
    path, text = root / "README.md", readme_text(root)
    new = drawn(text, root)
    if new != text:
        path.write_text(new, encoding="utf-8")
    print("README.md: " + ("the tables are drawn from the records" if new != text else "unchanged"))
    return 0


def drawn(text: str, root: Path) -> str:
    """README.md's text with both tables as they are to be; that of the programs only where it has a place."""
    text = between(text, markdown(root))
    place = text.find(PROGRAMS[0]), text.find(PROGRAMS[1])
    return between(text, programs(root), PROGRAMS) if 0 <= place[0] < place[1] else text


def readme_text(root: Path) -> str:
    """README.md, with both marks in it."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not 0 <= text.find(START) < text.find(END):
        raise Problem("README.md", 0, f"has no place for the table; expected {START} and, after it, {END}")
    return text


def between(text: str, table: str, marks: tuple[str, str] = (START, END)) -> str:
    """The text with the table in the place of what stood between the marks."""
    head, _, rest = text.partition(marks[0])
    return f"{head}{marks[0]}\n{table}{marks[1]}{rest.partition(marks[1])[2]}"


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


def programs(root: Path) -> str:
    """One table of the chapters' programs: what each does, by its docstring, and how long the recorded run took."""
    lines = ["| command | what it does | recorded run |", "|:---|:---|---:|"]
    found = records(root)
    for chapter in read_book(root, only=[]).chapters:
        for stem in chapter.meta.get("train") or []:
            run = found.get(chapter.topic, {}).get("runs", {}).get(stem, {})
            command = f"make train TOPIC={chapter.topic} ONLY={stem}"
            source = root / "tangled" / chapter.package / f"{stem}.py"
            lines.append(f"| `{command}` | {purpose(source)} | {duration(run.get('seconds'))} |")
    return "\n".join([*lines, ""])


def purpose(source: Path) -> str:
    """What a program says of itself: its docstring's first words, up to the command or the first full stop."""
    said = ast.get_docstring(parse(source.read_text(encoding="utf-8"))) or ""
    return re.split(r": (?:python -m|make train)|[.\n]", said)[0].replace("|", "\\|")


def duration(seconds: float | None) -> str:
    """`54 s`, `6.3 min`, or a dash."""
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


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
