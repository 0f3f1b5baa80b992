"""Keeps the workers inside applications from claiming, while a test runs the tasks itself."""

from __future__ import annotations

import threading

__all__ = ("IN_APP", "Hold")


class Hold:
    """Held while at least one holder has taken it and not released it. May be used from every thread."""

    def __init__(self) -> None:
        self._holders = 0
        self._lock = threading.Lock()

    def __call__(self) -> bool:
        return self._holders > 0

    def take(self) -> None:
        """Hold, until `release`."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Undo one `take`."""
        with self._lock:
            self._holders -= 1


IN_APP = Hold()
"""For the workers that run inside applications in this process."""
