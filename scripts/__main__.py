"""`python -m scripts VERB …`: looks the verb up and calls its module. The Makefile only calls this."""

from __future__ import annotations

import importlib
import os
import sys

from scripts.errors import Problem, Problems
from scripts.tools import environment

VERBS = {  # verb: (module, function, what it does)
    "tangle": ("scripts.tangle", "main", "chapters -> tangled/"),
    "stitch": ("scripts.stitch", "main", "hand edits in tangled/ -> back into the chapters"),
    "render": ("scripts.render", "main", "the book, or one chapter, as HTML, PDF and EPUB into _book/"),
    "preview": ("scripts.preview", "main", "live HTML while writing"),
    "test": ("scripts.test", "main", "all tests, or one topic's report"),
    "start": ("scripts.learn", "start", "a stub of one topic in workspace/"),
    "hint": ("scripts.learn", "hint", "the next hint of a topic"),
    "solution": ("scripts.desk.solution", "main", "one function of the solution, with its chapter line"),
    "progress": ("scripts.learn", "progress", "how far you are"),
    "review": ("scripts.review", "main", "the interview questions as cards, each when it is due"),
    "cards": ("scripts.cards", "main", "the interview questions as a deck for Anki"),
    "watch": ("scripts.watch", "main", "re-tangle and re-test what a save touched"),
    "train": ("scripts.train", "main", "a chapter's end-to-end program"),
    "serve": ("scripts.serve", "main", "a chapter's server, until Ctrl-C"),
    "verify-setup": ("scripts.setup_report", "main", "Python, packages, BLAS, data: what is there"),
    "golden": ("scripts.golden", "main", "regenerate golden outputs with PyTorch"),
    "bench": ("scripts.bench", "main", "the measured ladders"),
    "notebook": ("scripts.notebook", "main", "a chapter as a notebook"),
    "check": ("scripts.check", "main", "every gate"),
}


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m scripts VERB [options]\n")
        for verb, (_, _, what) in VERBS.items():
            print(f"  {verb:14s}{what}")
        return 0 if argv else 2
    if argv[0] not in VERBS:
        import difflib
        near = difflib.get_close_matches(argv[0], VERBS, 1)
        print(f"no verb {argv[0]!r}" + (f"; did you mean {near[0]!r}?" if near else
              f"; there are {', '.join(VERBS)}"), file=sys.stderr)
        return 2
    os.environ.update(environment())            # every tool that is called reads and writes UTF-8
    module, function, _ = VERBS[argv[0]]
    try:
        return getattr(importlib.import_module(module), function)(argv[1:]) or 0
    except (Problem, Problems) as mistake:
        print(mistake, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:                     # `... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
