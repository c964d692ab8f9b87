"""`python -m scripts VERB …`: looks the verb up, sets up what it needs and calls its module. make only calls this.

Readable by Python 3.6 up to the point where the Python of `.venv` has taken over.
"""

import importlib
import os
import sys

from scripts import door
from scripts.verbs import Unknown, find, options


def main(argv):
    name, words = (argv[0], argv[1:]) if argv else ("help", [])
    if name in ("-h", "--help"):
        name = "help"
    patient_streams()
    try:
        verb = find(name)
        given = options(name, words, os.environ.get("BOOK_GOALS", "").split())
    except Unknown as mistake:
        print(mistake, file=sys.stderr)
        return 2
    parts = verb.parts.split() + ([] if "--topic" in given else verb.all_parts.split())
    status = door.enter(parts, argv)
    if status is None:
        os.environ.pop("BOOK_GOALS", None)      # of this call of make alone, not of what the verb starts
        status = run(verb, given)
    return status if argv else 2


def patient_streams():
    """A character that the console can't show (cp1252, say) is written as its escape, and ends nothing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def run(verb, argv):
    """Call the verb's function; a mistake of the user's is one line."""
    from scripts.errors import Problem, Problems
    from scripts.tools import environment
    os.environ.update(environment())            # every tool that is called reads and writes UTF-8
    try:
        return getattr(importlib.import_module(verb.module), verb.function)(argv) or 0
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
