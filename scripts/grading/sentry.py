"""What a learner's code may not do, seen by Python's own audit hook: reach the solution, a framework, a new process.

The hook asks who is at work: going outwards from the event, the first frame that belongs neither to Python's nor
an installed library decides. Is it the learner's (or of no known file), a forbidden event is written down and
raises `Forbidden`; that it was written down is enough for the test to fail, whatever became of the exception.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STARTS = {"os.fork": "os.fork", "os.forkpty": "os.forkpty", "os.posix_spawn": "os.posix_spawn",
          "subprocess.Popen": "subprocess", "os.system": "os.system", "os.exec": "os.exec", "os.spawn": "os.spawn",
          "pty.spawn": "pty.spawn", "book.fork_exec": "multiprocessing"}
C_CALLS = ("fork", "vfork", "clone", "system", "popen", "execve", "execv", "posix_spawn", "_exit", "dlopen")
FILES = ("open", "os.link", "os.symlink", "os.rename", "shutil.copyfile")
HOLDS = {"chapters": "the solution", "build": "the solution", "golden": "the expected values"}
FRAMEWORKS = ("torch", "torchvision", "jax", "jaxlib", "flax", "tensorflow", "keras", "sklearn", "autograd",
              "cupy", "mxnet", "paddle", "tinygrad", "mlx", "theano", "chainer", "scipy", "numba", "onnxruntime",
              "transformers", "safetensors", "torchaudio", "pytorch_lightning", "lightning")
GIVEN = ("checks", "base", "tests")             # modules of a topic that are there for the learner
ALLOWED = "only NumPy, the standard library and earlier topics are allowed here"


class Forbidden(BaseException):
    """The learner's code did what a graded file must not. No Exception: `except Exception` lets it pass."""


class Watch:
    """What is watched in this process: packages whose solution is hidden, and what was seen."""

    def __init__(self):
        self.packages: dict[str, tuple[str, ...] | None] = {}     # package -> its hidden modules; None: all but GIVEN
        self.files: set[str] = set()                              # the learner's files
        self.seen: list[str] = []
        self.processes = 0                                        # how many the running test may start
        self.installed = False


WATCH = Watch()


def watch(path: Path, package: str, hidden: tuple[str, ...] | None = None) -> None:
    """From now on look at what the code of this file does. `hidden`: the solution's modules, by their last names."""
    WATCH.files.add(os.path.realpath(path))
    WATCH.packages[package] = hidden
    if not WATCH.installed:
        WATCH.installed = True
        sys.addaudithook(make_hook(("import", "ctypes.dlsym", *STARTS, *FILES), partial(judged, state=WATCH), WATCH))
        announce_fork_exec()


def announce_fork_exec() -> None:
    """`_posixsubprocess.fork_exec` has no event of its own; multiprocessing calls it."""
    try:
        import _posixsubprocess
    except ImportError:
        return
    kept = _posixsubprocess.fork_exec

    def fork_exec(*arguments):
        sys.audit("book.fork_exec")
        return kept(*arguments)
    _posixsubprocess.fork_exec = fork_exec


def make_hook(events, judge, state: Watch):
    """An audit hook: what `judge(event, arguments)` says of an event of the learner's code is kept, and raised.

    What the hook needs is bound here, before the learner's file is imported.
    """
    events, who, where = frozenset(events), culprit, shown_place
    busy = []

    def hook(event, arguments):
        if event not in events or busy:
            return
        busy.append(True)
        try:
            frame = who(sys._getframe(1), state)
            said = frame and judge(event, arguments)
            if not said:
                return
            said = f"{where(frame)}: {said}"
            state.seen.append(said)
        finally:
            busy.pop()
        raise Forbidden(said)
    return hook


def judged(event: str, arguments: tuple, state: Watch) -> str:
    """Why an event is forbidden to a learner's code, or ""."""
    if event == "import":
        return judged_import(str(arguments[0]), state)
    if event in STARTS:
        if state.processes > 0 and event != "os.exec":
            state.processes -= 1
            return ""
        return f"starts a process ({STARTS[event]}), which graded code must not"
    if event == "ctypes.dlsym":
        name = arguments[1] if len(arguments) > 1 else ""
        return f"starts a process (ctypes: {name}), which graded code must not" if name in C_CALLS else ""
    return next((said for path in arguments[:1 + (event != "open")] if (said := judged_file(path, state))), "")


def judged_import(module: str, state: Watch) -> str:
    """A framework, or the solution?"""
    if module.split(".")[0] in FRAMEWORKS:
        return f"imports {module}; {ALLOWED}"
    return f"imports {module}, which is the solution" if is_hidden(module, state) else ""


def is_hidden(module: str, state: Watch = WATCH) -> bool:
    """Is it a module of a solution?"""
    for package, hidden in state.packages.items():
        own = f"tangled.{package}"
        if module == own and hidden is None:
            return True
        if module.startswith(own + "."):
            stem = module[len(own) + 1:].split(".")[0]
            return stem not in GIVEN if hidden is None else stem in hidden
    return False


def judged_file(path, state: Watch) -> str:
    """Does a file hold the solution, or the expected values?"""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    path = os.path.realpath(os.fsdecode(path))
    if path in state.files:
        return ""
    for package, hidden in state.packages.items():
        mark = f"{os.sep}tangled{os.sep}{package}{os.sep}"
        if mark in path:
            stem = Path(path.partition(mark)[2].replace("__pycache__" + os.sep, "")).name.split(".")[0]
            if (stem not in (*GIVEN, "__init__") if hidden is None else stem in hidden):
                return f"opens {shown(path)}, which holds the solution"
        for folder, what in HOLDS.items():
            start = str(ROOT / folder) + os.sep
            number = Path(path).name.lstrip("t")[:2] == package[1:3]
            if path.startswith(start) and (number or folder == "build") and "records" not in path:
                return f"opens {shown(path)}, which holds {what}"
    return ""


def shown(path: str) -> str:
    """A path relative to the root."""
    return os.path.relpath(path, ROOT).replace(os.sep, "/") if path.startswith(str(ROOT) + os.sep) else path


def shown_place(frame) -> str:
    """`workspace/t27_x.py:12`: the innermost line of the learner's in a stack."""
    return f"{shown(os.path.realpath(frame.f_code.co_filename))}:{frame.f_lineno}"


LIBRARIES = tuple({os.path.realpath(path) + os.sep for path in (
    *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),
    os.path.dirname(sysconfig.__file__))})              # the last: a standard library in a zip file
TRUSTED = tuple(str(ROOT / name) + os.sep for name in ("scripts", "tangled", "tests"))
READS_SOURCE = ("traceback.py", "warnings.py")        # they look up lines to show them
_kinds: dict[str, str] = {}


def kind_of_file(filename: str) -> str:
    """"library", "trusted", or "learner", by the file that a frame's code comes from."""
    if filename not in _kinds:
        if filename.startswith("<") or filename == __file__:
            kind = "library"
        else:
            path = os.path.realpath(filename)
            kind = "library" if path.startswith(LIBRARIES) else "trusted" if path.startswith(TRUSTED) else "learner"
        _kinds[filename] = kind
    return _kinds[filename]


def culprit(frame, state: Watch = WATCH):
    """The learner's frame that caused what happens in `frame`, or None where ours did."""
    while frame is not None:
        filename = frame.f_code.co_filename
        kind = "learner" if filename in state.files else kind_of_file(filename)
        if kind == "learner":
            return frame
        if kind == "trusted" and owned(frame):
            return None
        if kind == "library" and filename.endswith(READS_SOURCE):
            return None
        frame = frame.f_back
    return None


def owned(frame) -> bool:
    """Does a frame run in a module of that name, rather than in code that says it comes from that file?"""
    name = frame.f_globals.get("__name__", "")
    module = sys.modules.get(name)
    return module is None or vars(module) is frame.f_globals or name.startswith(("tangled.", "scripts.", "test_"))
