"""Which task: by how often it is asked, what is not mastered, what is due."""

from __future__ import annotations

from pathlib import Path

from scripts import keeping, learn
from scripts.interviewing.session import Session
from scripts.interviewing.tasks import Task
from scripts.reviewing import schedule


def choose(root: Path, tasks: list[Task]) -> tuple[Task, str]:
    """The task with the most points, the first of equals, and why in a few words."""
    progress, cards = learn.remembered(root), keeping.load(root / schedule.MEMORY)
    held = [session.data for session in Session.all(root)]
    judged = [judge(task, progress, cards, held) for task in tasks]
    best = max(range(len(tasks)), key=lambda n: (judged[n][0], -n))
    return tasks[best], judged[best][1]


def judge(task: Task, progress: dict, cards: dict, held: list[dict]) -> tuple[float, str]:
    """Points of a task: up to 5 for how often it is asked, 2 for what is not mastered, 2 for what is due; those that
    were had before lose 4 each time, and 3 more once all passed."""
    entry = progress.get(str(task.topic), {})
    mastered = learn.is_done(entry)
    now = schedule.now().isoformat()
    due = sum(str(card.get("due", "~")) <= now for key, card in cards.items() if key.startswith(f"{task.topic:02d}-"))
    own = [data for data in held if data["topic"] == task.topic and data["functions"] == list(task.functions)]
    solved = any(data.get("result", {}).get("solved") for data in own)
    points = task.asked + 2 * (not mastered) + min(due, 4) / 2 - 4 * len(own) - 3 * solved
    why = [f"asked {('seldom', 'now and then', 'fairly often', 'often', 'very often')[task.asked - 1]}",
           "passed by your file" if mastered else "not mastered yet" if entry else "new to you"]
    if due:
        why.append(f"{due} of its questions {'is' if due == 1 else 'are'} due")
    if own:
        why.append(f"had {len(own)} time{'s' * (len(own) > 1)} before")
    return points, ", ".join(why)
