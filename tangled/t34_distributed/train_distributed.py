# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:e2357616b82e377b
"""A small GPT on several ranks: python -m tangled.t34_distributed.train_distributed --help"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from tangled.records import store_run
from tangled.t34_distributed import engines
from tangled.t34_distributed.local import WorkerError
from tangled.t34_distributed.training import SETTINGS

TARGET, SYMBOLS = "tangled.t34_distributed.training:work", 120_000
COMPARED = 40                                                   # steps of each engine, for the record


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a small GPT on several ranks; resumes by itself.")
    parser.add_argument("--engine", choices=engines.ENGINES, default="local", help="default local")
    parser.add_argument("--ranks", type=int, help="default 2; under mpiexec, what it has started")
    for name, default in SETTINGS.items():
        if isinstance(default, bool):
            parser.add_argument("--" + name, action="store_true", help="moments in shares")
        else:
            parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default,
                                help=f"default {default}")
    parser.add_argument("--symbols", type=int, help="so many characters of the plays only")
    parser.add_argument("--fresh", action="store_true", help="start anew")
    parser.add_argument("--seconds", type=float, default=20.0, help="a rank waits for another (default 20)")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for the whole run (default 1800)")
    parser.add_argument("--record", action="store_true", help="compare engines and ranks; golden/records/t34.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    given = parser.parse_args(argv)
    for name in ("width", "heads", "layers", "context", "batch", "micro", "steps", "every"):
        if getattr(given, name) < 1:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least 1")
    return given


def path_of(given, settings):
    """Where the checkpoint of these settings lives; it does not depend on engine and ranks."""
    which = {"symbols": given.symbols, **settings}
    digest = hashlib.sha256(json.dumps(which, sort_keys=True).encode()).hexdigest()[:8]
    path = Path(given.folder) / f"distributed-{digest}.npz"
    if given.fresh:
        path.unlink(missing_ok=True)
    return path


def perform(given):
    """Train, and say what came of it."""
    settings = {name: getattr(given, name) for name in SETTINGS}
    if given.record:
        return record(settings)
    ranks = given.ranks or (None if given.engine == "mpi" else 2)
    arguments = {"settings": settings, "path": str(path_of(given, settings)), "symbols": given.symbols}
    found = engines.run(given.engine, ranks, TARGET, arguments, given.seconds, given.limit)
    if given.engine != "mpi" or engines.MPIGroup().rank == 0:
        losses = found[0]["losses"]
        print(f"{given.engine}: {len(losses)} steps, loss {losses[0]:.4f} to {losses[-1]:.4f}; "
              f"held out {found[0]['held']:.4f} nats a symbol; {found[0]['moments']:,} numbers of moments on rank 0")


def record(settings):
    """One process, ranks over memory and sockets, moments in shares, MPI and gloo: the same weights?"""
    settings |= {"steps": COMPARED, "dtype": "float64", "batch": 23}
    ask = {"settings": settings, "symbols": SYMBOLS, "weights": True}
    from tangled.t34_distributed.group import Group
    from tangled.t34_distributed.training import work
    alone, values = work(Group(), **ask), {}
    trials = (("2 ranks", 2, {}), ("4 ranks", 4, {}), ("2 ranks, sockets", 2, {"way": "sockets"}),
              ("2 ranks, moments in shares", 2, {"sharded": True}), ("2 ranks, gloo", 2, {"way": "gloo"}),
              ("2 ranks, MPI", 2, {"way": "mpi"}))
    for name, ranks, how in trials:
        way, sharded = how.get("way", "memory"), how.get("sharded", False)
        asked = ask | {"settings": settings | {"sharded": sharded}}
        found = by_mpi(ranks, asked) if way == "mpi" else engines.spawn(ranks, TARGET, asked, 60.0, 600.0, way)
        if found:
            apart = np.abs(np.array(found[0]["weights"]) - np.array(alone["weights"])).max()
            values[name] = {"weights apart": float(apart), "moments": found[0]["moments"]}
            print(f"{name}: weights differ from one process's by at most {apart:.1e}", flush=True)
    values |= {"parameters": len(alone["weights"]), "steps": COMPARED, "batch": 23,
               "losses": [alone["losses"][0], alone["losses"][-1]]}
    store_run(34, "train_distributed", values=values)


def by_mpi(ranks, asked):
    """The result of rank 0 under mpiexec, in a list; None where MPI is not installed."""
    import subprocess
    import tempfile
    mpiexec = mpiexec_of()
    if mpiexec is None:
        print("mpiexec is not there: MPI is left out")
        return None
    with tempfile.TemporaryDirectory() as folder:
        asking, answer = Path(folder) / "ask.json", Path(folder) / "answer.json"
        asking.write_text(json.dumps(asked))
        command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "tangled.t34_distributed.under_mpi"]
        subprocess.run([*command, str(asking), str(answer)], check=True, timeout=600)
        return [json.loads(answer.read_text())]


def mpiexec_of():
    """The mpiexec beside this Python, or one on the path, where mpi4py is installed too; or None."""
    import importlib.util
    import shutil
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    return found if importlib.util.find_spec("mpi4py") else None


def main(argv=None):
    """The command; the exit status."""
    try:
        perform(parse(argv))
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last checkpoint")
        return 130
    except WorkerError as error:
        print(f"{error}; the same command goes on from the last checkpoint", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    raise SystemExit(main())
