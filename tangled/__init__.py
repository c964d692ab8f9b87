# Tangled from chapters/; edit the chapter, then run make tangle. sha256:395604764c0b3a2a
"""The programs of the book, a package a topic. All of it is made from the chapters by `make tangle`."""

import sys


def _show(kind, error, trace, plain=sys.excepthook):
    """Print an uncaught exception with the chapter's file, line and text; plainly if that cannot be done."""
    try:
        from scripts.tangling.provenance import show

        shown = show(kind, error, trace)
    except Exception:
        shown = False
    if not shown:
        plain(kind, error, trace)


if getattr(sys.excepthook, "__name__", "") != "_show":
    sys.excepthook = _show
    if "IPython" in sys.modules:
        try:
            from scripts.tangling.provenance import install_in_ipython

            install_in_ipython()
        except Exception:
            pass
