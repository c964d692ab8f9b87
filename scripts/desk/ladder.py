"""`make bench TOPIC=9 IMPL=workspace`: the learner's file as one more contestant in the topic's ladders.

The file runs in a bounded process, as it does when it is graded: see `contestant.py`. How far up a ladder it is:
log(bottom / yours) / log(bottom / top) of the times, where the bottom is level 1, or level 2 where level 1 is not
measured, and the top the fastest of the other rows. 0 % is as slow as the bottom, 100 % as fast as the top.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

from scripts.errors import Problem

YOURS = "your file"
LEAST = 1.2                                     # a ladder of less than this ratio has no height


def bench(options, packages: list[str], root: Path) -> int:
    """Measure the learner's file on the ladders of one topic."""
    from scripts.assembling import accepted
    from scripts.desk.source import Source
    from scripts.grading import parent
    from scripts.reading.chapters import find_topic, read_book
    if options.impl != "workspace" or options.topic is None:
        raise Problem("", 0, f"IMPL={options.impl}; expected such as: make bench TOPIC=9 IMPL=workspace")
    if options.record:
        raise Problem("", 0, "--record is for the levels; expected it without IMPL=workspace")
    package, topic = packages[0], options.topic
    shown = f"workspace/{package}.py"
    source = Source.read(root / shown, shown, f"make start TOPIC={topic}")
    choice = accepted.choice(find_topic(read_book(root, only=[]), topic), root)
    print(choice.why if choice.file else f"{choice.why}.\nIts times stand below all the same; a wrong function may be "
          "a fast one.")
    if names := [span.node.name for span in source.spans() if span.is_stub()]:
        print(f"Not written yet, and left out: {', '.join(names)}")
    arguments = ["--package", package, "--file", str(root / shown), "--budget", str(options.budget)]
    arguments += ["--only", options.only] if options.only else []
    found = parent.watched("scripts.desk.contestant", arguments, root, graded=True)
    return closing(*found, root)


def closing(entries: list[dict], wrong: int, status: int, hung: bool, left: int, root: Path) -> int:
    """The last lines, and build/bench.json."""
    ladders = [e["ladder"] for e in entries if "ladder" in e]
    ended = any("end" in e for e in entries)
    if hung or not ended:
        name = next((e["start"] for e in reversed(entries) if "start" in e), "the import")
        print(f"\nENDED  {name}: " + ("your file took too long" if hung else "your file ended the process"))
    if wrong or left:
        print(f"\n{wrong} lines of the results were not written by the harness, {left} processes were left over")
    shares = [s for s in (share(ladder["rows"]) for ladder in ladders) if s is not None]
    if shares:
        print(f"\nOn {len(shares)} ladder{'s' * (len(shares) > 1)} your file reached {statistics.median(shares):.0%} "
              "(the median). The share of a ladder is\nlog(bottom / yours) / log(bottom / top) of the times: bottom is "
              "level 1, or level 2 where\nlevel 1 is not measured, top the fastest of the other rows.")
    (root / "build").mkdir(exist_ok=True)
    (root / "build" / "bench.json").write_text(json.dumps(ladders, indent=1) + "\n", encoding="utf-8")
    return 0 if ladders and ended and not (hung or wrong or left) else 1


def ends(rows: list[dict]) -> tuple[dict, dict] | None:
    """The bottom and the top row of a ladder, None where it has no height."""
    by_name = {row["level"]: row for row in rows if row["level"] != YOURS}
    bottom = by_name.get("level 1") or by_name.get("level 2")
    others = [row for row in by_name.values() if row is not bottom]
    top = min(others, key=lambda row: row["seconds"], default=None)
    if bottom is None or top is None or bottom["seconds"] < LEAST * top["seconds"]:
        return None
    return bottom, top


def share(rows: list[dict]) -> float | None:
    """How far up the ladder the learner's file is: 0 at the bottom, 1 at the top; None without height."""
    found, yours = ends(rows), next((row for row in rows if row["level"] == YOURS), None)
    if found is None or yours is None:
        return None
    bottom, top = (row["seconds"] for row in found)
    return max(0.0, math.log(bottom / yours["seconds"]) / math.log(bottom / top))


def said(rows: list[dict]) -> str:
    """The share in a line."""
    from tangled.measuring import SECONDS, scaled
    found, part = ends(rows), share(rows)
    if part is None:
        return f"your file: no share, for the rows of this ladder differ by less than {LEAST:g} times"
    bottom, top = (f"{row['level']} ({scaled(row['seconds'], SECONDS)})" for row in found)
    if part == 0:
        return f"your file: at or below the foot of this ladder, which goes from {bottom} up to {top}"
    return f"your file: {part:.0%} of the ladder from {bottom} up to {top}"
