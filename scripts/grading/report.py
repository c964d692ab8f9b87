"""A pytest plugin: the table of levels by category, failures with chapter lines, the diagnosis.

It keeps one record for each test (see `report_table.py`) and with `--results FILE` also writes them as they come
(see `ledger.py`): {"collected": ids}, {"start": id, "limit": s}, {"test": record}, and at the end {"end": status}.
For a learner's file the process that started this one decides from them; see `parent.py`. A record travels with the
report of its test's last phase, from whichever process ran it; see `sharing.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

import pytest

from scripts.grading import accidents, guard, ledger, pitfalls, processes, sentry, sharing, shield
from scripts.grading.fixtures import CATEGORIES, CHOSEN, package_of
from scripts.grading.report_table import ended, report

LIMITS = {"levels": 120.0, "workspace": 10.0}         # seconds a test
MEASURING = 60.0                                      # seconds at least for a test that measures, and tries again
TIRED, TIRED_LIMIT = 2, 2.0                           # after so many time-outs, less time for each
PRINTED = 6                                           # lines shown of what a failing test printed
WRONG = ("mismatch", "assertion", "error")            # what a pitfall may explain
RESULT = pytest.StashKey[accidents.Accident]()


def pytest_addoption(parser) -> None:
    group = parser.getgroup("the book")
    group.addoption("--limit", type=float, help="time limit of each test in seconds (0: none)")
    group.addoption("--results", metavar="FILE", help="write what happens to FILE, one JSON object a line")
    group.addoption("--key-from", type=int, metavar="FD", help="sign these lines with the key that FD gives")


def pytest_configure(config) -> None:
    config.pluginmanager.register(Report(config), "the-book-report")
    if config.getoption("impl") != "levels" or config.getoption("exercises"):
        processes.limit_memory()


class Report:
    """The records of a run, and the hooks that fill and print them."""

    def __init__(self, config):
        self.config = config
        self.impl = config.getoption("impl")
        self.learner = self.impl != "levels" or config.getoption("exercises")     # what runs is not to be trusted
        self.records: list[dict] = []
        self.current, self.phases = "", []
        self.timeouts = 0
        self.deselected = self.broken = 0
        self.ended = None
        self.share = sharing.is_share(config)
        path, descriptor = None if self.share else config.getoption("results"), config.getoption("key_from")
        key = b"" if descriptor is None else ledger.key_from(descriptor)
        if key or self.share:
            processes.die_with_parent()
        self.write = ledger.writer(path, key) if path else lambda what: None
        self.leave = os._exit if key else None             # at the end, whatever threads are left
        self.pid, self.threads = os.getpid(), guard.threads()

    # -- around each phase of a test

    def limit_of(self, item) -> float:
        """Seconds that a test may take: its marker, the option, or the default."""
        marker = item.get_closest_marker("limit")
        given = self.config.getoption("limit")
        seconds = given if given is not None else LIMITS.get(self.impl, LIMITS["workspace"])
        if marker and given is None:
            seconds = float(marker.args[0])
        if given is None and item.get_closest_marker("performance"):
            seconds = max(seconds, MEASURING)
        return min(seconds, TIRED_LIMIT) if self.timeouts >= TIRED and self.learner else seconds

    def guarded(self, item):
        """The guard around setup or call of an item of a topic; nothing around the tests of the tools."""
        if package_of(item.path) is None:
            return guard.guarded(0, learner=False)
        def pause():
            self.write({"start": item.nodeid, "limit": 0, "time": time.time()})
        return guard.guarded(self.limit_of(item), self.learner, pause)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self, item):
        limit = self.limit_of(item) if package_of(item.path) else 0
        self.write({"start": item.nodeid, "limit": limit, "time": time.time()})
        with self.guarded(item):
            return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item):
        with self.guarded(item), self.graded(item):
            return (yield)

    @contextlib.contextmanager
    def graded(self, item):
        """Around a test of a learner's file: whatever would leave without a failure, or leaves something, is one."""
        if not self.learner or package_of(item.path) is None:
            yield
            return
        marker = item.get_closest_marker("processes")
        sentry.WATCH.processes = marker.args[0] if marker else 0
        shield.hide()
        try:
            yield
        except BaseException as error:
            if said := guard.leaving(error):
                raise guard.Quit(said).with_traceback(error.__traceback__) from None
            raise
        finally:
            if os.getpid() != self.pid:                    # a copy of this process, made by fork
                self.kill_copy()
        self.look_round("monkeypatch" in item.fixturenames)

    def look_round(self, patched: bool) -> None:
        """What the code under test did besides computing: forbidden, left over, replaced."""
        if seen := sentry.WATCH.seen:
            said, seen[:] = seen[0], []
            raise sentry.Forbidden(said)
        if said := guard.left_over(self.threads):
            raise guard.LeftOver(f"the code under test {said}")
        if not patched and (names := shield.replaced()):
            raise guard.LeftOver(f"the code under test replaced {', '.join(names[:4])}")

    def kill_copy(self) -> None:
        """End a copy of this process before it runs the tests a second time."""
        os.kill(os.getpid(), 9)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session) -> None:
        self.write({"collected": [item.nodeid for item in session.items]})

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config) -> None:
        """End a graded run here: neither a thread nor a function left for later may have the last word."""
        if self.leave and self.ended is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            self.leave(self.ended)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Explain a failure; with the last phase goes the record of all."""
        result = self.explained(item, call, (yield))
        if call.when == "teardown":
            result.record = json.dumps(record_of(item, [*self.phases, result]))
        return result

    def explained(self, item, call, result):
        """Name the accident, look for a pitfall, put chapter lines into pytest's own traceback."""
        if call.excinfo is None or not result.failed:
            return result
        rename(result.longrepr)
        package = package_of(item.path)
        if package is None:
            return result
        if call.when == "setup":
            result.when = "call"               # the level could not be loaded: a failure like any other
        if waiting := self.waits_for(call.excinfo.value):
            result.outcome = "skipped"
            result.longrepr = str(item.path), 0, f"Skipped: also needs {waiting}, which is not written yet"
            return result
        found = accidents.describe(call.excinfo.value, item, package, self.impl_path(package))
        self.timeouts += found.kind == "time"
        measured = category_of(item) == "performance"     # two measurements may fail alike for different reasons
        if call.when == "call" and "level" in item.fixturenames and found.kind in WRONG and not measured:
            found.pitfalls, found.alike = self.pitfalls(call.excinfo.value, item, package)
        item.stash[RESULT] = found
        return result

    def waits_for(self, error: BaseException) -> str:
        """Another function that a test needs and that is not written yet, where one is tested alone."""
        only = self.config.stash[CHOSEN]
        return only.waits_for(accidents.innermost(error)) if only else ""

    def pitfalls(self, error, item, package: str) -> tuple[list[dict], list[dict]]:
        """The pitfalls that a failure equals, and those whose words it has, ready for the report."""
        equal, alike = ([{"number": p.number, "name": p.name, "place": p.place} for p in found]
                        for found in pitfalls.matching(error, item, package))
        return equal, alike

    def impl_path(self, package: str) -> str:
        """The file under test, where it is not a level."""
        if self.impl == "levels":
            return ""
        name = package + "_exercises" * self.config.getoption("exercises") + ".py"
        return str(accidents.ROOT / "workspace" / name) if self.impl == "workspace" else self.impl

    # -- records

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        self.current, self.phases = item.nodeid, []
        limit = self.limit_of(item) if self.share and package_of(item.path) else 0
        with sharing.ended_after(limit and processes.PATIENCE * limit + processes.GRACE):
            return (yield)

    def pytest_runtest_logreport(self, report) -> None:
        """Of a test that runs here: its phases. Of any, with the last of them: its record."""
        if report.nodeid == self.current:
            self.phases.append(report)
        if record := getattr(report, "record", None):
            self.keep(json.loads(record))
        elif report.when not in ("setup", "call", "teardown"):                     # pytest-xdist: its process died
            why = "its process was ended (out of memory, or no end); the run ends here"
            self.keep(ended(report.nodeid, why))

    def pytest_deselected(self, items) -> None:
        self.deselected += len(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node) -> None:
        """A process that ran tests for this one is done: how many it left out."""
        self.deselected = max(self.deselected, getattr(node, "workeroutput", {}).get("deselected", 0))

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.broken += 1
            rename(report.longrepr)

    def keep(self, record: dict) -> None:
        """One more record, here and in the results file."""
        self.records.append(record)
        self.write({"test": record})

    # -- at the end

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus) -> None:
        """No test run is a failure: skipping everything is no success."""
        ran = any(r["outcome"] != "skipped" for r in self.records)
        if int(exitstatus) == 0 and not ran and not self.config.option.collectonly:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        self.ended = int(session.exitstatus)
        self.write({"end": self.ended, "broken": self.broken})
        if self.share:
            self.config.workeroutput["deselected"] = self.deselected

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter, config):
        """Ours for the topics' tests; pytest's own for the rest, or where --tb asks for it."""
        failed = terminalreporter.stats.get("failed", [])
        own = config.option.tbstyle == "auto" and self.records
        if own:
            topics = {r["id"] for r in self.records if r["package"]}
            terminalreporter.stats["failed"] = [r for r in failed if r.nodeid not in topics]
        try:
            result = yield
        finally:
            if own:
                terminalreporter.stats["failed"] = failed
                if not failed:
                    del terminalreporter.stats["failed"]
        self.show(terminalreporter)
        return result

    def show(self, terminal) -> None:
        """Print the report, or why there is none."""
        lines = report(self.records, self.impl)
        if lines:
            terminal.ensure_newline()
        for line in lines:
            terminal.write_line(line)
        if not any(r["outcome"] != "skipped" for r in self.records) and not self.config.option.collectonly:
            terminal.ensure_newline()
            terminal.write_line(self.nothing_ran())
        elif lines:
            terminal.write_line("")

    def nothing_ran(self) -> str:
        """Why no test ran, in one line."""
        if self.records:
            why = next((r["why"] for r in self.records if r["why"]), "")
            return f"no test ran: all {len(self.records)} were skipped" + (f" ({why})" if why else "")
        if self.broken:
            return "no test ran: a test file could not be imported"
        left = f": {self.deselected} were left out by the options" if self.deselected else ""
        return "no test ran" + left


def category_of(item) -> str:
    """The category that a test is marked with."""
    return next((name for name in CATEGORIES if item.get_closest_marker(name)), "other")


def record_of(item, phases) -> dict:
    """What is kept of a test that has run."""
    failed = next((p for p in phases if p.failed), None)
    skip = next((p for p in phases if p.skipped), None)
    why = skip_reason(skip)
    outcome = "failed" if failed else "passed" if not skip else \
        "unmeasured" if why.startswith("not measured: ") else "skipped"
    params = getattr(getattr(item, "callspec", None), "params", {})
    chosen = params.get("level", params.get("exercises"))
    level = chosen if isinstance(chosen, str) else None                              # or an empty set
    accident = item.stash.get(RESULT, None) if failed else None
    record = {"id": item.nodeid, "package": package_of(item.path), "level": level, "outcome": outcome,
              "category": category_of(item), "name": short_name(item, level), "doc": doc_of(item),
              "measured": [value for name, value in item.user_properties if name == "measured"],
              "why": why, "kind": "", "lines": [], "code": "", "test": "", "pitfalls": [], "alike": [],
              "printed": printed(failed)}
    if accident:
        record |= {"kind": accident.kind, "lines": accident.lines, "code": accident.code,
                   "test": accident.test, "pitfalls": accident.pitfalls, "alike": accident.alike}
    return record


def short_name(item, level) -> str:
    """`test_rope[half]`: without the level, which stands beside it."""
    name, bracket, rest = item.name.partition("[")
    parts = [part for part in rest.rstrip("]").split("-") if part != level]
    return name + (f"[{'-'.join(parts)}]" if bracket and parts else "")


def doc_of(item) -> str:
    """The first line of the test's docstring."""
    doc = (getattr(item.function, "__doc__", "") or "").strip() if hasattr(item, "function") else ""
    return doc.split("\n")[0].rstrip(".")


def skip_reason(phase) -> str:
    """Why a test was skipped."""
    if phase is None or not isinstance(phase.longrepr, tuple):
        return ""
    return phase.longrepr[2].removeprefix("Skipped: ").rpartition("NotMeasured: ")[2]


def printed(phase) -> list[str]:
    """The last lines that a failing test printed."""
    if phase is None:
        return []
    text = f"{phase.capstdout}\n{phase.capstderr}".encode("ascii", "backslashreplace").decode()
    lines = [x.rstrip() for x in text.splitlines() if x.strip()]
    more = [f"... ({len(lines) - PRINTED} lines before)"] if len(lines) > PRINTED else []
    return more + lines[-PRINTED:]


def rename(longrepr) -> None:
    """Put chapter and line in place of those of generated files, in a traceback that pytest made."""
    for chain in getattr(longrepr, "chain", None) or [(getattr(longrepr, "reprtraceback", None), None, None)]:
        for entry in getattr(chain[0], "reprentries", None) or []:
            spot = getattr(entry, "reprfileloc", None)
            if spot and "tangled" in spot.path:
                shown = accidents.place(str(accidents.ROOT / spot.path), spot.lineno)
                path, _, line = shown.rpartition(":")
                if path.endswith(".qmd"):
                    spot.message = f"{spot.message} ({spot.path}:{spot.lineno})"
                    spot.path, spot.lineno = path, int(line)


