"""The whole run in two processes of pytest-xdist: the options that ask for them, and what is different in such a one.

Each takes the next file of tests when it has done its last. It makes the records, and pytest-xdist hands them on with
the reports, to the process that prints; where one dies, that test has failed and no further file is begun.
"""

from __future__ import annotations

import contextlib
import os

SHARED = ["-c", "pyproject.toml", "-p", "xdist", "--dist", "loadfile", "--no-loadscope-reorder",
          "--max-worker-restart", "0"]                # -c: or they look for it beside the file of --results
MOST = 2                                              # processes that run tests, on however many cores
BY_HAND = {"-s", "--capture=no", "--pdb", "--trace"}  # need the terminal


def options(rest: list[str]) -> list[str]:
    """What pytest is told for the run of everything: two processes, where there are two cores to run them."""
    if (os.cpu_count() or 1) < MOST or BY_HAND & set(rest):
        return []
    return [*SHARED, "-n", str(MOST)]


def is_share(config) -> bool:
    """Is this one of the processes that run tests for another?"""
    return hasattr(config, "workerinput")


@contextlib.contextmanager
def ended_after(seconds: float):
    """End this process where the block takes longer, even if Python cannot be interrupted. 0: never."""
    if not seconds:
        yield
        return
    import faulthandler  # a page has none

    with open(os.dup(2), "w") as errors:
        faulthandler.dump_traceback_later(seconds, exit=True, file=errors)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
