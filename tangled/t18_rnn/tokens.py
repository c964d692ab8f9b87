# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:7d740c6253cf98c5
"""Chapter 18: letters as numbers."""

import numpy as np


class CharTokenizer:
    """The symbols of a text, numbered in their order.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text):
        self.symbols = "".join(sorted(set(text)))
        self.numbers = {symbol: k for k, symbol in enumerate(self.symbols)}

    @property
    def vocab_size(self):
        """How many symbols there are."""
        return len(self.symbols)

    def encode(self, text):
        """str to ids (n,), int64; a ValueError for a symbol that is not known."""
        unknown = next((symbol for symbol in text if symbol not in self.numbers), None)
        if unknown is not None:
            raise ValueError(f"text has {unknown!r}; "
                             f"expected one of the {len(self.symbols)} known symbols")
        return np.array([self.numbers[symbol] for symbol in text], np.int64)

    def decode(self, ids):
        """ids (n,) to str."""
        return "".join(self.symbols[k] for k in ids)
