"""What a heartbeat does while every connection of the main pool is busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from sqlspec import SQLSpec
from waiting import DEADLINE

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.lifecycle import NullHeartbeat, step
from litestar_queues.records import NewTask, Want


@asynccontextmanager
async def exhausted(spec: SQLSpec, config: Any, connections: int) -> AsyncIterator[None]:
    """Hold every connection of a pool."""
    async with AsyncExitStack() as stack:
        for _ in range(connections):
            await stack.enter_async_context(spec.provide_session(config))
        yield


async def beat_while_exhausted(main: Any, heartbeats: Any, connections: int) -> bool:
    """Whether heartbeats are stored while SQLSpec's main pool is exhausted; they have to be once it is not."""
    spec = SQLSpec()
    spec.add_config(main)
    backend = SQLSpecBackendConfig(config=main, sqlspec=spec, heartbeat_pool_config=heartbeats).create_backend()
    try:
        return await beats_during(exhausted(spec, main, connections), backend, expected=heartbeats is not None)
    finally:
        closing = main.close_pool()
        if closing is not None:
            await closing


async def beats_during(exhaustion: AbstractAsyncContextManager[Any], backend: QueueBackend, *, expected: bool) -> bool:
    """Whether heartbeats are stored while every connection of the main pool is held; the backend is opened, and closed.

    Args:
        exhaustion: Holds the connections.
        backend: Not open yet.
        expected: Whether they are to be waited for.
    """
    await backend.open()
    try:
        await backend.enqueue_many([NewTask(id="a", name="app.task")])
        [claimed] = await backend.claim(Want(worker="w", limit=1))
        nulled = step(claimed, NullHeartbeat(), await backend.now())
        async with exhaustion:
            beating = asyncio.create_task(backend.touch_heartbeats([claimed.held]))
            # Without a second pool this cannot come to an end, however long one waits.
            await asyncio.wait([beating], timeout=DEADLINE if expected else 0.3)
            came_through = beating.done()
            if came_through:
                assert await asyncio.wait_for(backend.commit([nulled]), DEADLINE) == {"a"}
            writing = asyncio.create_task(backend.enqueue_many([NewTask(id="b", name="app.task")]))
            await asyncio.wait([writing], timeout=0.3)
            assert not writing.done(), "what is no heartbeat goes through the main pool"
        assert await asyncio.wait_for(beating, DEADLINE) == {"a"}
        await asyncio.wait_for(writing, DEADLINE)
        record = (await backend.get(["a"]))["a"]
        assert (record.heartbeat_at is None) == came_through
        return came_through
    finally:
        await backend.close()
