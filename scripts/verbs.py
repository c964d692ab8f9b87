"""The verbs: what each runs, which variables it takes and which parts of the set-up it needs. The one list of them.

`make test TOPIC=27 ARGS="-k rope"`, `python -m scripts test TOPIC=27 ARGS="-k rope"` and `python -m scripts test
--topic 27 -k rope` are one command: make hands its variables on as they are, and here they become options, `TOPIC=27`
`--topic 27`. Help, completion and the tasks of editors are drawn from this list. Kept to the standard library and to
what Python 3.6 can read, for it is read before anything is set up.
"""

import difflib
import os
import re
import shlex
from typing import NamedTuple


class Verb(NamedTuple):
    """`takes`: its variables in order, `--` where what follows is a program's own; `parts`: which extras it needs."""

    module: str
    function: str
    takes: str
    parts: str
    group: str
    what: str
    all_parts: str = ""                    # needed as well where no topic is named


EVERYTHING = "test book parallel review reference mpi"
SWITCHES = ("EXERCISES", "FORCE", "REVEAL")          # EXERCISES=1 is --exercises, EXERCISES=0 nothing
OFF = ("0", "no")
READING, TEACHING, WRITING, SET_UP = "reading and learning", "teaching", "writing", "set-up"
GROUPS = (READING, TEACHING, WRITING, SET_UP)

VERBS = {
    "render": Verb("scripts.render", "main", "TOPIC ENGINE PAPER ARGS", "book", READING,
                   "the book as HTML, PDF and EPUB into _book/, or one chapter (TOPIC=27, ENGINE=, PAPER=)"),
    "test": Verb("scripts.test", "main", "TOPIC IMPL LEVEL ONLY EXERCISES ARGS", "test", READING,
                 "all tests, or one topic's report (TOPIC=27, IMPL=workspace, LEVEL=2, ONLY=rope, EXERCISES=1)",
                 "book parallel"),
    "start": Verb("scripts.learn", "start", "TOPIC EXERCISES FORCE RESET", "test", READING,
                  "your own file for a topic, signatures given, bodies to be written (TOPIC=27, EXERCISES=1, FORCE=1; "
                  "RESET=rope: one of them again)"),
    "hint": Verb("scripts.learn", "hint", "TOPIC N", "test", READING,
                 "the next hint of a topic, or the Nth (TOPIC=27, N=2)"),
    "solution": Verb("scripts.desk.solution", "main", "TOPIC ONLY", "test", READING,
                     "one function of the solution, after giving up (TOPIC=27, ONLY=rope)"),
    "compare": Verb("scripts.compare", "main", "TOPIC LEVEL ONLY REVEAL", "test", READING,
                    "your functions beside a level's once they are right, and what both cost (TOPIC=9, LEVEL=3, "
                    "ONLY=f, REVEAL=1)"),
    "progress": Verb("scripts.learn", "progress", "ARGS", "test", READING,
                     "how far you are; ARGS=--page: as a page too, with a map of what builds on what"),
    "interview": Verb("scripts.interview", "main", "TOPIC MINUTES", "test", READING,
                      "a task against the clock, hidden tests, follow-up questions (TOPIC=25, MINUTES=40; or none)"),
    "review": Verb("scripts.review", "main", "TOPIC N", "review", READING,
                   "the interview questions as cards, each when it is due (TOPIC=25; N=10 new ones)"),
    "cards": Verb("scripts.cards", "main", "TOPIC", "review", READING,
                  "the interview questions as a deck for Anki, in build/cards/ (TOPIC=25)"),
    "watch": Verb("scripts.watch", "main", "", "test", READING,
                  "test again whatever a save touches, your file function by function; Ctrl-C or q ends it"),
    "train": Verb("scripts.train", "main", "TOPIC ONLY IMPL -- ARGS", "test", READING,
                  'a chapter\'s end-to-end programs, or one (TOPIC=2, ONLY=train_line, ARGS="--epochs 5" or --record; '
                  "IMPL=workspace: on your own chapters)"),
    "serve": Verb("scripts.serve", "main", "TOPIC -- ARGS", "test", READING,
                  'a chapter\'s server on this machine, until Ctrl-C (TOPIC=31, ARGS="--port 8031")'),
    "notebook": Verb("scripts.notebook", "main", "TOPIC", "book", READING,
                     "a chapter as a notebook, to run elsewhere (TOPIC=27)"),
    "verify-setup": Verb("scripts.setup_report", "main", "", "", READING,
                         "what is installed, what is missing, and the command that installs it"),
    "grade": Verb("scripts.grade", "main", "FILES TOPIC EXERCISES FORCE ARGS", "test", TEACHING,
                  "many files of one topic, into build/grades/ (FILES='submissions/*.py' TOPIC=9, EXERCISES=1)"),
    "tangle": Verb("scripts.tangle", "main", "ARGS", "test", WRITING, "chapters -> tangled/"),
    "stitch": Verb("scripts.stitch", "main", "ARGS", "test", WRITING,
                   "hand edits in tangled/ -> back into the chapters"),
    "preview": Verb("scripts.preview", "main", "TOPIC ARGS", "book", WRITING, "live HTML while writing (TOPIC=27)"),
    "check": Verb("scripts.check", "main", "TOPIC ARGS", "test book reference", WRITING,
                  "the gates; needs PyTorch, as golden does (ARGS=\"--gate NAME\" for one)"),
    "golden": Verb("scripts.golden", "main", "TOPIC ARGS", "test reference", WRITING,
                   "regenerate the reference outputs with PyTorch (TOPIC=27)"),
    "bench": Verb("scripts.bench", "main", "TOPIC IMPL ONLY ARGS", "test", WRITING,
                  "measure the four levels, beside the record (TOPIC=27, IMPL=workspace: your file too; ONLY=, "
                  "ARGS=--record renews it)"),
    "setup": Verb("scripts.chores", "setup", "", EVERYTHING, SET_UP,
                  "everything at once, PyTorch and MPI included; no other verb needs it"),
    "lock": Verb("scripts.chores", "lock", "", EVERYTHING, SET_UP, "requirements.lock from what is installed"),
    "clean": Verb("scripts.chores", "clean", "", "", SET_UP,
                  "remove what can be made again; keeps workspace/, checkpoints/ and .venv/"),
    "completion": Verb("scripts.completion", "main", "", "", SET_UP,
                       "what bash and zsh need to complete verbs, variables and topics: source <(make completion)"),
    "help": Verb("scripts.chores", "help", "", "", SET_UP, "this list"),
}


class Unknown(Exception):
    """A verb or a variable that there is not, in a line."""


def find(name):
    """The verb of this name."""
    if name in VERBS:
        return VERBS[name]
    near = difflib.get_close_matches(name, VERBS, 1)
    raise Unknown(f"no verb {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(VERBS)}"))


def variables(name):
    """The names of the variables that a verb takes."""
    return [word for word in VERBS[name].takes.split() if word != "--"]


def options(name, words, goals=()):
    """What stands after the verb, with make's variables made options; other words stay as they are.

    `goals`: the verbs that one call of make names together; a variable of one of them is no mistake for another.
    """
    find(name)
    given, rest = apart(words)
    known = variables(name)
    for variable in given:
        if variable not in known and not any(variable in variables(goal) for goal in goals if goal in VERBS):
            raise Unknown("make {} knows no {}=; it takes {}".format(
                name, variable, " ".join(each + "=" for each in sorted(known)) or "no variables"))
    made = [word for variable in known for word in option(variable, given.get(variable, ""))]
    arguments = split(given["ARGS"]) if given.get("ARGS") and "ARGS" in known else []
    bar = ["--"] if arguments and "--" in VERBS[name].takes.split() and "--" not in rest else []
    return made + rest + bar + arguments


def apart(words):
    """({variable: value}, the other words); what stands after `--` is none of ours."""
    end = words.index("--") if "--" in words else len(words)
    matches = [re.fullmatch(r"([A-Z]+)=(.*)", word, re.S) for word in words[:end]]
    rest = [word for word, match in zip(words, matches) if not match]
    return {match.group(1): match.group(2) for match in matches if match}, rest + list(words[end:])


def option(variable, value):
    """`["--topic", "27"]`, `["--force"]`, or nothing where the value says nothing."""
    if variable == "ARGS" or not value:
        return []
    flag = "--" + variable.lower()
    if variable in SWITCHES:
        return [] if value in OFF else [flag]
    return [flag, value]


def split(text, posix=os.name != "nt"):
    """ARGS as a shell would take it apart; on Windows a backslash is part of a path."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    if not posix:
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise Unknown(f"ARGS={text!r}: {str(error).lower()}") from None
