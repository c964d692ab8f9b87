"""The tools of the book: one verb a module, run as `python -m scripts VERB`."""
