"""A bare client of Redis or Valkey: pipelines of the same writes as the queue's, and nothing else.

What a pipeline cannot do, namely to decide on the server, it does in more round trips: pop ids, read and write their hashes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, Self
from urllib.parse import urlsplit

from litestar_queues.backends.redis.keys import Namespace
from litestar_queues.backends.valkey import ValkeyBackendConfig
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import NewTask, Want

__all__ = ("RedisFloor",)

_TIME = "2030-01-01T00:00:00.000001"
_FILLED_AT_ONCE = 5_000
_READ = ("name", "args", "kwargs", "attempt", "max_attempts", "fence")


class RedisFloor:
    """Bare valkey-py, or redis-py for a Redis."""

    learns = False

    def __init__(self, url: str, prefix: str, client: Any) -> None:
        self.name = f"bare {urlsplit(url).scheme}-py"
        self._url, self._prefix, self._client = url, prefix, client
        self._space = Namespace(prefix).space
        self._pattern: dict[str, str] = {}
        self._number = 0

    @classmethod
    async def open(cls, url: str, prefix: str) -> Self:
        """Connect."""
        library = urlsplit(url).scheme
        client = getattr(import_module(f"{library}.asyncio"), library.capitalize()).from_url(url)
        return cls(url, prefix, client)

    async def refresh(self) -> None:
        keys = [key async for key in self._client.scan_iter(match=f"{self._space}task:*")]
        found = await self._client.hgetall(keys[0])
        self._pattern = {name.decode(): value.decode() for name, value in found.items()}
        await self.drop(self._prefix)

    def _new(self, pipe: Any) -> None:
        self._number += 1
        id_ = f"{self._number:036d}"
        pipe.hset(f"{self._space}task:{id_}", mapping=self._pattern)
        pipe.zadd(f"{self._space}ids", {f"{_TIME}{id_}": 0})
        pipe.zadd(f"{self._space}ready", {f"2147483647{_TIME}{id_}": 0})
        pipe.hincrby(f"{self._space}counts", "pending", 1)

    async def enqueue_singly(self, tasks: int) -> None:
        for _ in range(tasks):
            pipe = self._client.pipeline(transaction=False)
            self._new(pipe)
            await pipe.execute()

    async def enqueue_in_batches(self, tasks: int, batch: int) -> None:
        for _ in range(0, tasks, batch):
            pipe = self._client.pipeline(transaction=False)
            for _ in range(batch):
                self._new(pipe)
            await pipe.execute()

    async def drain(self, batch: int) -> None:
        space = self._space
        while popped := await self._client.zpopmin(f"{space}ready", batch):
            ids = [member[36:].decode() for member, _ in popped]
            pipe = self._client.pipeline(transaction=False)
            for id_ in ids:
                pipe.hmget(f"{space}task:{id_}", _READ)
                started = {"state": "running", "attempt": 1, "fence": 1, "worker": "floor", "started_at": _TIME}
                pipe.hset(f"{space}task:{id_}", mapping={**started, "heartbeat_at": _TIME})
                pipe.zadd(f"{space}running", {f"{_TIME}{id_}": 0})
                pipe.hincrby(f"{space}counts", "running", 1)
            await pipe.execute()
            pipe = self._client.pipeline(transaction=False)
            for id_ in ids:
                ended = {"state": "completed", "fence": 2, "result": "1", "finished_at": _TIME}
                pipe.hset(f"{space}task:{id_}", mapping=ended)
                pipe.hdel(f"{space}task:{id_}", "heartbeat_at")
                pipe.zrem(f"{space}running", f"{_TIME}{id_}")
                pipe.zadd(f"{space}finished", {f"{_TIME}{id_}": 0})
                pipe.hincrby(f"{space}counts", "completed", 1)
            await pipe.execute()

    async def notice(self, times: int) -> list[float] | None:
        listener = self._client.pubsub()
        await listener.subscribe("bench")
        await listener.get_message(timeout=5)  # that it is subscribed
        found: list[float] = []
        for _ in range(times):
            await asyncio.sleep(0.01)
            began = time.perf_counter()
            await self._client.publish("bench", "x")
            while not await listener.get_message(timeout=5):
                pass
            found.append(time.perf_counter() - began)
        await listener.aclose()
        return found

    async def drop(self, *tables: str) -> None:
        for table in tables:
            keys: list[bytes] = []
            async for key in self._client.scan_iter(match=f"{Namespace(table).space}*", count=1000):
                keys.append(key)
                if len(keys) == 1000:
                    await self._client.unlink(*keys)
                    keys.clear()
            if keys:
                await self._client.unlink(*keys)

    async def fill(self, kind: str, tasks: int) -> None:
        backend = ValkeyBackendConfig(url=self._url, key_prefix=self._prefix, notifications=False).create_backend()
        await backend.open()
        for first in range(0, tasks, _FILLED_AT_ONCE):
            await backend.enqueue_many(list(self._backlog(kind, first, min(_FILLED_AT_ONCE, tasks - first))))
            if kind == "finished":
                claimed = await backend.claim(Want(worker="fill", limit=_FILLED_AT_ONCE))
                now = await backend.now()
                await backend.commit([step(one, Complete("1"), now) for one in claimed])
        await backend.close()

    @staticmethod
    def _backlog(kind: str, first: int, count: int) -> Iterator[NewTask]:
        of_kind: dict[str, dict[str, Any]] = {
            "in another queue": {"queue": "other", "priority": 9},
            "scheduled for later": {"run_at": datetime.now(UTC) + timedelta(days=1)},
        }
        fields = of_kind.get(kind, {})
        for number in range(first, first + count):
            yield NewTask(id=f"{number:036x}", name="bench.noop", args="[1]", **fields)

    async def analyse(self) -> None:
        """It learns nothing of what it holds."""

    async def close(self) -> None:
        await self._client.aclose()
