"""What verbs that call a bundle's predict do with the inputs of a command line. Knows no verb."""

from __future__ import annotations

from collections.abc import Sequence

from edge_sdk.cli import terminal
from edge_sdk.tasks.base import Task, task_code


def note_left_out(task: Task, words: Sequence[str], *, where: str) -> None:
    """Print what the task does not take of the folders among `words`."""
    with task_code(task, "left_out", where=where):
        left_out = task.left_out(words)
    for line in left_out:
        terminal.note(line)
