"""The headings that say what a chapter is about: its own, and those below the headings that all chapters have."""

from __future__ import annotations

import re

from scripts.typeset.tree import text_of

SKELETON = {"problem", "why", "questions", "intuition", "mathematics", "try", "code", "pitfalls", "pictures", "looks",
            "measured", "costs", "interview", "exercises", "reading", "tests", "level1", "level2", "level3", "level4",
            "levels", "trace", "answers", "hints"}
ALSO = re.compile(r"what it (looks like|costs)|(the )?pictures|measured", re.I)         # by title
CLOSED = {"code", "level1", "level2", "level3", "level4", "levels", "tests", "pitfalls", "questions", "interview",
          "exercises", "try", "problem"}                # the headings below these are no topics either


def topics(headings: list[dict]) -> list[dict]:
    """Of a chapter's headings, in order, those that its contents list."""
    found, within = [], ""
    for heading in headings:
        last = re.sub(r"^(?:sec|hints|answers)-(?:\w{1,2}-)?", "", heading["id"])
        if heading["id"].startswith(("hints-", "answers-")):
            last = "hints"
        if heading["level"] == 2:
            within = last
            if last not in SKELETON and not ALSO.match(text_of(heading["title"])) and heading["number"]:
                found.append(heading)
        elif heading["level"] == 3 and within in SKELETON - CLOSED and last not in SKELETON and heading["number"]:
            found.append(heading)
    return found
