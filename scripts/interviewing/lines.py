"""What is typed, line by line, without waiting for it: works at a terminal, through a pipe, and on Windows."""

from __future__ import annotations

import queue
import sys
import threading

END = None                                       # what `get` gives once nothing more can come


class Lines:
    """Lines of standard input, read by a thread."""

    def __init__(self, stream=None):
        self.waiting: queue.Queue = queue.Queue()
        self.ended = False
        threading.Thread(target=self.read, args=(stream or sys.stdin,), daemon=True).start()

    def read(self, stream) -> None:
        for line in iter(stream.readline, ""):
            self.waiting.put(line.rstrip("\r\n"))
        self.waiting.put(END)

    def get(self, seconds: float | None = None) -> str | None:
        """The next line, END at the end; raises queue.Empty where none came within the time."""
        if self.ended:
            return END
        line = self.waiting.get(timeout=seconds)
        self.ended = line is END
        return line

    def ask(self, prompt: str) -> str | None:
        """A line, after a prompt."""
        print(prompt, end="", flush=True)
        line = self.get()
        if not sys.stdin.isatty():
            print("" if line is END else line)
        return line

    def paragraph(self) -> str | None:
        """Lines up to an empty one; END where the input ended before anything was typed."""
        found = []
        while (line := self.get()) is not END and line.strip():
            found.append(line)
        return END if line is END and not found else "\n".join(found)
