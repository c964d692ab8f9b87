# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:ccd8379f296633fb
"""Chapter 17: a pickle of an array of bytes and a list of numbers, read without running anything."""

import codecs
import struct

import numpy as np

from tangled.data import wrong

STEPS = 1 << 18                                                 # instructions; a batch has some ten thousand
KEY, DIGITS = 64, 20                                            # longest key of a dict, longest number in text
KNOWN = {"numpy.core.multiarray._reconstruct": "array", "numpy._core.multiarray._reconstruct": "array",
         "numpy.ndarray": "array", "numpy.dtype": "dtype", "_codecs.encode": "encode"}
CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i"}
BYTES = {b"U": "<B", b"T": "<I", b"C": "<B", b"B": "<I", b"\x8e": "<Q"}
TEXTS = {b"\x8c": "<B", b"X": "<I", b"\x8d": "<Q"}
TUPLES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
PUT, GET = {b"q": "<B", b"r": "<I"}, {b"h": "<B", b"j": "<I"}


class Array:
    """What stands for a pickled array: the shape and bytes that it is said to have."""

    state = None

    def bytes(self, path):
        """uint8 (N, M), if that is what it is; `path` is named otherwise."""
        _, shape, kind, fortran, data = self.state or (None,) * 5
        good = isinstance(data, bytes) and isinstance(kind, Kind) and isinstance(shape, tuple) and len(shape) == 2
        if not good or fortran is not False or not all(type(n) is int and n >= 0 for n in shape) or (
                len(data) != shape[0] * shape[1]):
            raise wrong(path, "an array of another kind", "rows of uint8")
        return np.frombuffer(data, np.uint8).reshape(shape)


class Kind:
    """What stands for the dtype of bytes, and for no other."""


class Machine:
    """Instructions of the protocols 0 to 5 that data need; a ValueError for any other, or where a bound is met.

    Parameters
    ----------
    program : bytes
    """

    def __init__(self, program):
        self.program, self.at, self.room = program, 0, len(program)
        self.stack, self.marks, self.memory = [], [], {}

    def run(self):
        """What is on the stack in the end."""
        for _ in range(STEPS):
            code = self.take(1)
            if code == b".":
                return self.pop()
            if not (self.literal(code) or self.remember(code) or self.build(code)):
                raise ValueError(f"an instruction {code!a}, which data do not need")
        raise ValueError(f"more than {STEPS} instructions")

    def take(self, count):
        """The next bytes of the program."""
        if count > len(self.program) - self.at:
            raise ValueError("it is cut off")
        self.at += count
        return self.program[self.at - count:self.at]

    def line(self):
        """The bytes up to the end of the line."""
        end = self.program.find(b"\n", self.at)
        if end < 0:
            raise ValueError("it is cut off")
        return self.take(end + 1 - self.at)[:-1]

    def number(self, form):
        """An integer in the form of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def decimal(self):
        """An integer written in digits, or a boolean."""
        text = self.line()
        if len(text) > DIGITS:
            raise ValueError(f"a number of {len(text)} digits")
        return text == b"01" if text in (b"00", b"01") else int(text.rstrip(b"L"))

    def made(self, value):
        """`value`, a str or bytes that was made, counted."""
        self.room -= len(value)
        if self.room < 0:
            raise ValueError("it makes more bytes than it has")
        return value

    def pop(self):
        """The top of the stack, above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("it takes from an empty stack")
        return self.stack.pop()

    def since_mark(self):
        """What was put on the stack since the last mark, which goes."""
        if not self.marks:
            raise ValueError("it looks for a mark that is not there")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def literal(self, code):
        """Instructions that put a constant on the stack; False for others."""
        if code in CONSTANTS:
            value = CONSTANTS[code]
        elif code in NUMBERS:
            value = self.number(NUMBERS[code])
        elif code in (b"I", b"L"):
            value = self.decimal()
        elif code in BYTES:
            value = self.take(self.number(BYTES[code]))
        elif code in TEXTS:
            value = self.take(self.number(TEXTS[code])).decode("utf-8", "surrogatepass")
        elif code == b"S":
            value = codecs.escape_decode(self.line()[1:-1])[0]
        elif code == b"V":
            value = self.line().decode("raw-unicode-escape")
        else:
            return False
        self.stack.append(value)
        return True

    def remember(self, code):
        """Instructions for the memory, the mark and the header; False for others."""
        if code == b"(":
            self.marks.append(len(self.stack))
        elif code in (b"\x80", b"\x95"):
            self.take(1 if code == b"\x80" else 8)
        elif code in PUT or code in (b"p", b"\x94"):
            place = self.number(PUT[code]) if code in PUT else len(self.memory) if code == b"\x94" else self.decimal()
            self.memory[place] = self.pop()
            self.stack.append(self.memory[place])
        elif code in GET or code == b"g":
            place = self.number(GET[code]) if code in GET else self.decimal()
            if place not in self.memory:
                raise ValueError(f"memory cell {place} is empty")
            self.stack.append(self.memory[place])
        else:
            return False
        return True

    def build(self, code):
        """Instructions that make containers, look up names and call; False for others."""
        if code in TUPLES:
            self.stack.append(tuple([self.pop() for _ in range(TUPLES[code])][::-1]))
        elif code == b"t":
            self.stack.append(tuple(self.since_mark()))
        elif code in (b"]", b"}"):
            self.stack.append([] if code == b"]" else {})
        elif code in (b"l", b"d"):
            items = self.since_mark()
            self.stack.append(items if code == b"l" else {})
            self.fill(items if code == b"d" else [])
        elif code in (b"a", b"s"):
            self.fill([self.pop() for _ in range(1 if code == b"a" else 2)][::-1])
        elif code in (b"e", b"u"):
            self.fill(self.since_mark())
        elif code == b"c":
            self.stack.append(self.known(*(self.line().decode("latin1") for _ in range(2))))
        elif code == b"\x93":
            name, module = self.pop(), self.pop()
            self.stack.append(self.known(module, name))
        else:
            return self.apply(code)
        return True

    def fill(self, items):
        """Append items to the list on top of the stack, or pairs of them to the dict."""
        top = self.pop()
        if type(top) is list:
            top.extend(items)
        elif type(top) is dict and len(items) % 2 == 0:
            for key, value in zip(items[::2], items[1::2]):
                if type(key) not in (str, bytes) or len(key) > KEY:
                    raise ValueError("a key that is no short text")
                top[key] = value
        elif items:
            raise ValueError("it fills what is no list and no dict")
        self.stack.append(top)

    def known(self, module, name):
        """The tag of a name that may be asked for."""
        full = f"{module:.60}.{name:.60}" if type(module) is type(name) is str else "no text"
        if full not in KNOWN:
            raise ValueError(f"it asks for {full!a}")
        return Name(KNOWN[full])

    def apply(self, code):
        """The two instructions that would run code elsewhere: call, and set a state."""
        if code not in (b"R", b"b"):
            return False
        argument, top = self.pop(), self.pop()
        if code == b"R":
            if type(top) is not Name or type(argument) is not tuple:
                raise ValueError("it calls what is no name")
            top = self.call(str(top), argument)
        elif type(top) is Array and type(argument) is tuple and len(argument) == 5:
            top.state = argument
        elif type(top) is not Kind:                             # of bytes, which have no byte order
            raise ValueError("it sets the state of what has none")
        self.stack.append(top)
        return True

    def call(self, name, args):
        """What is made of a known name and its arguments, a tuple."""
        if name == "array":
            return Array()
        if name == "dtype" and args and args[0] in ("u1", "|u1", b"u1", b"|u1"):
            return Kind()
        if name == "encode" and args and type(args[0]) is str:      # bytes, as Python 3 writes them
            return self.made(args[0].encode("latin1"))
        raise ValueError(f"a call of {name!a} with other arguments")


class Name(str):
    """A name that was looked up: a text that no instruction can write."""
