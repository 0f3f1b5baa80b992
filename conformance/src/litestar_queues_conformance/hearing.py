"""Hints between two clients, as cases listen for them: without sleeping, and never taking silence for an answer too soon."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from litestar_queues.backends.base import QueueBackend, Wakeups
from litestar_queues_conformance.harness import Check
from litestar_queues_conformance.patience import TURN, Deadline

__all__ = ("AGAIN", "MARK", "SOON", "heard", "hints", "marked", "ready", "wakes")

SOON = 10.0
"""Fair seconds within which a hint arrives, or will not; and as much other work as is done in them."""
AGAIN = 25.0
"""The same after connections were cut, when the first hints may be lost."""
MARK = "a mark"


def hints(actor: QueueBackend) -> Wakeups:
    """The client's wakeups, where there are some."""
    assert actor.wakeups is not None, "NTF-02 is about that"  # noqa: S101  # a mistake in a case
    return actor.wakeups


async def heard(speaker: QueueBackend, ear: QueueBackend, wanted: tuple[str, ...] | None) -> bool:
    """Wait for a hint; whether one came, before the speaker was answered so many times that none will come.

    It waits in the caller's own task: a client may remember hints for each task that waits.
    """
    deadline, turns = Deadline(SOON), int(SOON / TURN)
    while turns > 0 or deadline.left > 0:
        if await hints(ear).wait(wanted, TURN):
            return True
        await speaker.count()
        turns -= 1
    return False


async def wakes(speaker: QueueBackend, ear: QueueBackend, queues: Collection[str], wanted: Any, seconds: float) -> bool:
    """Hint again and again until one who waits is woken; the first hints may come before anybody listens."""
    for _ in range(int(seconds / TURN)):  # by turns, and not by the clock: on a slow machine each takes longer
        await hints(speaker).notify(queues)
        if await hints(ear).wait(wanted, TURN):
            return True
    return False


async def marked(speaker: QueueBackend, ear: QueueBackend) -> bool:
    """Send a mark behind all hints so far, and wait until it has arrived, and they with it."""
    await hints(ear).wait((MARK,), 0)
    await hints(speaker).notify([MARK])
    return await heard(speaker, ear, (MARK,))


async def ready(
    id_: str, speaker: QueueBackend, ear: QueueBackend, wanted: tuple[str, ...] | None, check: Check
) -> None:
    """One listens, and all that was said before is forgotten."""
    await hints(ear).wait((MARK,), 0)
    check(id_, await wakes(speaker, ear, wanted or ["any"], wanted, AGAIN), "no hint arrived at all")
    check(id_, await marked(speaker, ear), "a mark did not arrive")
    await hints(ear).wait(wanted, 0)
