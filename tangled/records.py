# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:dc6650cc80aa7d6c
"""Records: what was measured or trained, read back and quoted. A rendering measures nothing."""
from __future__ import annotations

import math
from dataclasses import dataclass, field

from tangled.measuring import Measured, Row, Together
from tangled.recording import by_of, checked_arrays, path_of, read, store_arrays, store_ladders, store_run

__all__ = ["Quoted", "Record", "Recorded", "Run", "ratio_text", "record", "says", "store_arrays",
           "store_ladders", "store_run"]


class Quoted(float):
    """A number that knows where it stands in a record, and is not compared with itself."""

    source: str = ""

    def __new__(cls, value, source: str):
        self = super().__new__(cls, value)
        self.source = source
        return self

    def __truediv__(self, other):
        refuse_itself(self, other, "a quotient")
        return float(self) / other

    def __sub__(self, other):
        refuse_itself(self, other, "a difference")
        return float(self) - other


WORDS = {  # word: what must hold for q = a / b
    "faster": lambda q: q < 1, "slower": lambda q: q > 1,
    "less": lambda q: q < 1, "more": lambda q: q > 1, "fewer": lambda q: q < 1,
    "lower": lambda q: q < 1, "higher": lambda q: q > 1,
    "smaller": lambda q: q < 1, "larger": lambda q: q > 1,
    "shorter": lambda q: q < 1, "longer": lambda q: q > 1,
    "gains": lambda q: q < 1, "loses": lambda q: q > 1,
    "as fast": lambda q: 0.9 < q < 1.1, "as much": lambda q: 0.9 < q < 1.1,
    "half": lambda q: 0.4 < q < 0.6, "twice": lambda q: 1.7 < q < 2.4,
    "a third": lambda q: 0.28 < q < 0.39, "a quarter": lambda q: 0.2 < q < 0.3,
    "three times": lambda q: 2.6 < q < 3.5, "four times": lambda q: 3.4 < q < 4.6,
}


def says(word: str, a, b) -> str:
    """The word, if it is true of a and b.

    Parameters
    ----------
    word : str
        "faster", "gains" (a is less than b, as seconds are), "higher", "half", …; in front of it may stand
        "much" (by a factor of 2), "a little" (by less than 1.25) or "about" (as it is).
    a, b : float
        Numbers of the same unit, b positive.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        where the numbers say otherwise, or are one and the same entry of a record, or the word is unknown
    """
    degree, plain = split_degree(word)
    refuse_itself(a, b, f"says({word!r}, …)")
    q = float(a) / float(b) if b else math.inf
    far = max(q, 1 / q) if q > 0 else math.inf
    enough = far >= 2 if degree == "much" else far < 1.25 if degree == "a little" else True
    if not (math.isfinite(q) and enough and WORDS[plain](q)):
        raise ValueError(f"says({word!r}, {float(a):.4g}, {float(b):.4g}): the quotient is {q:.3g}; "
                         "expected numbers of which the word is true, or another word")
    return word


def split_degree(word: str) -> tuple[str, str]:
    """("much", "faster"), of "much faster"; ("", "faster"), of "faster"."""
    degree = next((d for d in ("much", "a little", "about") if word.startswith(d + " ")), "")
    plain = word[len(degree):].strip()
    if plain not in WORDS:
        raise ValueError(f"word is {word!r}; expected one of {', '.join(WORDS)}")
    return degree, plain


def refuse_itself(a, b, what: str) -> None:
    """A ValueError where a and b are one entry of a record, or one object."""
    same = getattr(a, "source", None) is not None and getattr(a, "source", None) == getattr(b, "source", 0)
    if same or (a is b and not isinstance(a, int)):
        where = f" ({a.source})" if same else ""
        raise ValueError(f"{what} compares a number with itself{where}; expected two different ones")


def ratio_text(ratio: float) -> str:
    """Two digits, or all before the point: "0.085", "1.0", "12", "376"."""
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:#.2g}"


@dataclass
class Recorded(Measured):
    """One recorded ladder; it shows itself as a table."""

    by: dict = field(default_factory=dict)
    where: str = ""

    @property
    def note(self) -> str:
        """Where and when it was measured."""
        return note_of(self.by)

    @note.setter
    def note(self, text: str) -> None:
        self.task = text

    def seconds(self, level: str) -> Quoted:
        """The median time of a call of "level 3" or "best PyTorch"."""
        return Quoted(self.row(level).seconds, f"{self.where}/{level}/seconds")

    def peak(self, level: str) -> Quoted:
        """The most bytes held at once."""
        return Quoted(self.row(level).peak, f"{self.where}/{level}/peak")

    def ratio(self, level: str, to: str = "level 4") -> Quoted:
        """Time of a level over that of another, by default of eager PyTorch's."""
        return Quoted(super().ratio(level, to), f"{self.where}/{level}/{to}")


@dataclass
class Run:
    """The outcome of a long program.

    Attributes
    ----------
    values : dict of str, int, float, or lists and dicts of them
    curves : dict of list of float
    seconds : float
    machine, date, note : str
    """

    name: str
    values: dict
    curves: dict
    seconds: float
    by: dict
    kept: dict = field(default_factory=dict)

    @property
    def machine(self) -> str:
        """Processor and instruction set."""
        return f"{self.by['machine']} ({self.by['instructions']})"

    @property
    def date(self) -> str:
        """The day on which the program ran, 2026-01-31."""
        return self.by["date"]

    @property
    def note(self) -> str:
        """Where and when the program ran."""
        return note_of(self.by)

    def arrays(self, name: str) -> dict:
        """Stored arrays by name, as float32 where they were stored as float16; checked by their hash."""
        if name not in self.kept:
            raise KeyError(f"{self.name} has stored no arrays {name!r}; there are {list(self.kept)}")
        return checked_arrays(self.kept[name])


class Record:
    """What is recorded of a topic; `record(9)` makes it."""

    def __init__(self, topic: int | str, found: dict):
        self.topic, self.found = topic, found

    def names(self) -> list[str]:
        """The names of the ladders, in order."""
        return list(self.found["ladders"])

    def ladder(self, name: str) -> Recorded:
        """One ladder."""
        entry = self.entry("ladders", name)
        rows = [Row(level, row["seconds"], row.get("ratio"), row.get("peak"), row.get("operations", ""),
                    row.get("best")) for level, row in entry["rows"].items()]
        return Recorded(name, rows, self.by(entry)["threads"], entry.get("note", ""),
                        by=self.by(entry), where=f"{self.topic}/{name}")

    def ladders(self, *names: str) -> Together:
        """Several ladders as one table; all of them, if none is named."""
        return Together([self.ladder(name) for name in names or self.names()])

    def run(self, name: str) -> Run:
        """The outcome of a long program."""
        entry = self.entry("runs", name)
        values = quoted(entry.get("values", {}), f"{self.topic}/{name}")
        return Run(name, values, entry.get("curves", {}),
                   Quoted(entry.get("seconds") or math.nan, f"{self.topic}/{name}/seconds"), self.by(entry),
                   entry.get("arrays", {}))

    @property
    def note(self) -> str:
        """Where and when the ladders were measured; one sentence."""
        return " ".join(dict.fromkeys(note_of(self.by(e)) for e in self.found["ladders"].values()))

    def by(self, entry: dict) -> dict:
        """Machine, versions, date and code of an entry."""
        return by_of(self.found, entry)

    def entry(self, kind: str, name: str) -> dict:
        """The named ladder or run."""
        if name not in self.found[kind]:
            verb = "bench" if kind == "ladders" else "train"
            there = "; ".join(self.found[kind]) or "none"
            raise KeyError(f"no {kind[:-1]} {name!r} in {path_of(self.topic).name}; there are: {there}. "
                           f"To record it: make {verb} TOPIC={self.topic} ARGS=--record")
        return self.found[kind][name]


def record(topic: int | str) -> Record:
    """The record of a topic, read from golden/records/.

    Raises
    ------
    FileNotFoundError
        naming the command that makes it
    """
    path = path_of(topic)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; records are in the repository of dl-from-scratch, set "
                                f"TANGLED_HOME to a copy of it (make bench TOPIC={topic} ARGS=--record makes one)")
    return Record(topic, read(topic))


def quoted(value, source: str):
    """The same values, each float knowing where it stands."""
    if isinstance(value, dict):
        return {key: quoted(inner, f"{source}/{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [quoted(inner, f"{source}/{k}") for k, inner in enumerate(value)]
    return Quoted(value, source) if isinstance(value, float) else value


def note_of(by: dict) -> str:
    """One sentence: machine, instruction set, threads, versions, date."""
    torch = f", PyTorch {by['torch']}" if by.get("torch") else ""
    return (f"Measured on {by['machine']} with {by['instructions']}, {by['threads']}, Python {by['python']}, "
            f"NumPy {by['numpy']}{torch}, on {by['date']}.")
