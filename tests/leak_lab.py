"""What stays in memory of the calls of a backend: Python's objects, counted before and after."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import uuid4

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import BackendError
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import NewTask, Want

__all__ = ("CALLS", "STATEMENTS", "cycle", "left_by", "refused")

STATEMENTS = 2_000
CALLS = 7
"""The calls of one cycle; each sends one statement at least."""
_FREE = 0.1
"""Objects of one type for each cycle that may stay: pools, caches and the garbage of others come and go."""


async def cycle(backend: QueueBackend) -> None:
    """A task's whole life, in `CALLS` calls, after which the table is as before."""
    id_ = uuid4().hex
    await backend.enqueue_many([NewTask(id=id_, name="app.task", key=id_)])
    [claimed] = await backend.claim(Want(worker="w", limit=1))
    await backend.touch_heartbeats([claimed.held])
    done = step(claimed, Complete("null"), await backend.now())
    assert await backend.commit([done]) == {id_}
    assert list(await backend.get([id_])) == [id_]
    await backend.count(("default",))
    assert await backend.delete([done.held]) == {id_}


async def left_by(call: Callable[[], Awaitable[object]], times: int) -> dict[str, int]:
    """What types of objects there are more of after so many calls, and by how many; the first calls fill the caches."""
    for _ in range(times // 5 + 10):
        await call()
    before, blocks = _alive(), sys.getallocatedblocks()
    for _ in range(times):
        await call()
    grown = _alive() - before
    grown["blocks of memory"] = (sys.getallocatedblocks() - blocks) // 10
    return {name: more for name, more in grown.items() if more > times * _FREE + 50}


def _alive() -> Counter[str]:
    """The objects of each type. A connection of `sqlite3` keeps up to 200 dead references to its cursors."""
    gc.collect()
    found = [one for one in gc.get_objects() if not (type(one) is weakref.ref and one() is None)]
    return Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in found)


async def refused(run: Callable[[], Awaitable[object]]) -> None:
    """A call that the database refuses."""
    try:
        await run()
    except BackendError:
        return
    raise AssertionError("it was not refused")
