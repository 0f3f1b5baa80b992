"""CPU time: ours, and that of the server beside us."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ("Cpu", "ServerProcesses")


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU; the server's are None where it does not run on this machine."""

    ours: float
    server: float | None

    def since(self, before: Self) -> Cpu:
        """What was spent after `before`."""
        known = self.server is not None and before.server is not None
        return Cpu(self.ours - before.ours, (self.server or 0) - (before.server or 0) if known else None)


class ServerProcesses:
    """The processes of the server that listens at a URL.

    Args:
        url: The server's.
    """

    def __init__(self, url: str) -> None:
        self._psutil: Any = import_module("psutil")
        port = urlsplit(url).port
        listening = {one.pid for one in self._connections() if one.laddr and one.laddr.port == port and not one.raddr}
        self._root = self._psutil.Process(min(listening)) if listening - {None} else None

    def _connections(self) -> list[Any]:
        try:
            found: list[Any] = self._psutil.net_connections("tcp")
        except self._psutil.AccessDenied:
            return []
        return found

    def read(self) -> Cpu:
        """CPU time until now: of processes that have ended, too, once their parent knows of it."""
        if self._root is None:
            return Cpu(time.process_time(), None)
        total = 0.0
        times = self._root.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
        for child in self._root.children(recursive=True):
            try:
                own = child.cpu_times()
            except self._psutil.NoSuchProcess:
                continue
            total += own.user + own.system
        return Cpu(time.process_time(), total)
