"""What is typed, line by line, without waiting for it: works at a terminal, through a pipe, and on Windows."""

from __future__ import annotations

import codecs
import os
import queue
import sys
import threading

END = None                                       # what `get` gives once nothing more can come


class Lines:
    """Lines of standard input, read by a thread.

    It reads the descriptor: a thread that waits in `sys.stdin` holds a lock that Python asks for when it ends.
    """

    def __init__(self, descriptor: int = 0, encoding: str | None = None):
        self.waiting: queue.Queue = queue.Queue()
        self.ended = False
        encoding = encoding or getattr(sys.stdin, "encoding", None) or "utf-8"
        threading.Thread(target=self.read, args=(descriptor, encoding), daemon=True).start()

    def read(self, descriptor: int, encoding: str) -> None:
        decoder, rest = codecs.getincrementaldecoder(encoding)(errors="replace"), ""
        try:
            while data := os.read(descriptor, 65536):
                *lines, rest = (rest + decoder.decode(data)).split("\n")
                for line in lines:
                    self.waiting.put(line.rstrip("\r"))
        except OSError:                          # the terminal is gone
            pass
        if rest:
            self.waiting.put(rest)
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
        if not os.isatty(0):
            print("" if line is END else line)
        return line

    def paragraph(self) -> str | None:
        """Lines up to an empty one; END where the input ended before anything was typed."""
        found = []
        while (line := self.get()) is not END and line.strip():
            found.append(line)
        return END if line is END and not found else "\n".join(found)
