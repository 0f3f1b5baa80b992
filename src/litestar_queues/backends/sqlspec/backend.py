"""The port over a database of SQLSpec's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from sqlspec import SQLSpec

from litestar_queues.backends.base import Observer, QueueBackend, Wakeups
from litestar_queues.backends.cancelling import whole
from litestar_queues.backends.place import FilePlace
from litestar_queues.backends.retry import is_away, with_retries
from litestar_queues.backends.sql.families import Statement, statements_of
from litestar_queues.backends.sql.port import BoundBackend, SqlBackend, SqlPort
from litestar_queues.backends.sql.program import statements
from litestar_queues.backends.sql.schema import Advice, Found, Schema, Standing, migrated_by_others, standing_of, usable
from litestar_queues.backends.sqlspec.bound import BoundTransport
from litestar_queues.backends.sqlspec.channel import Channel
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.sqlspec.heartbeats import HeartbeatPool
from litestar_queues.backends.sqlspec.migrating import VERSIONS, Migrator
from litestar_queues.backends.sqlspec.observer import RuntimeObserver
from litestar_queues.backends.sqlspec.pools import Pool, derived_config, register
from litestar_queues.backends.sqlspec.store import QueueStore, Transport
from litestar_queues.backends.sqlspec.wakeups import SQLSpecWakeups, encode_hint
from litestar_queues.clock import Clock, SystemClock
from litestar_queues.errors import BackendError, QueueConfigurationError

__all__ = ("SQLSpecBackend",)


_log = logging.getLogger("litestar_queues")

_MISSING = "set create_schema=True or run_migrations=True where it is to be created, or choose another table_name"
_FOREIGN = "choose another table_name"
_OLDER = f"apply the migration {VERSIONS[-1]}, or set create_schema=True or run_migrations=True"


def _skips_locked(driver: Any) -> Any:
    return driver.data_dictionary.get_feature_flag(driver, "supports_skip_locked")


class SQLSpecBackend(SqlBackend):
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
        migration_timeout: float = 0.0,
        table_name: str,
        patience: float,
        limit: float | None = None,
        small: bool = False,
        arrow_from: int | None = None,
        heartbeats: HeartbeatPool | None = None,
        observer: RuntimeObserver | None = None,
        clock: Clock | None = None,
        channel: Channel | None = None,
        place: FilePlace | None = None,
    ) -> None:
        location = store.locate(config)
        self._failures = SQLSpecFailures(store.family, location.database, config.connection_config)
        self._clock = clock or SystemClock()
        port = SqlPort(
            database=self._failures.database,
            engine=store.family.engine(store.family, statements, self._clock, table=table_name),
            patience=patience,
            loads_from=arrow_from,
            place=place,
        )
        super().__init__(port, name=f"sqlspec[{store.adapter}]", process_local=location.process_local)
        self._store = store
        self._path = location.path
        self._place = place
        self._config = config
        self._statements = statements
        self._shared = sqlspec
        self._creates_schema = create_schema
        self._migration_timeout = migration_timeout
        self._table_name = table_name
        self._small = small
        self._limit = None if store.family.clock == "client" else limit
        self._schema = Schema(store.family, statements, table_name)
        self._migrator = Migrator(config, table_name, self._failures) if run_migrations else None
        self._transport: Transport | None = None
        self._pool = Pool(config)
        self._heartbeats = heartbeats
        self._observer = observer
        # Where nobody else sees the tasks, nobody else is to be told of them.
        self._channel = None if location.process_local else channel
        self._wakeups: SQLSpecWakeups | None = None

    @property
    def wakeups(self) -> Wakeups | None:
        return self._wakeups

    @property
    def observer(self) -> Observer | None:
        return self._observer

    async def open(self) -> None:
        if self._transport is not None:
            return
        if self._place is not None:
            self._place.check(self.port.database)  # before SQLite makes a file where there is none
        spec = self._shared or SQLSpec()
        register(spec, self._config, shared=self._shared is not None)
        if self._store.probe is not None:
            await asyncio.to_thread(self._store.probe, self._config)
        self._pool.take(shared=self._shared is not None)
        self._transport = self._store.transport(
            spec, self._config, self._store, self._failures, limit=self._limit, small=self._small
        )
        self.port = self.port.opened(self._transport)
        try:
            await self.port.check_server()
            await self._choose_claims(self._transport)
            await self._check_schema()
            if self._path is not None and self._place is None:
                self.port = replace(self.port, place=FilePlace(self._path))
            await self._open_channel()
            if self._heartbeats is not None:
                await self._heartbeats.open(
                    spec, shared=self._shared is not None, check=self._check_heartbeats, limit=self._limit
                )
                self.port = replace(self.port, beats=self._heartbeats.transport)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await whole(self._close())

    async def _close(self) -> None:
        if self._wakeups is not None:
            await self._wakeups.close()  # which sends what it has left
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self.port = replace(self.port.closed(), place=self._place)
        try:
            await self.port.under_way.ended()
        finally:
            if self._heartbeats is not None:
                await self._heartbeats.close()
            await transport.close()
            await self._pool.leave()

    def bind(self, session: Any) -> QueueBackend:
        transport = BoundTransport(session, self._config, self._store, self._failures)
        hinting = self._wakeups is not None and self._channel is not None and self._channel.broadcasts
        port = self.port.bound(transport, self._hint_inside if hinting else None)
        return BoundBackend(port, name=self.name, process_local=self.process_local)

    def apart(self) -> QueueBackend | None:
        base = self._config if self._heartbeats is None else self._heartbeats.config
        if self.process_local or (base.connection_instance is not None and not base.connection_config):
            return None
        return SQLSpecBackend(
            self._store,
            derived_config(base, self._store.small_pool),
            self._statements,
            sqlspec=None,
            create_schema=False,
            table_name=self._table_name,
            patience=self.port.patience,
            limit=self._limit,
            small=True,
            clock=self._clock,
            place=self.port.place,
        )

    async def create_schema(self) -> None:
        await self.port.run(self._schema.create())

    async def _choose_claims(self, transport: Transport) -> None:
        """Claim by compare-and-swap where the database has no SKIP LOCKED."""
        swapping = self._store.family.swapping
        if swapping is None:
            return
        with suppress(Exception):  # no answer is no denial, and what is wrong with the database shows soon enough
            if not await transport.ask(_skips_locked):
                statements = statements_of(swapping, self._table_name)
                engine = swapping.engine(swapping, statements, self._clock, table=self._table_name)
                self.port = replace(self.port, engine=engine)

    async def _check_schema(self) -> None:
        look, family, place = partial(self._look, self._schema), self._store.family, self.port.database
        missing = _MISSING
        try:
            if self._migrator is not None:
                await self._migrator.apply(self.port.run, self._schema)
                missing = self._migrator.missing_table()
            elif self._creates_schema and self._schema.steps(before := await look()):
                await self._create_if_allowed(before)
            found = await migrated_by_others(look, family, place, self._migration_timeout)
            usable(found, family, place, Advice(missing, _FOREIGN, _OLDER))
            await self.port.run(self.port.engine.check_schema())
        except BackendError as error:
            if is_away(error):
                raise
            raise QueueConfigurationError(f"{error}; the table {self._table_name!r} cannot be used") from error

    async def _create_if_allowed(self, before: Found) -> None:
        """Create what is missing. An older table that this user may not change is left to somebody who may."""
        try:
            await self.create_schema()
        except BackendError as error:
            if is_away(error):
                raise
            if standing_of(before, self._store.family)[0] is not Standing.OLDER:
                raise
            _log.warning("%s: the schema was not upgraded: %s", self.port.database, error)

    async def _look(self, schema: Schema) -> Found:
        return await self.port.run(schema.look())

    async def _open_channel(self) -> None:
        if self._channel is None:
            return
        if self._channel.table is not None:
            check = [f"SELECT event_id FROM {self._channel.table} WHERE 1 = 0"]  # noqa: S608  # SQLSpec checked the name
            try:
                await self.port.run(statements("check_events_table", check))
            except BackendError as error:
                if is_away(error):
                    raise
                if not self._creates_schema and self._migrator is None:
                    raise QueueConfigurationError(
                        f"{error}; the table {self._channel.table!r} of SQLSpec's events is not there: apply SQLSpec's "
                        f"migrations of its events extension, or set create_schema=True"
                    ) from error
                create = self._channel.create_statements(self._channel.derive(self._config))
                await self.port.run(statements("create_events_table", create))
        self._wakeups = SQLSpecWakeups(self._channel, self._config, self._failures, self._notify)

    def _hint_inside(self, queues: list[str]) -> tuple[str, str]:
        assert self._channel is not None  # noqa: S101  # otherwise nobody asks
        # From nobody, so that it wakes those of this process too: they are not told in another way.
        return self._channel.name, encode_hint({"queues": queues, "from": None})

    async def _notify(self, channel: str, payload: str) -> None:
        await self.port.run(self.port.engine.notify(channel, payload))

    async def _check_heartbeats(self, transport: Transport, failures: SQLSpecFailures) -> None:
        program = self.port.engine.check_schema()
        attempt = partial(transport.attempt, program)
        await with_retries(attempt, what=f"{failures.database}: {program.name}", patience=self.port.patience)
