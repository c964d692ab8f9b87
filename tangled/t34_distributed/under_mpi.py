# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:906c2152fd81bc09
"""Chapter 34: a rank under mpiexec: python -m tangled.t34_distributed.under_mpi ask.json answer.json"""

import json
import sys
from pathlib import Path

from tangled.t34_distributed.engines import run
from tangled.t34_distributed.group import Group  # noqa: F401  (what MPIGroup is a kind of)


def main(argv):
    """Do what ask.json says: "target", default training, and its arguments; rank 0 writes the answer."""
    asked = json.loads(Path(argv[0]).read_text())
    target = asked.pop("target", "tangled.t34_distributed.training:work")
    (found,) = run("mpi", None, target, asked)
    from mpi4py import MPI
    if MPI.COMM_WORLD.rank == 0:
        Path(argv[1]).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
