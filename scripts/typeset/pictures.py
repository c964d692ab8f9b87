"""How large a picture is by itself, so that a page keeps its place before it has come."""

from __future__ import annotations

import re
import struct
from pathlib import Path

PIXELS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4}
SVG = re.compile(rb"<svg\b[^>]*>", re.S)


def size_of(file: Path) -> tuple[int, int] | None:
    """Width and height in CSS pixels; None where the file does not say."""
    try:
        with open(file, "rb") as handle:
            head = handle.read(4096)
    except OSError:
        return None
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack(">II", head[16:24])
    tag = SVG.search(head)
    return _of_svg(tag[0].decode("utf-8", "replace")) if tag else None


def _of_svg(tag: str) -> tuple[int, int] | None:
    sides = [re.search(rf'\s{side}="([\d.]+)(px|pt|in|cm|mm|)"', tag) for side in ("width", "height")]
    if all(sides):
        return tuple(round(float(side[1]) * PIXELS[side[2]]) for side in sides)
    box = re.search(r'viewBox="[-\d.]+[ ,]+[-\d.]+[ ,]+([\d.]+)[ ,]+([\d.]+)"', tag)
    return (round(float(box[1])), round(float(box[2]))) if box else None
