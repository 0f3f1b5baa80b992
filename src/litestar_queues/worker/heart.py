"""Heartbeats: one write per beat for all that a worker holds, and an end to what it holds no more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from litestar_queues.errors import QueueError
from litestar_queues.operations import QueueOperations
from litestar_queues.worker.holding import Holding, Phase

__all__ = ("Heart",)

_log = logging.getLogger("litestar_queues.worker")


class Heart:
    """Beats for a worker.

    Args:
        operations: What it beats through.
        held: Everything the worker holds at the moment of the call.
        interval: Seconds between beats.
        stale_after: Seconds after which others take a task without heartbeat over. A task that could not be confirmed
            for so long is given up here, since another worker may run it by now.
    """

    def __init__(
        self,
        operations: QueueOperations,
        held: Callable[[], Iterable[Holding]],
        *,
        interval: float,
        stale_after: float,
    ) -> None:
        self._operations = operations
        self._held = held
        self._interval = interval
        self._stale_after = stale_after

    async def run(self) -> None:
        """Beat until cancelled."""
        due = time.monotonic() + self._interval
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._interval, time.monotonic())
            await self.beat()

    async def beat(self) -> None:
        """One beat. What the store does not confirm as ours is interrupted."""
        holdings = list(self._held())
        if not holdings:
            return
        sent_at = time.monotonic()
        try:
            kept = await self._touch(holdings)
        except (QueueError, TimeoutError) as error:
            _log.warning("a heartbeat for %d tasks was not stored: %s", len(holdings), error)
            self._give_up(holdings)
            return
        lost: list[Holding] = []
        for one in holdings:
            if one.record.id in kept:
                one.confirmed_at = sent_at
            elif one.phase is Phase.RUNNING:  # one that settles meanwhile learns its fate from that write
                lost.append(one)
        self._lose(lost, "it was cancelled, or recovered from this worker")

    async def _touch(self, holdings: Iterable[Holding]) -> set[str]:
        """Send a beat, and wait for the answer for a third of the stale window.

        Not for the end of the call, too: a driver may take its time to notice that it is cancelled, and where the network
        swallows everything, it would take until after others have taken the tasks over.
        """
        touching = asyncio.ensure_future(self._operations.touch_heartbeats([one.beat for one in holdings]))
        try:
            await asyncio.wait({touching}, timeout=self._stale_after / 3)
            if not touching.done():
                raise TimeoutError("no answer")
            return touching.result()
        finally:
            touching.add_done_callback(_ignore)
            touching.cancel()

    def _give_up(self, holdings: Iterable[Holding]) -> None:
        oldest = time.monotonic() - self._stale_after
        late = [one for one in holdings if one.confirmed_at < oldest and one.phase is Phase.RUNNING]
        self._lose(late, f"no heartbeat was stored for {self._stale_after:g} s, so that others may run it by now")

    def _lose(self, lost: list[Holding], why: str) -> None:
        for one in lost:
            one.interrupt(Phase.LOST)
        self._operations.report_fence_losses([one.record for one in lost], why)


def _ignore(touching: asyncio.Future[set[str]]) -> None:
    """Take what became of a beat that nobody waits for any more."""
    if not touching.cancelled():
        touching.exception()
