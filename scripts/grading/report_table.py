"""The text of the report: a table of levels by category (or of topics by level), then the failures.

It works on plain records, printed by pytest's process or, where that died, by its parent:
{"id", "package", "level", "category", "outcome": passed|failed|skipped|unmeasured, "why", "name", "doc",
 "kind", "lines", "code", "test", "printed", "pitfalls": [{"number", "name", "place"}], "alike": [the same]}
`pitfalls` are those whose wrong arrays a failure equals, `alike` those on which the test says the same.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter

CATEGORIES = ("shape", "value", "gradient", "edge", "performance", "other")
WIDTH = 100
NUMBER = re.compile(r"-?\d[\d.,]*(e[+-]?\d+)?")
RAN = ("passed", "failed")                        # "skipped" and "unmeasured" are neither
SHOWN = 15                                        # failures printed in full
MANY = 3                                          # failures that say different things are no chance


def report(records: list[dict], impl: str = "levels") -> list[str]:
    """The lines of the report of a run."""
    topics = sorted({r["package"] for r in records if r["package"]})
    tools = [r for r in records if not r["package"]]
    lines: list[str] = []
    if len(topics) == 1 and not tools:
        lines += level_table(topics[0], [r for r in records if r["package"]], impl)
    elif topics:
        lines += topic_table(topics, records, tools)
    failures = [r for r in records if r["package"] and r["outcome"] == "failed"]
    if failures:
        lines += failure_lines(failures, impl)
    if topics:
        lines += ["", verdict(records)]
    return lines


def title(package: str) -> str:
    """`27 positional encodings`, of `t27_positional_encodings`."""
    return f"{package[1:3]} {package[4:].replace('_', ' ')}"


def count(records: list[dict]) -> str:
    """`4/6`: passed of those that ran; `-` where none did."""
    ran = [r for r in records if r["outcome"] in RAN]
    return f"{sum(r['outcome'] == 'passed' for r in ran)}/{len(ran)}" if ran else "-"


def level_name(level: str | None) -> str:
    """`level 2`, `your file`, or `all levels` for tests that compare levels."""
    if level and level.startswith("level"):
        return f"level {level[-1]}"
    return {"workspace": "your file", "solution": "exercises", None: "across"}.get(level, str(level))


def level_table(package: str, records: list[dict], impl: str) -> list[str]:
    """A row a level, a column a category."""
    levels = sorted({r["level"] for r in records}, key=lambda x: (x is None, x or ""))
    columns = [c for c in CATEGORIES if any(r["category"] == c for r in records)]
    rows = [["", *columns, ""]]
    for level in levels:
        own = [r for r in records if r["level"] == level]
        name = level_name(level) if impl in ("levels", "workspace") or level is None else impl.split("/")[-1]
        rows.append([name, *(count([r for r in own if r["category"] == c]) for c in columns), skipped(own)])
    return ["", f"Topic {title(package)}", *align(rows)]


def skipped(records: list[dict]) -> str:
    """`skipped: PyTorch not installed (make setup)`, the commonest reason; how many were not measured."""
    if busy := sum(r["outcome"] == "unmeasured" for r in records):
        return f"not measured {busy}: the machine is busy"
    why = Counter(r["why"] for r in records if r["outcome"] == "skipped" and r["why"])
    if not why:
        return ""
    reason, number = why.most_common(1)[0]
    return f"skipped{'' if number == len(records) else f' {number}'}: {reason}"


def topic_table(topics: list[str], records: list[dict], tools: list[dict]) -> list[str]:
    """A row a topic, a column a level; the tests of the tools are one row more."""
    levels = sorted({r["level"] for r in records if r["package"]}, key=lambda x: (x is None, x or ""))
    rows = [["topic", *map(level_name, levels), ""]]
    for package in topics:
        own = [r for r in records if r["package"] == package]
        counts = [count([r for r in own if r["level"] == level]) for level in levels]
        rows.append([title(package), *counts, skipped(own)])
    if tools:
        rows.append(["tools and appendices", count(tools), *[""] * (len(levels) - 1), skipped(tools)])
    return ["", *align(rows)]


def align(rows: list[list[str]]) -> list[str]:
    """Columns of equal width: the first and last to the left, the counts to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:-1], widths[1:-1])]
        counts = "  ".join(cells) + "   "
        room = max(WIDTH - len(counts), 50)                # the commonest reason is whole, beside any number of columns
        why = row[-1] if len(row[-1]) <= room else row[-1][:room - 3] + "..."
        lines.append((counts + why).rstrip())
    return lines


def grouped(failures: list[dict]) -> list[list[dict]]:
    """Failures that say the same but for numbers, and cases of one test, together; in the order of their first."""
    groups: dict[tuple, list[dict]] = {}
    names: dict[tuple, tuple] = {}
    for record in failures:
        pitfalls = tuple(p["number"] for p in record["pitfalls"])
        key = record["kind"], tuple(NUMBER.sub("#", line) for line in record["lines"]), pitfalls
        case = record["kind"], record["level"], record["id"].partition("[")[0], pitfalls
        key = key if key in groups or "[" not in record["id"] else names.setdefault(case, key)
        groups.setdefault(key, []).append(record)
    return list(groups.values())


def not_written(failures: list[dict]) -> list[str]:
    """`9 not written yet: rope, sinusoidal_table, …` for the tests that wait for them."""
    names = list(dict.fromkeys(r["lines"][0].removesuffix(" is not implemented yet") for r in failures))
    if not names:
        return []
    waiting = f"{len(failures)} test{'s wait' if len(failures) > 1 else ' waits'} for "
    return ["", *wrap(f"{len(names)} not written yet: {', '.join(names)}  ({waiting}"
                      f"{'them' if len(names) > 1 else 'it'})", "", "  ")]


def failure_lines(failures: list[dict], impl: str) -> list[str]:
    """Each failure in a few lines, and what most of them have in common."""
    common = Counter(p["number"] for r in failures for p in r["pitfalls"])
    todo = [r for r in failures if r["kind"] == "todo"]
    groups = grouped([r for r in failures if r["kind"] != "todo"])
    lines = not_written(todo)
    for group in groups[:SHOWN]:
        lines += ["", *one_failure(group, common)]
    if len(groups) > SHOWN:
        rest = sum(map(len, groups[SHOWN:]))
        lines += ["", f"... and {rest} more failures; LEVEL=2, or ARGS=\"-k NAME\", shows fewer at a time"]
    summary = commonest(failures, common) or alike_text(failures)
    if summary:
        lines += ["", *wrap(summary, "")]
    if impl == "workspace" and any(r["kind"] != "unusable" for r in failures):
        lines += ["", f"a hint: make hint TOPIC={int(failures[0]['package'][1:3])}"]
    return lines


def commonest(failures: list[dict], common: Counter) -> str:
    """`7 of 9 failures equal pitfall 27.2 …`, where there is more than one failure and a pitfall."""
    if not common or len(failures) < 2:
        return ""
    number, times = best(common)
    pitfall = next(p for r in failures for p in r["pitfalls"] if p["number"] == number)
    return f"{times} of {len(failures)} failures equal {pitfall_text(pitfall)}"


def alike(failures: list[dict]) -> dict | None:
    """The one pitfall on which every test that failed says the same, where they say several different things.

    A number that is off by one, or an error, could come from many mistakes; all of a pitfall's could not.
    """
    said = {tuple(record["lines"]) for record in failures}
    shared = [p for p in failures[0]["alike"] if all(p in r["alike"] for r in failures)] if len(said) >= MANY else []
    return shared[0] if len(shared) == 1 else None


def alike_text(failures: list[dict]) -> str:
    """`all 29 failures are those of pitfall 11.4 …`, where none has arrays that show it."""
    pitfall = alike(failures)
    return f"all {len(failures)} failures are those of {pitfall_text(pitfall)}" if pitfall else ""


def named(records: list[dict]) -> list[str]:
    """The numbers of the pitfalls that the report of a run names."""
    failures = [r for r in records if r["package"] and r["outcome"] == "failed"]
    found = {p["number"] for r in failures for p in r["pitfalls"]}
    other = alike(failures) if failures and not found else None
    return sorted(found | ({other["number"]} if other else set()))


def best(common: Counter) -> tuple[str, int]:
    """The pitfall that explains most failures; of equals the first in the chapter."""
    return min(common.items(), key=lambda item: (-item[1], tuple(map(int, item[0].split(".")))))


def pitfall_text(pitfall: dict) -> str:
    """`pitfall 27.2 "forgot the scale" (chapters/27-x.qmd:612)`."""
    return f"pitfall {pitfall['number']} \"{pitfall['name']}\" ({pitfall['place']})"


def one_failure(group: list[dict], common: Counter) -> list[str]:
    """One failure, or several with the same text: heading, what is wrong, diagnosis, pitfall, places."""
    record = group[0]
    if record["kind"] == "unusable":
        tests = f"all {len(group)} tests of it fail" if len(group) > 1 else "its test fails"
        return wrap(f"{record['lines'][0]}  ({tests})", "", "  ")
    about = f": {record['doc']}" if record["doc"] else ""
    lines = wrap(f"FAILED {level_name(record['level'])}  {record['name']}{about}", "", "       ")
    for text in record["lines"]:
        lines += wrap(text, "    ")
    if record["pitfalls"]:
        number = best(Counter({p["number"]: common[p["number"]] for p in record["pitfalls"]}))[0]
        pitfall = next(p for p in record["pitfalls"] if p["number"] == number)
        lines += wrap(f"equals {pitfall_text(pitfall)}", "    ")
    if record["printed"]:
        lines += ["    it printed:"] + [f"      | {x}"[:WIDTH] for x in record["printed"]]
    if record["code"]:
        lines += [f"    in   {record['code']}"]
    if record["test"]:
        lines += [f"    test {record['test']}"]
    if len(group) > 1:
        same = all(r["lines"] == record["lines"] for r in group)
        lines += wrap(("the same in " if same else "alike in ") + also(group), "    ")
    return lines


def also(group: list[dict]) -> str:
    """`3 more tests: level 3 test_a, …`."""
    names = [f"{level_name(r['level'])} {r['name']}" for r in group[1:]]
    more = f"{len(names)} more test{'s' * (len(names) > 1)}: "
    return more + ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def wrap(text: str, indent: str, further: str | None = None) -> list[str]:
    """A text in lines of at most 100 characters."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=further or indent + "  ",
                         break_long_words=False, break_on_hyphens=False) or [indent]


def verdict(records: list[dict]) -> str:
    """`57 of 60 tests passed (95 %), 19 skipped`."""
    ran = [r for r in records if r["outcome"] in RAN]
    passed = sum(r["outcome"] == "passed" for r in ran)
    left, busy = (sum(r["outcome"] == state for r in records) for state in ("skipped", "unmeasured"))
    if not ran:
        return "no test ran"
    percent = 100 * passed // len(ran)
    return f"{passed} of {len(ran)} tests passed ({percent} %)" + (f", {left} skipped" if left else "") + (
        f", {busy} not measured: the machine is busy" if busy else "")


def ended(nodeid: str, text: str) -> dict:
    """The record of a test with which its process ended."""
    name, _, params = nodeid.rpartition("::")[2].partition("[")
    parts = nodeid.split("/")
    words = params.rstrip("]").split("-")
    level = next((word for word in words if word == "workspace" or word.startswith("level")), None)
    package = parts[1] if parts[0] == "tangled" and len(parts) > 2 else None
    return {"id": nodeid, "package": package, "level": level, "category": "other", "outcome": "failed",
            "why": "", "name": name, "doc": "", "kind": "ended", "lines": [text], "code": "",
            "test": nodeid.partition("::")[0], "printed": [], "pitfalls": [], "alike": []}
