# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:0a1f8b7d2ca400ef
"""A bar that shows how far a training run is."""

import math
import sys
import time


class Progress:
    """A bar on one line of stderr: [######----] 12/50  loss 0.0123.

    Parameters
    ----------
    total : int, steps until the bar is full
    show : True to show it if stderr is a terminal, "always", or False
    """

    WIDTH, PAUSE = 30, 0.1              # characters; seconds between two prints

    def __init__(self, total, show=True):
        self.total, self.done, self.last, self.longest = total, 0, -math.inf, 0
        self.shown = show == "always" or (bool(show) and sys.stderr.isatty())

    def advance(self, text):
        """One step further; `text` stands behind the bar."""
        self.done += 1
        now = time.monotonic()
        if self.shown and (now - self.last >= self.PAUSE or self.done == self.total):
            self.last = now
            bar = "#" * (self.WIDTH * self.done // self.total)
            line = f"[{bar:-<{self.WIDTH}}] {self.done}/{self.total}  {text}"
            self.longest = max(self.longest, len(line))
            print(f"\r{line:<{self.longest}}", end="", file=sys.stderr, flush=True)

    def close(self):
        """End the line."""
        if self.shown and self.done:
            print(file=sys.stderr)
