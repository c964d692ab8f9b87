# Tangled from chapters/; edit the chapter, then run make tangle. sha256:dd8a7e0d773696fa
"""The programs of the book, a package a topic. All of it is made from the chapters by `make tangle`."""

import sys
from pathlib import Path


def _show(kind, error, trace, plain=sys.excepthook):
    """Print an uncaught exception with the chapter's file, line and text; plainly if that cannot be done."""
    try:
        from scripts.tangling.provenance import show

        shown = show(kind, error, trace)
    except Exception:
        shown = False
    if not shown:
        plain(kind, error, trace)


class _Pitfalls:
    """Finds `tangled.tNN_name.pitfalls`: wrong versions, built from the chapter when they are imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.startswith("tangled.t") or ".pitfalls" not in name:
            return None
        try:
            from scripts.tangling.pitfalls import find_spec
        except ImportError:
            return None
        return find_spec(name, __path__[0])


_IN_THE_BOOK = (Path(__file__).parent.parent / "scripts" / "tangling").is_dir()     # else it is installed
if _IN_THE_BOOK and getattr(sys.excepthook, "__name__", "") != "_show":
    sys.meta_path.insert(0, _Pitfalls)
    sys.excepthook = _show
    if "IPython" in sys.modules:
        try:
            from scripts.tangling.provenance import install_in_ipython

            install_in_ipython()
        except Exception:
            pass
