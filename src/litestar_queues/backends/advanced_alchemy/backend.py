"""The port over a model of SQLAlchemy's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from advanced_alchemy.config.asyncio import SQLAlchemyAsyncConfig
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker

from litestar_queues.backends.advanced_alchemy import schema
from litestar_queues.backends.advanced_alchemy.dialects import Dialect
from litestar_queues.backends.advanced_alchemy.engines import (
    EngineShare,
    check_pool,
    config_apart,
    is_in_memory,
    url_of,
)
from litestar_queues.backends.advanced_alchemy.failures import AlchemyFailures
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.advanced_alchemy.transport import BoundTransport, SessionTransport
from litestar_queues.backends.advanced_alchemy.wakeups import AlchemyWakeups, hint_text
from litestar_queues.backends.base import QueueBackend, Wakeups
from litestar_queues.backends.cancelling import whole
from litestar_queues.backends.place import FilePlace
from litestar_queues.backends.retry import is_away, with_retries
from litestar_queues.backends.sql.families import Kind
from litestar_queues.backends.sql.port import BoundBackend, SqlBackend, SqlPort
from litestar_queues.backends.sql.schema import Advice, Standing, migrated_by_others, standing_of, usable
from litestar_queues.clock import Clock, SystemClock
from litestar_queues.errors import BackendError, QueueConfigurationError

__all__ = ("AdvancedAlchemyBackend",)

T = TypeVar("T")

_ADVICE = Advice(
    missing="apply the application's migrations, or set create_schema=True where it is to be created",
    foreign="give the model another table, or make a migration that brings it to the model",
    older=(
        "make a migration with Alembic (revision --autogenerate), see to the check and the length of its states, and apply "
        "it; or set create_schema=True"
    ),
)

_log = logging.getLogger("litestar_queues")


class AdvancedAlchemyBackend(SqlBackend):
    """Runs the engine's programs in sessions of SQLAlchemy's.

    Made by `AdvancedAlchemyBackendConfig.create_backend`.
    """

    def __init__(
        self,
        config: SQLAlchemyAsyncConfig,
        table: QueueTable,
        dialect: Dialect,
        failures: AlchemyFailures,
        *,
        create_schema: bool,
        migration_timeout: float = 0.0,
        heartbeats: Callable[[], AsyncSession] | None,
        patience: float,
        limit: float | None,
        channel: str | None,
        clock: Clock | None = None,
        place: FilePlace | None = None,
    ) -> None:
        url = url_of(config)
        family, clock = dialect.family, clock or SystemClock()
        port = SqlPort(
            database=failures.database,
            engine=family.engine(family, dialect.statements(table), clock, loads=True),
            patience=patience,
            loads_from=2,
            place=place,
        )
        super().__init__(port, name=f"advanced_alchemy[{url.drivername}]", process_local=is_in_memory(url))
        self._config = config
        is_file = url.get_backend_name() == "sqlite" and not self.process_local
        self._path = url.database if is_file else None
        self._place = place
        self._table = table
        self._dialect = dialect
        self._failures = failures
        self._creates_schema = create_schema
        self._migration_timeout = migration_timeout
        self._heartbeat_maker = heartbeats
        self._limit = None if dialect.family.clock == "client" else limit
        self._channel = channel
        self._transport: SessionTransport | None = None
        self._share = EngineShare(config)
        self._wakeups: AlchemyWakeups | None = None

    @property
    def wakeups(self) -> Wakeups | None:
        return self._wakeups

    async def open(self) -> None:
        if self._transport is not None:
            return
        if self._place is not None:
            self._place.check(self.port.database)  # before SQLite makes a file where there is none
        engine = self._share.take()
        try:
            check_pool(engine, self.port.database)
            self._transport = self._through(async_sessionmaker(engine, expire_on_commit=False), engine)
            self.port = self.port.opened(self._transport)
            await self.port.check_server()
            await self._check_schema()
            if self._path is not None and self._place is None:
                self.port = replace(self.port, place=FilePlace(self._path))
            if self._heartbeat_maker is not None:
                self.port = replace(self.port, beats=self._through(self._heartbeat_maker, engine))
            if self._channel is not None:
                self._wakeups = AlchemyWakeups(engine, self._channel, self._failures, self._notify)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await whole(self._close())

    async def _close(self) -> None:
        if self._wakeups is not None:
            await self._wakeups.close()  # which sends what it has left
        self._transport, self.port = None, replace(self.port.closed(), place=self._place)
        try:
            await self.port.under_way.ended()
        finally:
            await self._share.leave()

    def bind(self, session: Any) -> QueueBackend:
        found = _session_of(session)
        if found is None:
            raise QueueConfigurationError(
                f"session takes an AsyncSession of SQLAlchemy's, as Advanced Alchemy provides it to a handler, not "
                f"{type(session).__qualname__}"
            )
        transport = BoundTransport(found, self._table, self._dialect, self._failures)
        port = self.port.bound(transport, self._hint_inside if self._wakeups is not None else None)
        return BoundBackend(port, name=self.name, process_local=self.process_local)

    def apart(self) -> QueueBackend | None:
        config = config_apart(self._config)
        if self.process_local or config is None:
            return None
        return AdvancedAlchemyBackend(
            config,
            self._table,
            self._dialect,
            self._failures,
            create_schema=False,
            heartbeats=None,
            patience=self.port.patience,
            limit=self._limit,
            channel=None,
            place=self.port.place,
        )

    async def create_schema(self) -> None:
        create = partial(schema.create, table=self._table, dialect=self._dialect)
        await self._define(Kind.WRITE, "create_schema", create)

    def _through(self, maker: Callable[[], AsyncSession], engine: AsyncEngine) -> SessionTransport:
        return SessionTransport(
            maker, self._table, self._dialect, engine.dialect.driver, self._failures, limit=self._limit
        )

    async def _define(self, kind: Kind, name: str, work: Callable[[Connection], T]) -> T:
        transport = self._transport
        if transport is None:
            raise self.port.not_open()
        with self.port.under_way:
            return await with_retries(
                partial(transport.within, kind, name, work),
                what=f"{self.port.database}: {name}",
                patience=self.port.patience,
                repeatable=True,
            )

    async def _check_schema(self) -> None:
        family, table, place = self._dialect.family, self._table, self.port.database
        look = partial(self._define, Kind.READ, "look at the schema", partial(schema.look, table=table))
        try:
            if self._creates_schema and standing_of(await look(), family)[0] is not Standing.FOREIGN:
                changes = partial(schema.changes, table=table)
                if await self._define(Kind.READ, "look at the schema", changes):
                    await self.create_schema()
            found = await migrated_by_others(look, family, place, self._migration_timeout)
            usable(found, family, place, _ADVICE)
            await self.port.run(self.port.engine.check_schema())
        except BackendError as error:
            if is_away(error):
                raise
            raise QueueConfigurationError(
                f"{error}; the table {table.tasks.fullname!r} cannot be used for {table.model.__qualname__}"
            ) from error

    def _hint_inside(self, queues: list[str]) -> tuple[str, str]:
        assert self._channel is not None  # noqa: S101  # otherwise nobody asks
        # From nobody, so that it wakes those of this process too: they are not told in another way.
        return self._channel, hint_text({"queues": queues, "from": None})

    async def _notify(self, payload: str) -> None:
        assert self._channel is not None  # noqa: S101  # as above
        await self.port.run(self.port.engine.notify(self._channel, payload))


def _session_of(session: Any) -> AsyncSession | None:
    """The session, or that of the current scope."""
    kind: type[Any] = async_scoped_session
    if isinstance(session, kind):
        session = session()
    return session if isinstance(session, AsyncSession) else None
