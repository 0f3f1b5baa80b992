"""Says of each job what is wrong with it, once and not once a task."""

from __future__ import annotations

import logging

__all__ = ("Complaints",)

_log = logging.getLogger("litestar_queues")


class Complaints:
    """Logs a problem when it begins and when it becomes another one, and its end."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def about(self, subject: str, problem: str, sentence: str, *, level: int) -> None:
        """Log the sentence, unless this problem is the last that was logged of the subject."""
        if self._known.get(subject) != problem:
            self._known[subject] = problem
            _log.log(level, "%s", sentence)

    def over(self, subject: str) -> None:
        """Note that the subject works; logged where it did not."""
        if self._known.pop(subject, None) is not None:
            _log.info("%s works again", subject)
