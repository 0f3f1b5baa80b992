"""The port over the scripts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from litestar_queues.backends.base import QueueBackend, Wakeups
from litestar_queues.backends.closing import UnderWay
from litestar_queues.backends.parts import Parts
from litestar_queues.backends.redis.clients import ClientLibrary, place_of
from litestar_queues.backends.redis.failures import RedisFailures, is_read_only
from litestar_queues.backends.redis.health import ask_health
from litestar_queues.backends.redis.keys import EXPIRING, Namespace
from litestar_queues.backends.redis.scripts import Script, run, scripts
from litestar_queues.backends.redis.values import (
    committed,
    held_of,
    pack,
    packed_time,
    read_time,
    record_of,
    silent,
    submitted,
)
from litestar_queues.backends.redis.wakeups import RedisWakeups
from litestar_queues.backends.retry import LostConnectionError, is_away, with_retries
from litestar_queues.backends.sizes import MIB, Sizes
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueConfigurationError, RefusedError
from litestar_queues.lifecycle import State, stored_state
from litestar_queues.records import (
    LIMIT_MAX,
    Count,
    Dispatched,
    Enqueued,
    Finished,
    Held,
    Matching,
    NamedRecord,
    NewTask,
    Overdue,
    Query,
    Stale,
    TaskRecord,
    Want,
    admit,
    first_outcomes,
    queue_names,
)

__all__ = ("RedisBackend",)

_log = logging.getLogger("litestar_queues")

_PROMOTED = 1000
"""How many scheduled tasks that came due a claim makes pending, besides as many as it wants: what the port promises."""
_PASSED = 1000
"""How many overdue tasks a claim puts aside before it lets others have their turn with the server."""
_LOOKS = 1000
"""How many tasks are looked at by one call of a search that no index serves."""
_LONGEST = timedelta(days=365 * 1000)
_SIZES = Sizes(part=511 * MIB, most=511 * MIB, called="proto-max-bulk-len", told=True)
"""The default of the servers, for one that does not tell."""


class RedisBackend:
    """Runs the scripts on a server, or a cluster.

    Made by `RedisBackendConfig.create_backend`, and by that of Valkey.
    """

    process_local = False
    dispatches = True

    def __init__(
        self,
        library: ClientLibrary,
        namespace: Namespace,
        *,
        url: str,
        client: Any,
        owns_client: bool = False,
        cluster: bool,
        connections: int,
        patience: float,
        limit: float | None,
        notifications: bool,
        scripts: Mapping[str, Script] = scripts(),
    ) -> None:
        self.name = library.name
        self._library = library
        self._namespace = namespace
        self._url = url
        self._given = client
        self._owns_client = owns_client
        self._cluster = cluster
        self._connections = connections
        self._patience = patience
        self._limit = limit
        self._notifications = notifications
        self._scripts = scripts
        self._client: Any = None
        self._under_way = UnderWay()
        self._wakeups: RedisWakeups | None = None
        self._failures = RedisFailures(library.name)
        self._parts = Parts(
            _SIZES,
            new=lambda tasks, _now: len(pack([submitted(new) for new in tasks])),
            changed=lambda tasks: len(pack([committed(task) for task in tasks])),
            held=lambda held: len(pack([held_of(one) for one in held])),
        )

    @property
    def wakeups(self) -> Wakeups | None:
        return self._wakeups

    async def open(self) -> None:
        if self._client is not None:
            return
        self._client = self._given or self._library.open(
            self._url, connections=self._connections, cluster=self._cluster
        )
        self._failures = RedisFailures(
            f"{self._library.name}://{place_of(self._client, '' if self._given is not None else self._url)}"
        )
        try:
            await self.now()
            health = await ask_health(self._client, self._namespace.space)
            health.check(self._failures.database)
            self._measure(health.longest)
        except BaseException as error:
            await self.close()
            if isinstance(error, BackendError) and not is_away(error):
                raise QueueConfigurationError(str(error)) from error  # it refuses what all else is made of
            raise
        if health.evicts is not None:
            _log.warning("%s: %s", self._failures.database, health.evicts)
        if self._notifications:
            self._wakeups = RedisWakeups(self._client, self._subscribe, self._namespace, self._failures)

    async def close(self) -> None:
        if self._wakeups is not None:
            await self._wakeups.close()  # which sends what it has left
        client, self._client = self._client, None
        try:
            await self._under_way.ended()
        finally:
            if client is not None and (client is not self._given or self._owns_client):
                await client.aclose()

    async def remarks(self) -> Sequence[str]:
        return (await ask_health(self._open_client(), self._namespace.space)).remarks

    def apart(self) -> QueueBackend | None:
        client = None if self._given is None else self._library.apart(self._given)
        if self._given is not None and client is None:
            return None
        return RedisBackend(
            self._library,
            self._namespace,
            url=self._url,
            client=client,
            owns_client=True,
            cluster=self._cluster,
            connections=2,
            patience=self._patience,
            limit=self._limit,
            notifications=False,
            scripts=self._scripts,
        )

    async def create_schema(self) -> None: ...

    async def now(self) -> datetime:
        return read_time(await self._run("now", {}))

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        if not tasks:
            return []
        self._parts.whole_new(tasks)
        asked = {"now": packed_time(now), "tasks": [submitted(new) for new in tasks]}
        stamped, others = await self._run("enqueue", asked)
        at = read_time(stamped)
        answered = {place: Enqueued(record_of(row), is_own) for place, is_own, row in others}
        return [answered.get(place) or Enqueued(admit(new, at), True) for place, new in enumerate(tasks, 1)]

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if want.limit < 1 or want.queues == () or want.tasks == () or want.execution_backends == ():
            return []
        asked: dict[str, Any] = {
            "now": packed_time(now),
            "worker": want.worker,
            "reserve": want.reserve,
            "execution_ref": want.execution_ref,
            "stale_after": None if want.stale_after is None else repr(float(want.stale_after)),
            "queues": queue_names(want.queues),
            "tasks": None if want.tasks is None else [held_of(held) for held in want.tasks],
            "backends": want.execution_backends,
            "promoted": _PROMOTED,
            "passed": _PASSED,
        }
        claimed: list[TaskRecord] = []
        more, limit = True, min(want.limit, LIMIT_MAX)
        while more and len(claimed) < limit:
            part = {**asked, "limit": limit - len(claimed), "nonce": uuid4().hex}
            try:
                rows, more = await self._run("claim", part)
            except BackendUnavailableError:
                if not claimed:
                    raise
                break  # what was claimed is the caller's
            claimed += [record_of(row) for row in rows]
        return claimed

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        if not held:
            return set()
        self._parts.whole_held(held)
        asked = {"now": packed_time(now), "tasks": [held_of(one) for one in held]}
        return _at(held, await self._run("heartbeat", asked))

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        if not tasks:
            return set()
        tasks = first_outcomes(tasks)
        self._parts.whole_changed(tasks)
        asked = {
            "tasks": [committed(task) for task in tasks],
            "stale": None if stale is None else silent(stale),
            "tell": self._namespace.ends if self._notifications else None,
        }
        return _at(tasks, await self._run("commit", asked))

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        if not ids:
            return {}
        records = [record_of(row) for row in await self._run("get", {"ids": list(ids)})]
        return {record.id: record for record in records}

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if limit < 1:
            return []
        limit = min(limit, LIMIT_MAX)
        asked: dict[str, Any]
        match query:
            case Stale():
                return await self._in_parts("find_stale", {"stale": silent(query)}, limit)
            case Dispatched(at=at, execution_backends=backends):
                return await self._in_parts(
                    "find_dispatched", {"at": packed_time(at), "backends": _set(backends)}, limit
                )
            case Overdue(at):
                asked = {
                    "indexes": sorted(set(EXPIRING.values())),
                    "since": "",
                    "until": packed_time(at),
                    "through": True,
                }
            case Finished(before, since):
                asked = {"indexes": ["finished"], "since": packed_time(since) or "", "until": packed_time(before)}
            case Matching():
                return await self._search(query, limit)
        return [record_of(row) for row in await self._run("find", {**asked, "limit": limit})]

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        if queues == ():
            return []
        asked = {"queues": queue_names(queues), "states": [state.value for state in State]}
        found = await self._run("count", asked)
        return [Count(queue, stored_state(state), tasks) for queue, state, tasks in sorted(found)]

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        first = await self._run("next_due", {"queues": queue_names(queues)})
        return read_time(first) if first else None

    async def delete(self, held: Sequence[Held]) -> set[str]:
        if not held:
            return set()
        return _at(held, await self._run("delete", {"tasks": [held_of(one) for one in held]}))

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        ttl = min(ttl, _LONGEST)
        asked = {
            "name": name,
            "owner": owner,
            "now": packed_time(now),
            "until": None if now is None else packed_time(now + ttl),
            "seconds": ttl // timedelta(seconds=1),
            "microseconds": ttl.microseconds,
        }
        return bool(await self._run("lock", asked))

    async def unlock(self, name: str, owner: str) -> bool:
        return bool(await self._run("unlock", {"name": name, "owner": owner}))

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        rows: list[tuple[str, str, str]] = await self._run("read_named", {"prefix": prefix})
        return {name: NamedRecord(name, int(version), value) for name, version, value in rows}

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        if not records:
            return set()
        asked: list[list[str]] = [[one.name, str(one.version - 1), str(one.version), one.value] for one in records]
        stored: list[int] = await self._run("write_named", {"records": asked})
        return {asked[place - 1][0] for place in stored}

    async def _subscribe(self) -> tuple[Any, Callable[[], Awaitable[object]]]:
        """A subscription: on connections of its own, where the client is ours, so that it takes none of the others' places."""
        if self._given is not None or self._cluster:
            return await self._library.subscribe(self._client)
        client = self._library.open(self._url, connections=1, cluster=False)
        return client.pubsub(), client.aclose

    async def _search(self, query: Matching, limit: int) -> list[TaskRecord]:
        """Look through all tasks, the newest first."""
        asked: dict[str, Any] = {
            "states": _set(query.states),
            "queues": _set(query.queues),
            "names": _set(query.names),
            "key": query.key,
        }
        return await self._in_parts("scan", asked, limit)

    async def _in_parts(self, name: str, asked: Mapping[str, Any], limit: int) -> list[TaskRecord]:
        """Look through an index some tasks at a time, so that the server has time for others between."""
        found: list[TaskRecord] = []
        after: Any = None
        while True:
            part = {**asked, "looks": _LOOKS, "after": after, "limit": limit - len(found)}
            rows, after = await self._run(name, part)
            found += [record_of(row) for row in rows]
            if not after or len(found) >= limit:
                return found

    async def _run(self, name: str, asked: Mapping[str, Any]) -> Any:
        """Run a script, again where the server was not ready, or the connection was lost: each may be repeated."""
        with self._under_way:
            try:
                return await with_retries(
                    partial(self._attempt, self._open_client(), self._scripts[name], asked),
                    what=f"{self._failures.database}: {name}",
                    patience=self._patience,
                    repeatable=True,
                    in_the_way="the server was not ready",
                )
            except (RefusedError, LostConnectionError):
                if len(pack(asked)) > MIB:
                    # A server that takes less than it did ends the connection; the next batch is smaller then.
                    with suppress(Exception):
                        self._measure((await ask_health(self._open_client(), self._namespace.space)).longest)
                raise

    def _measure(self, longest: int | None) -> None:
        """Keep how much the server takes, where it tells that."""
        if longest is not None:
            self._parts.sizes = _SIZES.limited(longest)

    async def _attempt(self, client: Any, script: Script, asked: Mapping[str, Any]) -> Any:
        limit = asyncio.timeout(self._limit)
        try:
            async with limit:
                return await run(client, script, self._namespace.space, asked)
        except Exception as error:
            if limit.expired():
                raise self._failures.of_silence(script.name, self._limit) from error
            if is_read_only(error) and hasattr(client, "connection_pool"):
                # It was the primary once. Who is now may be behind the same name.
                await client.connection_pool.disconnect(inuse_connections=False)
            raise self._failures.of_script(error, script.name) from error

    def _open_client(self) -> Any:
        if self._client is None:
            raise BackendUnavailableError(f"{self._failures.database}: the backend is not open: call open() first")
        return self._client


def _set(values: tuple[str, ...] | None) -> dict[str, bool] | None:
    return None if values is None else dict.fromkeys(map(str, values), True)


def _at(batch: Sequence[Held | TaskRecord], places: Sequence[int]) -> set[str]:
    """The ids at these places of a batch, counted from 1 as the scripts do."""
    return {batch[place - 1].id for place in places}
