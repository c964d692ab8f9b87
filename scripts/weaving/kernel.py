"""One chapter's cells run in one Jupyter kernel, by this interpreter, whatever kernels are installed."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from scripts.errors import Problem
from scripts.weaving.figure_style import MARK

TOOLS = Path(__file__).resolve().parents[2]
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
              "VECLIB_MAXIMUM_THREADS")
STYLE = "__import__('scripts.weaving.figure_style').weaving.figure_style"
PRELUDE = f"{STYLE}.set_up(get_ipython())"
CLOCK = ("get_ipython().marks = []; get_ipython().events.register("        # processor seconds behind each cell, with
         "'post_run_cell', lambda _: get_ipython().marks.append(sum(__import__('os').times()[:4])))")   # its children's
MARKS = "print(*get_ipython().marks)"
ADDRESS = re.compile(r"(?<= at )0x[0-9a-f]{6,}")
QUIET = logging.getLogger("book.cells")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False                                 # failures are told as Problems, once
STARTS = 0                                              # kernels started by this process (the tests count)


@dataclass
class Unit:
    """What is run as one: a cell, or an inline expression (line: its fence; first: its first code line)."""
    source: str
    line: int
    first: int
    options: dict = field(default_factory=dict)
    inline: bool = False

    @property
    def program(self) -> str:
        return f"{STYLE}.show_inline({self.source}\n)" if self.inline else self.source


@dataclass
class Run:
    outputs: list[list[dict]]                           # of each unit, in nbformat's form
    seconds: float = 0.0
    each: list[float] = field(default_factory=list)     # of each unit, of the processor


def environment(root: Path) -> dict[str, str]:
    """The kernel's environment: the repository first on the path, one BLAS thread, steady memory."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONSTARTUP", "MPLBACKEND")}
    env |= dict.fromkeys(ONE_THREAD, "1")
    env |= {"PYTHONPATH": os.pathsep.join(dict.fromkeys([str(root), str(TOOLS)])), "PYTHONHASHSEED": "0",
            "MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824",
            "MALLOC_TOP_PAD_": "67108864",
            "IPYTHONDIR": str(root / ".cache" / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "COLUMNS": "88", "NO_COLOR": "1", "TZ": "UTC"}
    return env


def _manager(root: Path):
    """A kernel manager whose kernel is this interpreter's own ipykernel."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class OwnSpec(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            argv = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher",
                    "-f", "{connection_file}", "--HistoryManager.enabled=False", "--log-level=ERROR"]
            return KernelSpec(argv=argv, display_name="Python 3", language="python",
                              interrupt_mode="signal")

    return AsyncKernelManager(kernel_name="book", kernel_spec_manager=OwnSpec())


async def run(path: str, units: list[Unit], root: Path, limit: int, details: bool = False) -> Run:
    """Run one chapter's units in order; raise the Problem of the first that fails."""
    global STARTS
    import time

    import nbformat
    from nbclient import NotebookClient
    start = time.perf_counter()
    owners = [None, None, *units, None]
    programs = [PRELUDE, CLOCK, *(u.program for u in units), MARKS]
    cells = [nbformat.v4.new_code_cell(text) for text in programs]
    for unit, cell in zip(owners, cells):
        if unit and unit.options.get("error"):
            cell.metadata["tags"] = ["raises-exception"]
    book = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(book, km=_manager(root), timeout=limit, startup_timeout=120,
                            resources={"metadata": {"path": str(root)}}, shutdown_kernel="immediate",
                            coalesce_streams=True, log=QUIET)
    STARTS += 1
    (root / ".cache" / "ipython").mkdir(parents=True, exist_ok=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    async with client.async_setup_kernel(cleanup_kc=True, env=environment(root), **quiet):
        for n, (unit, cell) in enumerate(zip(owners, cells)):
            await _run_cell(client, cell, n, path, unit, root, limit, details)
    marks = map(float, cells[-1].outputs[0]["text"].split())
    each = [after - before for before, after in itertools.pairwise(marks)]
    return Run([_plain(c.outputs) for c in cells[2:-1]], time.perf_counter() - start, each)


async def _run_cell(client, cell, n, path, unit, root, limit, details) -> None:
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    line = unit.line if unit else 0
    limit = int(unit.options.get("time-limit", limit)) if unit else limit
    client.timeout = limit
    try:
        await client.async_execute_cell(cell, n)
    except CellExecutionError as failure:
        raise _problem(path, unit, cell, failure, root, details) from None
    except CellTimeoutError:
        raise Problem(path, line, f"this cell ran longer than {limit} s; make it smaller, or give it "
                                  "`#| time-limit: SECONDS`") from None
    except DeadKernelError:
        raise Problem(path, line, "the kernel died in this cell (out of memory, or the cell ended "
                                  "the process)") from None


def _problem(path, unit, cell, failure, root, details) -> Problem:
    """The failing statement's line in the chapter, and the error's text on one line."""
    if unit is None:
        return Problem(path, 0, f"the kernel could not be prepared: {failure.ename}: {failure.evalue}")
    output = next((o for o in reversed(cell.outputs) if o["output_type"] == "error"), {})
    place, text = _place(output.get("traceback", []))
    line = unit.line if unit.inline else unit.first + (place.get("line") or 1) - 1
    message = f"{failure.ename}: {' '.join(str(failure.evalue).split())}"
    inner = _relative(place.get("file", ""), root)
    if inner:
        message += f" (raised in {_in_chapter(inner, place['inner'], root)})"
    what = f"`{{python}} {unit.source}` failed" if unit.inline else "cell failed"
    return Problem(path, line, f"{what}: {message}" + (f"\n{text}" if details and text else ""))


def _place(trace: list[str]) -> tuple[dict, str]:
    if trace and trace[0].startswith(MARK):
        return json.loads(trace[0][len(MARK):]), "\n".join(trace[1:])
    return {}, "\n".join(trace)


def _relative(file: str, root: Path) -> str | None:
    try:
        inner = Path(file).relative_to(root).as_posix()
    except ValueError:
        return None
    return inner if inner.startswith("tangled/") else None


def _in_chapter(inner: str, line: int, root: Path) -> str:
    """The chapter's line of a tangled one, where tangle knows it."""
    try:
        from scripts.tangling.origin import locate
        found = locate(root / inner, line, root)
    except Exception:
        found = None
    return f"{found[0]}:{found[1]}" if found and found[1] else f"{inner}:{line}"


def _plain(outputs) -> list[dict]:
    """Outputs as plain JSON, whatever the run was: no counts, no metadata, no addresses in memory."""
    kept = []
    for output in json.loads(json.dumps(outputs)):
        output = {k: v for k, v in output.items() if k not in ("metadata", "execution_count", "transient")}
        if output["output_type"] == "error":
            output["traceback"] = []
        if "text/plain" in output.get("data", {}):
            output["data"]["text/plain"] = ADDRESS.sub("0x...", "".join(output["data"]["text/plain"]))
        kept.append(output)
    return kept
