"""The process in which a learner's file is measured: python -m scripts.desk.contestant --package … --file …

Bounded as a graded run is: memory, time, no other process, no framework, no solution (`grading/guard.py`, `sentry.py`,
`shield.py`). The topic's benchmark is loaded twice, the second time with the learner's functions in the place of
level 2; what that one calls level 2 runs beside the rows of the first, in turns with them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
import types
from pathlib import Path

from scripts.desk.ladder import YOURS, said
from scripts.grading import guard, ledger, processes, sentry, shield
from scripts.grading.chosen import unwritten
from scripts.grading.fixtures import load_graded
from scripts.grading.levels import Unusable
from scripts.recording.beside import beside, recorded

SET_UP, EACH = 60.0, 60.0                       # seconds for preparing a ladder, and for one call of yours


class StandIn(types.ModuleType):
    """The learner's public names, or level 2's; it knows which were asked for."""

    def __init__(self, name: str, mine, level2):
        super().__init__(name)
        vars(self).update(_mine=mine, _level2=level2, _asked=set(), _filled=[])
        self.stand_for(mine)

    def stand_for(self, module) -> None:
        """From now on be this module."""
        for name in self._filled:
            vars(self).pop(name, None)
        vars(self).update(_now=module, _asked=set(), _filled=[])

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        mine = self._now is self._mine and (hasattr(self._mine, name) or not name.startswith("_"))
        value = getattr(self._mine if mine else self._level2, name)
        if mine:
            self._asked.add(name)
        self._filled.append(name)
        vars(self)[name] = value                # the next look-up is a plain one, as a level's is
        return value


def main(argv: list[str]) -> None:
    given = options(argv)
    key = b"" if given.key_from is None else ledger.key_from(given.key_from)
    write, topic = ledger.writer(given.results, key), int(given.package[1:3])
    processes.die_with_parent()
    processes.limit_memory()
    theirs = importlib.import_module(f"tangled.{given.package}.benchmark")
    measuring = importlib.import_module("tangled.measuring")
    level2 = importlib.import_module(f"tangled.{given.package}.level2_vectorized")
    known = recorded(topic)
    write({"start": "the import", "limit": EACH, "time": time.time()})
    try:
        with guard.guarded(EACH, learner=True):
            stand = StandIn(level2.__name__, load_graded(given.file, given.package), level2)
    except Unusable as error:
        print(error)
        write({"end": 1})
        return
    yours = Twin(given.package, stand)
    for ladder in theirs.ladders():
        chosen = not given.only or given.only in ladder.name
        write({"start": ladder.name, "limit": SET_UP + EACH + 20 * given.budget, "time": time.time()})
        call, why = yours.next(chosen and "level 2" in ladder.calls)
        if not chosen or "level 2" not in ladder.calls:
            continue
        if why:
            print(f"\n{topic:02d}  {ladder.name}\nleft out: {why}", flush=True)
            continue
        ladder.calls[YOURS] = call
        shield.hide()
        with guard.guarded(EACH + 20 * given.budget, learner=True):
            result = measuring.measure(ladder, given.budget)
        print("\n" + "\n".join(beside(topic, result, known.get(ladder.name))))
        print(said([vars(row) for row in result.rows]), flush=True)
        write({"ladder": {"topic": topic} | result.as_dict()})
    write({"end": 0})
    sys.stdout.flush()
    os._exit(0)                                 # neither a thread nor a function left for later has the last word


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", required=True)
    parser.add_argument("--file", required=True, type=Path)
    parser.add_argument("--only")
    parser.add_argument("--budget", type=float, default=3.0)
    parser.add_argument("--results", required=True)
    parser.add_argument("--key-from", type=int)
    return parser.parse_args(argv)


class Twin:
    """The ladders again, with the learner's functions; one after the other, whatever happens in one of them."""

    def __init__(self, package: str, stand: StandIn):
        self.stand, self.count = stand, 0
        own = sys.modules[f"tangled.{package}"]
        sys.modules[stand.__name__] = vars(own)["level2_vectorized"] = stand
        path = Path(__file__).resolve().parents[2] / "tangled" / package / "benchmark.py"
        spec = importlib.util.spec_from_file_location(f"tangled.{package}.benchmark_of_yours", path)
        self.module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        stand.stand_for(stand._level2)
        spec.loader.exec_module(self.module)
        self.module.torch_available = lambda: False             # its rows are those of the first
        shield.hide()
        self.ladders = self.module.ladders()

    def next(self, wanted: bool):
        """(what is to be called, "") for the next ladder, or (None, why not)."""
        self.count += 1
        self.stand.stand_for(self.stand._mine if wanted else self.stand._level2)
        try:
            with guard.guarded(SET_UP, learner=True):
                ladder = next(self.ladders)
            if not wanted:
                return None, ""
            call = ladder.calls["level 2"]
            shield.hide()
            with guard.guarded(EACH, learner=True):
                call()
            if sentry.WATCH.seen:
                raise sentry.Forbidden(sentry.WATCH.seen.pop())
        except BaseException as error:
            self.again()
            return None, reason(error)
        return (call, "") if self.stand._asked else (None, "it uses nothing of your file")

    def again(self) -> None:
        """Begin anew, and go to where the last attempt failed, with level 2."""
        self.stand.stand_for(self.stand._level2)
        self.ladders = self.module.ladders()
        for _ in range(self.count):
            next(self.ladders)


def reason(error: BaseException) -> str:
    """Why a ladder cannot be measured, in a line."""
    if name := unwritten(error):
        lacks = "is not written yet" if isinstance(error, NotImplementedError) else "your file does not have"
        return f"it needs {name}, which {lacks}"
    if isinstance(error, guard.TimeLimit):
        return f"one call of yours takes longer than {error.args[0]:g} s"
    text = str(error).split("\n")[0]
    return f"your file raises {type(error).__name__}" + (f": {text}" if text else "")


if __name__ == "__main__":
    main(sys.argv[1:])
