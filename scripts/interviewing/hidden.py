"""A pytest plugin for the hidden tests: chosen ones alone, on a file that level 2 makes whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.grading.fixtures import package_of
from scripts.interviewing.completing import complete

MEASURES = ("growth_exponent", "time_ratio", "peak_memory")
_complete: set[str] = set()                      # the modules that have been completed


def pytest_addoption(parser) -> None:
    group = parser.getgroup("the book")
    group.addoption("--complete", metavar="NAMES", help="the file holds these functions; the others come from level 2")
    group.addoption("--parts", metavar="STEMS", default="level2_vectorized", help="the modules they come from")
    group.addoption("--chosen", metavar="FILE", help="run the tests alone whose ids FILE holds, one a line")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items) -> None:
    """Keep the chosen tests, and look on while they measure."""
    chosen = set(Path(config.getoption("chosen")).read_text(encoding="utf-8").splitlines())
    drop = [item for item in items if item.nodeid not in chosen]
    config.hook.pytest_deselected(items=drop)
    items[:] = [item for item in items if item.nodeid in chosen]
    for module in {id(item.module): item.module for item in items}.values():
        for name in MEASURES:
            measure = getattr(module, name, None)
            if getattr(measure, "__module__", "") == "tangled.measuring":
                setattr(module, name, looked_on(measure, name))


_measured: list[str] = []                        # by the running test


def looked_on(measure, name: str):
    """The same function; what it gives is written down."""
    def measured(*arguments, **options):
        value = measure(*arguments, **options)
        if name == "growth_exponent":
            _measured.append(f"{options.get('measure', arguments[2] if len(arguments) > 2 else 'time')} "
                             f"grows with the power {value:.2f}")
        else:
            _measured.append(f"{value:.2f} times as long" if name == "time_ratio" else f"{value:,} bytes at the peak")
        return value
    return measured


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    """Tell the record what was measured, the last try of it."""
    _measured.clear()
    try:
        return (yield)
    finally:
        item.user_properties += [("measured", said) for said in dict.fromkeys(_measured[-4:])]


@pytest.fixture
def level(level, request):
    """The reader's functions among the others of the topic."""
    if level.__name__ not in _complete:
        _complete.add(level.__name__)
        complete(level, package_of(request.path), request.config.getoption("parts").split(","),
                 request.config.getoption("complete").split(","))
    return level
