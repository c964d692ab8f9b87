"""What stands outside the margins of a PDF made by Typst: text and pictures, measured in the file itself.

Typst writes plain PDF (no object streams), so that a few regular expressions are enough to read it.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

TOLERANCE = 4.0                             # points: punctuation hangs a little into the margin on purpose
CENTIMETRE = 72 / 2.54
TEMPLATE = Path(__file__).parent / "templates" / "book.typ"
OBJECT = re.compile(rb"(?:^|\n)(\d+) 0 obj\n(.*?)\nendobj", re.S)
TOKEN = re.compile(rb"\[|\]|\((?:\\.|[^\\()])*\)|<[0-9A-Fa-f]*>|/[\w.+-]+|[^\s\[\]()<>/]+", re.S)
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
Matrix = tuple[float, float, float, float, float, float]
UNIT: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def overfull(pdf: Path, tolerance: float = TOLERANCE) -> list[tuple[int, str]]:
    """(page, text) of everything that reaches into the left or right margin; pages count from 1."""
    inside, outside = margins()
    file = _File(Path(pdf).read_bytes())
    found = []
    for number, (width, items) in enumerate(file.pages(), 1):
        left, right = (inside, outside) if number % 2 else (outside, inside)
        for start, end, text in items:
            if start < left - tolerance or end > width - right + tolerance:
                found.append((number, text))
    return found


def margins() -> tuple[float, float]:
    """The inside and outside margins of the book, in points, from its template."""
    text = TEMPLATE.read_text(encoding="utf-8")
    inside, outside = (re.search(rf"{side}: ([\d.]+)cm", text)[1] for side in ("inside", "outside"))
    return float(inside) * CENTIMETRE, float(outside) * CENTIMETRE


@dataclass
class _Font:
    widths: dict[int, float] = field(default_factory=dict)
    letters: dict[int, str] = field(default_factory=dict)

    def glyphs(self, codes: bytes):
        """(width in em, text) of each two-byte code."""
        for k in range(0, len(codes) - 1, 2):
            code = codes[k] << 8 | codes[k + 1]
            yield self.widths.get(code, 0.0) / 1000, self.letters.get(code, "")


class _File:
    def __init__(self, data: bytes):
        self.objects = {int(number): body for number, body in OBJECT.findall(data)}
        self.fonts: dict[int, _Font] = {}

    def pages(self):
        """(page width, [(start, end, text)]) of each page, in order."""
        catalogue = next(body for body in self.objects.values() if b"/Type/Pages" in body)
        for number in _references(re.search(rb"/Kids ?\[(.*?)\]", catalogue, re.S)[1]):
            page = self.objects[number]
            box = [float(value) for value in re.search(rb"/MediaBox ?\[(.*?)\]", page)[1].split()]
            content = self.stream(_value(page, b"Contents"))
            yield box[2], list(_Reader(self, self.resources(page)).items(content))

    def stream(self, number: int) -> bytes:
        body = self.objects[number]
        start = body.index(b"stream") + len(b"stream")
        start += 2 if body[start:start + 2] == b"\r\n" else 1
        raw = body[start:body.rindex(b"endstream")]
        return zlib.decompressobj().decompress(raw) if b"/FlateDecode" in body else raw

    def resources(self, body: bytes) -> dict[bytes, int]:
        """Names of fonts and pictures, and the objects behind them."""
        inner = self.objects[_value(body, b"Resources")] if re.search(rb"/Resources \d", body) else body
        return {name: int(number) for name, number in re.findall(rb"/([fx]\d+) (\d+) 0 R", inner)}

    def font(self, number: int) -> _Font:
        if number not in self.fonts:
            body = self.objects[number]
            font = _Font()
            descendant = self.objects[_references(re.search(rb"/DescendantFonts ?\[(.*?)\]", body)[1])[0]]
            font.widths = _widths(re.search(rb"/W ?\[(.*)\]", descendant, re.S)[1])
            if b"/ToUnicode" in body:
                font.letters = _letters(self.stream(_value(body, b"ToUnicode")))
            self.fonts[number] = font
        return self.fonts[number]


class _Reader:
    """Runs the operators of a page that move or draw."""

    def __init__(self, file: _File, names: dict[bytes, int]):
        self.file, self.names = file, names
        self.state, self.stack = (UNIT, None, 0.0), []
        self.line = UNIT

    def items(self, content: bytes):
        operands: list[bytes] = []
        for token in TOKEN.findall(content):
            if re.match(rb"[\[\](</\d.+-]", token):
                operands.append(token)
                continue
            found = self.run(token, operands)
            if found:
                yield found
            operands = []

    def run(self, operator: bytes, operands: list[bytes]):
        matrix, font, size = self.state
        if operator == b"q":
            self.stack.append(self.state)
        elif operator == b"Q":
            self.state = self.stack.pop()
        elif operator == b"cm":
            self.state = (_times(_numbers(operands), matrix), font, size)
        elif operator == b"Tf":
            self.state = (matrix, self.file.font(self.names[operands[-2][1:]]), float(operands[-1]))
        elif operator in (b"BT", b"Tm"):
            self.line = _numbers(operands) if operator == b"Tm" else UNIT
        elif operator in (b"TJ", b"Tj"):
            return self.text(operands)
        elif operator == b"Do":
            return self.picture(operands[-1][1:])
        return None

    def text(self, operands: list[bytes]):
        matrix, font, size = self.state
        at, width, text = 0.0, 0.0, ""
        for token in operands:
            if token[:1] in b"(<":
                for advance, letters in font.glyphs(_string(token)):
                    at, text = at + advance, text + letters
                    width = width if letters.isspace() else at      # a space at a line's end is not seen
            elif token not in (b"[", b"]"):
                at -= float(token) / 1000
        start, end = (_times((1, 0, 0, 1, x * size, 0), _times(self.line, matrix))[4] for x in (0.0, width))
        return (min(start, end), max(start, end), text) if text.strip() else None

    def picture(self, name: bytes):
        body = self.file.objects[self.names[name]]
        box = re.search(rb"/BBox ?\[(.*?)\]", body)
        left, bottom, right, top = (float(v) for v in box[1].split()) if box else (0.0, 0.0, 1.0, 1.0)
        corners = [_times((1, 0, 0, 1, x, y), self.state[0])[4] for x in (left, right) for y in (bottom, top)]
        return min(corners), max(corners), "(picture)"


def _times(a: Matrix, b: Matrix) -> Matrix:
    return (a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2],
            a[2] * b[1] + a[3] * b[3], a[4] * b[0] + a[5] * b[2] + b[4], a[4] * b[1] + a[5] * b[3] + b[5])


def _numbers(operands: list[bytes]) -> Matrix:
    return tuple(float(value) for value in operands[-6:])


def _references(text: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"(\d+) 0 R", text)]


def _value(body: bytes, name: bytes) -> int:
    return int(re.search(rb"/" + name + rb" ?(\d+) 0 R", body)[1])


def _string(token: bytes) -> bytes:
    if token[:1] == b"<":
        return bytes.fromhex(token[1:-1].decode())

    def plain(match: re.Match) -> bytes:
        if match[1].isdigit():
            return bytes([int(match[1], 8) & 255])
        return ESCAPES.get(match[1], match[1])

    return re.sub(rb"\\([0-7]{1,3}|.)", plain, token[1:-1], flags=re.S)


def _widths(text: bytes) -> dict[int, float]:
    """`first last width` triples, or `first [widths]`."""
    widths: dict[int, float] = {}
    tokens = re.findall(rb"\[[^\]]*\]|[\d.]+", text)
    while len(tokens) > 1:
        first = int(tokens.pop(0))
        if tokens[0][:1] == b"[":
            for k, value in enumerate(tokens.pop(0)[1:-1].split()):
                widths[first + k] = float(value)
        else:
            last, width = int(tokens.pop(0)), float(tokens.pop(0))
            widths |= dict.fromkeys(range(first, last + 1), width)
    return widths


def _letters(cmap: bytes) -> dict[int, str]:
    letters = {}
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", cmap, re.S):
        for code, text in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", block):
            letters[int(code, 16)] = bytes.fromhex(text.decode()).decode("utf-16-be", "replace")
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", cmap, re.S):
        for first, last, text in re.findall(rb"<(\w+)>\s*<(\w+)>\s*<(\w+)>", block):
            base = int.from_bytes(bytes.fromhex(text.decode()), "big")
            for k in range(int(last, 16) - int(first, 16) + 1):
                letters[int(first, 16) + k] = chr(base + k)
    return letters
