"""Runs one case to its end or its deadline, and removes what it opened."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from litestar_queues_conformance.harness import CASE_SECONDS, NotFoundOut, Store, not_found_out
from litestar_queues_conformance.patience import Deadline, Late, within

__all__ = ("CaseDeadline", "run_case")

_GRACE = 10.0
"""Fair seconds after a case's deadline until what blocks its event loop is ended by a signal."""
_LOOK = 0.5


class CaseDeadline(NotFoundOut):
    """A case did not end in its time."""


class _Blocked(BaseException):
    """Ends what blocks; no `Exception`, so that neither a case nor Hypothesis takes it for an error of the backend's."""


def run_case(name: str, seconds: float, case: Callable[[], Any], store: Store | None) -> None:
    """Run the case, async or not, and remove what it opened.

    Args:
        name: What to call it.
        seconds: Its deadline, in fair seconds; see `patience`.
        case: The case without arguments; what it returns is awaited where that is possible.
        store: The case's store, where it asked for one.

    Raises:
        NotFoundOut: The case met its deadline, or lost one of its processes.
        Exception: Whatever else the case raised.
    """
    deadline = Deadline(seconds)
    try:
        with deadline.of_the_case(), blocks_no_longer(deadline):
            running = _Case(name, deadline, store)
            if inspect.iscoroutinefunction(case):
                asyncio.run(running.run(case))
                return
            try:
                case()
            finally:
                asyncio.run(running.remove())
    except _Blocked:
        raise CaseDeadline(f"{name} did not end within {seconds:g} s, and blocks, after {deadline.watch}") from None
    except Exception as error:
        with deadline.of_the_case():
            reason = not_found_out(error)
        if reason is None or reason is error:
            raise
        raise reason from error


class _Case:
    """One case and its store, in an event loop."""

    def __init__(self, name: str, deadline: Deadline, store: Store | None) -> None:
        self._name, self._deadline, self._store = name, deadline, store

    async def run(self, case: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._bounded(case)
        except BaseException as error:
            try:
                await self.remove()
            except Exception as another:  # noqa: BLE001  # what the case found comes first
                error.add_note(f"and what it had opened was not removed: {another!r}")
            raise
        await self.remove()

    async def _bounded(self, case: Callable[[], Awaitable[None]]) -> None:
        try:
            async with within(self._deadline):
                await case()
        except Late:
            deadline = self._deadline
            raise CaseDeadline(
                f"{self._name} did not end within {deadline.seconds:g} s, but ran for {deadline.watch}"
            ) from None

    async def remove(self) -> None:
        """Close and remove what the case opened."""
        if self._store is None:
            return
        deadline = Deadline(CASE_SECONDS)
        try:
            async with within(deadline):
                await self._store.aclose()
        except Late:
            raise CaseDeadline(
                f"the clients of {self._name} did not close within {CASE_SECONDS:g} s, but took {deadline.watch}"
            ) from None


@contextmanager
def blocks_no_longer(deadline: Deadline) -> Generator[None]:
    """End what blocks the event loop, or never had one, some time after the deadline, where the platform can.

    Raises:
        BaseException: In the middle of the block, whatever it does.
    """
    main = threading.main_thread()
    if not hasattr(signal, "pthread_kill") or threading.current_thread() is not main:
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise _Blocked

    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK):
            if deadline.left < -_GRACE and main.ident is not None:
                signal.pthread_kill(main.ident, signal.SIGALRM)
                return

    before = signal.signal(signal.SIGALRM, ring)
    watching = threading.Thread(target=watch, daemon=True, name="deadline of a case")
    watching.start()
    try:
        yield
    finally:
        try:
            ended.set()
            watching.join()
        finally:
            signal.signal(signal.SIGALRM, before)
