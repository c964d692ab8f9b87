"""Grading the files of many: one at a time, each apart from the others."""
