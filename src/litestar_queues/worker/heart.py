"""Heartbeats: one write per beat for all that a worker holds, and an end to what it holds no more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice

from litestar_queues.errors import QueueError, TasksLockedError
from litestar_queues.pauses import Backoffs
from litestar_queues.records import Held
from litestar_queues.worker.exit import some_of
from litestar_queues.worker.holding import Holding, Phase

__all__ = ("Heart", "Touch")

_log = logging.getLogger("litestar_queues.worker")
_BACKOFFS = Backoffs()
_BATCH = 5_000
"""The most tasks in one beat, so that no statement grows without a bound."""

_LOCKED = 0.1
"""Seconds between two beats while tasks are locked; each of them waits for the lock."""

Touch = Callable[[Sequence[Held]], Awaitable[set[str]]]
"""Writes heartbeats, and answers with the ids of the tasks that are still held."""


class Heart:
    """Beats for a worker, in whichever event loop `run` runs.

    Args:
        touch: Writes heartbeats.
        held: Everything the worker holds at the moment of the call.
        lose: Called with tasks that the store no longer confirms as the worker's.
        interval: Seconds between beats.
        stale_after: Seconds after which others take a task without heartbeat over; each beat says so.
        on_kept: Called after a beat that the store took for at least one task.
        beats_for: Whether a task is to be kept alive; it is not where its attempt is lost inside a blocked event loop.
    """

    def __init__(
        self,
        touch: Touch,
        held: Callable[[], Iterable[Holding]],
        lose: Callable[[list[Holding]], None],
        *,
        interval: float,
        stale_after: float,
        on_kept: Callable[[], None] = lambda: None,
        beats_for: Callable[[Holding], bool] = lambda _: True,
    ) -> None:
        self._touch_all = touch
        self._held = held
        self._lose = lose
        self._interval = interval
        self._stale_after = stale_after
        self._on_kept = on_kept
        self._beats_for = beats_for
        self._unconfirmed_since: float | None = None
        self._locked: set[str] = set()

    @property
    def is_silent(self) -> bool:
        """Whether the store has not taken the last beat."""
        return self._unconfirmed_since is not None

    async def run(self) -> None:
        """Beat until cancelled. A beat that was not stored is repeated sooner than the next one is due."""
        due = time.monotonic() + self._interval
        backoffs = iter(_BACKOFFS)
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._interval, time.monotonic())
            if await self.beat():
                backoffs = iter(_BACKOFFS)
            elif self._locked and not self.is_silent:  # others may take them when the lock ends
                due = min(due, time.monotonic() + _LOCKED)
            else:
                due = min(due, time.monotonic() + next(backoffs).seconds)

    async def beat(self) -> bool:
        """One beat. What the store does not confirm as ours is lost; without an answer, everything goes on.

        A worker that is cut off cannot tell whether others take its tasks over. It learns of it with the first answer.

        Returns:
            Whether the store answered for all of them: not for those that somebody's transaction has locked.
        """
        holdings = [one for one in self._held() if self._beats_for(one)]
        if not holdings:
            self._unconfirmed_since = None
            return True
        sent_at = time.monotonic()
        kept: set[str] = set()
        locked: set[str] = set()
        try:
            for part in _in_parts(holdings):
                try:
                    kept |= await self._touch(part)
                except TasksLockedError as error:
                    kept |= error.kept
                    locked |= error.locked
        except (QueueError, TimeoutError) as error:
            self._note_silence(len(holdings), sent_at, error)
            return False
        except Exception as error:  # noqa: BLE001  # a backend's own mistake must not end the heart
            _log.exception("a heartbeat for %d tasks failed", len(holdings))
            self._note_silence(len(holdings), sent_at, error)
            return False
        if self._unconfirmed_since is not None:
            _log.warning("heartbeats are stored again, after %.1f s", sent_at - self._unconfirmed_since)
            self._unconfirmed_since = None
        if kept:
            self._on_kept()
        lost: list[Holding] = []
        for one in holdings:
            if one.record.id in kept:
                one.confirmed_at = sent_at
            # One that settles meanwhile learns its fate from that write.
            elif one.phase is Phase.RUNNING and one.record.id not in locked:
                lost.append(one)
        if lost:
            self._lose(lost)
        self._note_locked([one for one in holdings if one.phase is Phase.RUNNING and one.record.id in locked])
        return not self._locked

    async def _touch(self, holdings: Sequence[Holding]) -> set[str]:
        """Send a beat, and wait for the answer for a third of the stale window.

        Not for the end of the call, too: a driver may take its time to notice that it is cancelled, and where the network
        swallows everything, it would take until after others have taken the tasks over.
        """
        if not holdings:
            return set()
        beats = [one.beat(self._stale_after) for one in holdings]
        touching = asyncio.ensure_future(self._touch_all(beats))
        try:
            await asyncio.wait({touching}, timeout=self._stale_after / 3)
            if not touching.done():
                raise TimeoutError("no answer")
            if touching.cancelled():  # by somebody else: a driver, or an event loop that ends
                raise TimeoutError("the call was cancelled")
            error = touching.exception()
            if error is not None and not isinstance(error, Exception):
                raise RuntimeError(f"{type(error).__name__}: {error}") from error
            return touching.result()
        finally:
            touching.add_done_callback(_ignore)
            touching.cancel()

    def _note_locked(self, locked: Sequence[Holding]) -> None:
        news = [one for one in locked if one.record.id not in self._locked]
        if news:
            _log.warning(
                "a transaction of somebody else holds locks on %d running tasks (%s): they go on, their heartbeats and outcomes"
                " wait for its end, and nobody recovers them meanwhile",
                len(news), some_of([one.record.id for one in news]),
            )  # fmt: skip
        self._locked = {one.record.id for one in locked}

    def _note_silence(self, tasks: int, at: float, error: Exception) -> None:
        first = self._unconfirmed_since is None
        if self._unconfirmed_since is None:
            self._unconfirmed_since = at
        _log.log(
            logging.WARNING if first else logging.INFO,
            "a heartbeat for %d tasks was not stored: %s; they go on, and after %g s others may run them, too",
            tasks,
            error,
            self._stale_after,
        )


def _in_parts(holdings: Iterable[Holding]) -> Iterable[list[Holding]]:
    left = iter(holdings)
    while part := list(islice(left, _BATCH)):
        yield part


def _ignore(touching: asyncio.Future[set[str]]) -> None:
    """Take what became of a beat that nobody waits for any more."""
    if not touching.cancelled():
        touching.exception()
