"""The port over a database of SQLSpec's."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from copy import copy
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlspec import SQLSpec

from litestar_queues.backends.base import Observer, QueueBackend, Wakeups
from litestar_queues.backends.retry import with_retries
from litestar_queues.backends.sql.engine import Engine
from litestar_queues.backends.sql.families import Kind, Statement, statements_of
from litestar_queues.backends.sql.program import ConflictError, Program, statements
from litestar_queues.backends.sqlspec.bound import BoundTransport
from litestar_queues.backends.sqlspec.channel import Channel
from litestar_queues.backends.sqlspec.failures import Failures
from litestar_queues.backends.sqlspec.heartbeats import HeartbeatPool
from litestar_queues.backends.sqlspec.migrating import Migrator
from litestar_queues.backends.sqlspec.observer import RuntimeObserver
from litestar_queues.backends.sqlspec.pools import Pool, register
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues.backends.sqlspec.transports import Transport
from litestar_queues.backends.sqlspec.wakeups import SQLSpecWakeups, encode_hint
from litestar_queues.clock import Clock, SystemClock
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueConfigurationError
from litestar_queues.lifecycle import State
from litestar_queues.records import Count, Enqueued, Held, NewTask, Query, TaskRecord, Want

__all__ = ("SQLSpecBackend",)

T = TypeVar("T")


def _skips_locked(driver: Any) -> Any:
    return driver.data_dictionary.get_feature_flag(driver, "supports_skip_locked")


class SQLSpecBackend:
    """Runs the engine's programs on the adapter's transport.

    Made by `SQLSpecBackendConfig.create_backend`.
    """

    def __init__(
        self,
        store: QueueStore,
        config: Any,
        statements: Mapping[str, Statement],
        *,
        sqlspec: SQLSpec | None,
        create_schema: bool,
        run_migrations: bool = False,
        table_name: str,
        patience: float,
        limit: float | None = None,
        arrow_from: int | None = None,
        heartbeats: HeartbeatPool | None = None,
        observer: RuntimeObserver | None = None,
        clock: Clock | None = None,
        channel: Channel | None = None,
    ) -> None:
        location = store.locate(config)
        self.name = f"sqlspec[{store.adapter}]"
        self.process_local = location.process_local
        self._store = store
        self._config = config
        self._shared = sqlspec
        self._creates_schema = create_schema
        self._table_name = table_name
        self._patience = patience
        self._limit = None if store.family.clock == "client" else limit
        self._arrow_from = arrow_from
        self._clock = clock or SystemClock()
        self._engine = Engine(store.family, statements, self._clock, table=table_name)
        self._failures = Failures(store.family, location.database, config.connection_config)
        self._migrator = Migrator(config, table_name, self._failures) if run_migrations else None
        self._transport: Transport | None = None
        self._repeats = True
        self._pool = Pool(config)
        self._heartbeats = heartbeats
        self._observer = observer
        self._writing: asyncio.Lock | None = None
        # Where nobody else sees the tasks, nobody else is to be told of them.
        self._channel = None if location.process_local else channel
        self._wakeups: SQLSpecWakeups | None = None
        self._hints_inside = False

    @property
    def wakeups(self) -> Wakeups | None:
        return self._wakeups

    @property
    def observer(self) -> Observer | None:
        return self._observer

    async def open(self) -> None:
        if self._transport is not None:
            return
        spec = self._shared or SQLSpec()
        register(spec, self._config, shared=self._shared is not None)
        if self._store.probe is not None:
            await asyncio.to_thread(self._store.probe, self._config)
        self._pool.take(shared=self._shared is not None)
        self._writing = asyncio.Lock() if self._store.family.one_writer else None
        self._transport = self._store.transport(spec, self._config, self._store, self._failures, limit=self._limit)
        try:
            await self._check_version()
            await self._choose_claims(self._transport)
            await self._check_schema()
            await self._open_channel()
            if self._heartbeats is not None:
                await self._heartbeats.open(
                    spec, shared=self._shared is not None, check=self._check_heartbeats, limit=self._limit
                )
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._wakeups is not None:
            await self._wakeups.close()  # which sends what it has left
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if self._heartbeats is not None:
            await self._heartbeats.close()
        await transport.close()
        await self._pool.leave()

    def bind(self, session: Any) -> QueueBackend:
        bound = copy(self)
        # Whoever writes waits in line (`_writing`): the caller's transaction has its place already.
        transport = BoundTransport(session, self._config, self._store, self._failures)
        vars(bound).update(_transport=transport, _writing=None, _repeats=False, _arrow_from=None)
        vars(bound).update(_pool=Pool(self._config), _heartbeats=None, _wakeups=None)
        bound._hints_inside = self._wakeups is not None and self._channel is not None and self._channel.broadcasts  # noqa: SLF001
        return bound

    async def create_schema(self) -> None:
        await self._run(self._engine.create_schema())

    async def now(self) -> datetime:
        return await self._run(self._engine.now())

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        if self._arrow_from is not None and len(tasks) >= self._arrow_from and all(new.key is None for new in tasks):
            try:
                return await self._attempt(self._opened(), self._engine.load_many(tasks, now))
            except (ConflictError, BackendUnavailableError):
                pass  # some of it may be stored already: the statement finds out, and knows how to answer
            except BackendError as error:
                if not _is_duplicate(error):
                    raise
        answers = await self._run(self._engine.enqueue_many(tasks, now))
        new = sorted({answer.record.queue for answer in answers if answer.is_new})
        if new and self._hints_inside and self._channel is not None:
            # From nobody, so that it wakes those of this process too: they are not told in another way.
            hint = encode_hint({"queues": new, "from": None})
            await self._run(self._engine.notify(self._channel.name, hint))
        return answers

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await self._run(self._engine.claim(want, now))

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        return await self._run(self._engine.touch_heartbeats(held, now), self._beats_through())

    async def commit(self, tasks: Sequence[TaskRecord], *, stale_before: datetime | None = None) -> set[str]:
        beats_only = all(task.state is State.RUNNING and task.heartbeat_at is None for task in tasks)
        through = self._beats_through() if beats_only else None
        return await self._run(self._engine.commit(tasks, stale_before), through)

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return await self._run(self._engine.get(ids))

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return await self._run(self._engine.find(query, limit))

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        return await self._run(self._engine.count(queues))

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        return await self._run(self._engine.next_due(queues))

    async def delete(self, held: Sequence[Held]) -> set[str]:
        return await self._run(self._engine.delete(held))

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await self._run(self._engine.lock(name, owner, ttl, now))

    async def unlock(self, name: str, owner: str) -> bool:
        return await self._run(self._engine.unlock(name, owner))

    def _opened(self) -> Transport:
        if self._transport is None:
            raise BackendUnavailableError(f"{self._failures.database}: the backend is not open: call open() first")
        return self._transport

    async def _run(self, program: Program[T], through: Transport | None = None) -> T:
        transport = through or self._opened()
        return await with_retries(
            partial(self._attempt, transport, program),
            what=f"{self._failures.database}: {program.name}",
            patience=self._patience,
            repeatable=program.repeatable and self._repeats,
        )

    async def _attempt(self, transport: Transport, program: Program[T]) -> T:
        if self._writing is None or program.kind is Kind.READ or transport is not self._transport:
            return await transport.attempt(program)
        # SQLite's own waiting is a sleep of up to 100 ms. With 20 tasks that enqueue at once, the 99th percentile was
        # 122 ms without this lock, and 8 ms with it.
        async with self._writing:
            return await transport.attempt(program)

    async def _check_version(self) -> None:
        family = self._store.family
        found = await self._run(self._engine.version())
        if (least := family.newer_than(found)) is not None:
            wanted = ".".join(str(part) for part in least)
            raise QueueConfigurationError(
                f"{self._failures.database}: {family.name} {found} is too old for a queue: {wanted} or newer is needed"
            )
        settings = await self._run(self._engine.settings())
        for name, wanted in family.settings.items():
            if settings.get(name) != wanted:
                raise QueueConfigurationError(
                    f"{self._failures.database}: {name} is {settings.get(name)!r}, and a queue needs {wanted!r}: another "
                    f"one changes users' texts, or takes different ones for the same"
                )

    async def _choose_claims(self, transport: Transport) -> None:
        """Claim by compare-and-swap where the database has no SKIP LOCKED."""
        swapping = self._store.family.swapping
        if swapping is None:
            return
        with suppress(Exception):  # no answer is no denial, and what is wrong with the database shows soon enough
            if not await transport.ask(_skips_locked):
                statements = statements_of(swapping, self._table_name)
                self._engine = Engine(swapping, statements, self._clock, table=self._table_name)

    async def _check_schema(self) -> None:
        advice = "set create_schema=True where it is to be created, or choose another table_name"
        try:
            if self._migrator is not None:
                await self._migrator.apply(self._run, self._engine.existing)
                advice = self._migrator.missing_table()
            elif self._creates_schema and await self._run(self._engine.lacks_schema()):
                await self.create_schema()
            await self._run(self._engine.check_schema())
        except BackendUnavailableError:
            raise
        except BackendError as error:
            raise QueueConfigurationError(
                f"{error}; the table {self._table_name!r} is not there, or is not a queue's of this version: {advice}"
            ) from error

    async def _open_channel(self) -> None:
        if self._channel is None:
            return
        if self._channel.table is not None:
            check = [f"SELECT event_id FROM {self._channel.table} WHERE 1 = 0"]  # noqa: S608  # SQLSpec checked the name
            try:
                await self._run(statements("check_events_table", check))
            except BackendUnavailableError:
                raise
            except BackendError as error:
                if not self._creates_schema and self._migrator is None:
                    raise QueueConfigurationError(
                        f"{error}; the table {self._channel.table!r} of SQLSpec's events is not there: apply SQLSpec's "
                        f"migrations of its events extension, or set create_schema=True"
                    ) from error
                create = self._channel.create_statements(self._channel.derive(self._config))
                await self._run(statements("create_events_table", create))
        self._wakeups = SQLSpecWakeups(self._channel, self._config, self._failures, self._notify)

    async def _notify(self, channel: str, payload: str) -> None:
        await self._run(self._engine.notify(channel, payload))

    def _beats_through(self) -> Transport | None:
        """The pool of heartbeats; None where they share the main one."""
        return None if self._heartbeats is None else self._heartbeats.transport

    async def _check_heartbeats(self, transport: Transport, failures: Failures) -> None:
        program = self._engine.check_schema()
        attempt = partial(transport.attempt, program)
        await with_retries(attempt, what=f"{failures.database}: {program.name}", patience=self._patience)


def _is_duplicate(error: BackendError) -> bool:
    """Whether a row was refused because there is one like it."""
    cause = error.__cause__
    return any(cls.__name__ in ("UniqueViolationError", "IntegrityError") for cls in type(cause).__mro__)
