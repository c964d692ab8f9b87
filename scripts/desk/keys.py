"""Single keys from a terminal, without Enter; nothing where there is no terminal."""

from __future__ import annotations

import os
import select
import sys
import time

try:
    import msvcrt
except ImportError:
    msvcrt = None


class Keys:
    """`with Keys() as keys:` the terminal gives each key at once, and is as it was at the end."""

    def __init__(self, stream=None):
        self.stream, self.before, self.waiting = stream or sys.stdin, None, []

    def __enter__(self):
        if msvcrt is None:
            import termios
            import tty
            self.before = termios.tcgetattr(self.stream)
            tty.setcbreak(self.stream)
        return self

    def __exit__(self, *_):
        if self.before is not None:
            import termios
            termios.tcsetattr(self.stream, termios.TCSADRAIN, self.before)

    def next(self, seconds: float) -> str:
        """The next key, in small letters, or "" where none came within that time."""
        if not self.waiting:
            self.look(seconds)
        return self.waiting.pop(0) if self.waiting else ""

    def holds(self, key: str) -> bool:
        """Is this key among those that wait? The others go on waiting."""
        self.look(0)
        return key in self.waiting

    def look(self, seconds: float) -> None:
        """Gather the keys that came, for at most so long."""
        if msvcrt is not None:
            until = time.monotonic() + seconds
            while not msvcrt.kbhit() and time.monotonic() < until:
                time.sleep(0.02)
            while msvcrt.kbhit():
                self.waiting.append(msvcrt.getwch().lower())
        elif select.select([self.stream], [], [], seconds)[0]:
            text = os.read(self.stream.fileno(), 64).decode(errors="ignore").lower()
            self.waiting += list(text) or ["q"]                     # the terminal is gone
