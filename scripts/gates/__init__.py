"""The gates of `make check`: each function takes the book and returns its offenders as `file:line: text`."""
