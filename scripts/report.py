"""A pytest plugin: the table of levels by category, failures with chapter lines, the diagnosis."""

from __future__ import annotations
