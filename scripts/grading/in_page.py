"""The topic's tests in a page of the web edition: the same pytest, plugins and report as at the terminal.

A page's Python (Pyodide) has no processes, threads or signals and no chapters at hand. What they are needed for
comes from `page.json`, which `typeset/exercising.py` writes; what cannot be tested here is left out, by name.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
NO_CLOCK = "measures time or memory, which a page cannot"
NO_DATA = "reads a file that the page does not carry"
NARROW = "the book's own solution fails it in a page, whose NumPy is 1.25 with 32-bit integers"
ABSENT = ("requests", "requests.adapters", "urllib3", "urllib3.util", "lzma",
          "matplotlib", "matplotlib.pyplot", "matplotlib.patches", "matplotlib.ticker")
NO_PROCESS = "starts processes or threads, which a page cannot"
SEARCHING = 15.0                                    # seconds for a test's pitfall, by a slower Python
ENDED = (0, 1)                                      # what pytest returns where all tests ran
QUIET = ("-p", "no:faulthandler", "-p", "no:cacheprovider", "--capture=sys")


def prepare() -> dict:
    """What was computed where the chapters were at hand, put where origin and pitfalls look for it."""
    from scripts.grading import pitfalls as diagnosis
    from scripts.tangling import origin, pitfalls
    diagnosis.SECONDS = SEARCHING
    if not hasattr(np.lib, "array_utils"):                  # NumPy 2 has it; the other names are old enough
        np.lib.array_utils = types.SimpleNamespace(byte_bounds=np.byte_bounds)
    for name in ABSENT:                                     # imported by programs and figures, used by no test here
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        sys.modules.setdefault(name, mock.MagicMock(name=name))
    facts = json.loads((ROOT / "page.json").read_text(encoding="utf-8"))
    for target, (path, lines) in facts["rows"].items():
        origin.KNOWN[target] = [(path, line) for line in lines]
    pitfalls.KNOWN[facts["package"]] = {
        p["stem"]: pitfalls.Pitfall(facts["package"], p["stem"], p["number"], p["name"],
                                    ROOT / pitfalls.PITFALLS / facts["package"] / f"{p['stem']}.py", p["place"],
                                    tuple(p["caught"]))
        for p in facts["pitfalls"]}
    return facts


class Page:
    """A pytest plugin: what happens is told to the page, what cannot run in one is left out."""

    def __init__(self, tell):
        self.tell, self.absent = tell, {}               # test file -> why it cannot be imported here

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config) -> None:
        config.pluginmanager.get_plugin("the-book-report").write = self.tell

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items) -> None:
        for item in items:
            if why := self.reason(item):
                item.add_marker(pytest.mark.skip(reason=why))
            item.repr_failure = lambda *_, **__: ""         # the report tells it; pytest's own text takes longer

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        """A file of tests that cannot be imported is left out: it does not import the learner's."""
        report = yield
        if report.failed and isinstance(collector, pytest.Module):
            said = [line[1:].strip() for line in str(report.longrepr).split("\n") if line.startswith("E ")]
            self.absent[collector.path.name] = said[0] if said else "cannot be imported"
            report.outcome, report.longrepr, report.result = "passed", None, []
        return report

    def reason(self, item) -> str:
        """Why a test is left out, or ""."""
        if item.get_closest_marker("performance"):
            return NO_CLOCK
        if item.get_closest_marker("processes"):
            return NO_PROCESS
        return ""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        """A test on which the solution fails in this page as well says nothing of the learner's file."""
        report = yield
        if report.failed and call.when == "call" and "level" in item.fixturenames:
            from scripts.grading import accidents, fixtures, pitfalls
            error = accidents.innermost(call.excinfo.value)
            level2 = f"tangled.{fixtures.package_of(item.path)}.level2_vectorized"
            if type(pitfalls.failure_on(level2, item, pitfalls.SECONDS)) is type(error):
                report.outcome, report.longrepr = "skipped", (str(item.path), 0, f"Skipped: {why_not(error)}")
        return report


def why_not(error: BaseException) -> str:
    """Why the book's own solution fails a test in a page."""
    if isinstance(error, FileNotFoundError):
        return NO_DATA
    text = str(error)
    return NO_PROCESS if "start new thread" in text or "does not support processes" in text else NARROW


def run(text: str, tell=lambda what: None) -> dict:
    """Grade a text as the workspace's file: {"status", "report"}; `tell` gets each entry of the ledger."""
    facts = prepare()
    file = ROOT / "workspace" / f"{facts['package']}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    os.chdir(ROOT)
    entries: list[dict] = []

    def note(what: dict) -> None:
        entries.append(what)
        tell(what)
    heard = io.StringIO()
    page = Page(note)
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
        status = pytest.main([f"tangled/{facts['package']}", "--impl", "workspace", *QUIET],
                             plugins=[page])
    result = told(entries, int(status), False, heard.getvalue())
    result["report"] += [f"left out in a page: {name} ({why})" for name, why in page.absent.items()]
    return result | {"absent": sorted(page.absent)}


def unfinished(entries: list[dict]) -> dict:
    """The same of a run that the page had to end, from what it had told by then."""
    prepare()
    return told(entries, None, True, "")


def told(entries: list[dict], status: int | None, hung: bool, heard: str) -> dict:
    """Verdict and report of a run, from its entries; what pytest said where it ran no test."""
    from scripts.grading.parent import verdict
    from scripts.grading.report_table import named, report
    found = verdict(entries, 0, status, hung, 0, graded=True)
    lines = report(found.records, "workspace")
    if not hung and status not in ENDED:                    # pytest itself has something to say
        lines += heard.strip().split("\n")[-20:]
    return {"status": found.status, "report": [*lines, *(f"FAILED  {line}" for line in found.said)],
            "passed": found.count("passed"), "failed": found.count("failed"), "records": found.records,
            "named": named(found.records)}


if __name__ == "__main__":                                  # a try at the terminal: python -m scripts.grading.in_page
    print("\n".join(run(sys.stdin.read())["report"]))
