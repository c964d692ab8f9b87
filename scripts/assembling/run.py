"""The process of `make train`: python -m scripts.assembling.run MODULE '{"package": "file"}' ARGS

With IMPL=workspace it is told the reader's files, which the parent has graded; else the braces are empty. Standard
library only until the finder is in place.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

from scripts.assembling.imports import LEVEL2, Finder


def main(argv: list[str]) -> None:
    """Run a program with the packages named: the reader's file where there is one, else level 2."""
    module, files, *rest = argv
    given = json.loads(files)
    sys.meta_path.insert(0, Finder({p: Path(f) for p, f in given.items() if f}, set(given)))
    sys.argv = [module, *rest]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:                           # of a program that has nothing to keep
        print("\ninterrupted")
        raise SystemExit(130) from None
    except ImportError as error:
        if not given or LEVEL2 not in (error.name or ""):
            raise
        raise SystemExit(f"{module} takes from level 3 what level 2 has not ({str(error).partition(' (')[0]}): "
                         "it cannot be put together from your files") from None


if __name__ == "__main__":
    main(sys.argv[1:])
