"""How an Advanced Alchemy backend is configured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from litestar_queues.backends.advanced_alchemy.backend import AdvancedAlchemyBackend
from litestar_queues.backends.advanced_alchemy.dialects import Dialect, dialect_of
from litestar_queues.backends.advanced_alchemy.engines import check_config, is_in_memory, place_of, url_of
from litestar_queues.backends.advanced_alchemy.failures import AlchemyFailures
from litestar_queues.backends.advanced_alchemy.model import QueueTaskModel
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.retry import PATIENCE
from litestar_queues.backends.sql.options import channel_name, check_timeouts, refuses_notifications
from litestar_queues.backends.sql.schema import MIGRATION_TIMEOUT
from litestar_queues.errors import QueueConfigurationError

__all__ = ("AdvancedAlchemyBackendConfig",)


@dataclass(frozen=True, kw_only=True)
class AdvancedAlchemyBackendConfig:
    """`QueueConfig(queue_backend=AdvancedAlchemyBackendConfig(sqlalchemy_config=SQLAlchemyAsyncConfig(...)))`.

    Attributes:
        sqlalchemy_config: The database, as the application has it for its own models. Its engine is shared, and disposed
            of by whoever made it; its session maker is not used, since each operation has a session of its own.
        model_class: The class whose table holds the tasks: `QueueTaskModelMixin` with a base of the application's.
        create_schema: Create what is missing of the tables when the backend opens; otherwise they have to be there, by the
            application's own migrations.
        migration_timeout: Seconds for which a backend that may not change the tables waits where they are of an older
            version, until somebody else has migrated them; 0 waits for nobody.
        heartbeat_session_maker: Makes the sessions in which heartbeats are written and nulled, on an engine of the
            application's own for the same database, so that they stay on time while every connection of the first is busy.
            That engine is never disposed of here, and what is wrong with it shows at the first heartbeat.
        lock_timeout: Seconds for which a transaction that meets a conflict is tried again, before the database counts as
            unavailable.
        answer_timeout: Seconds for which an operation may go on before its connection is given up, and the call raises
            `BackendUnavailableError`. Those that define tables are not bounded, nor is SQLite; None bounds nothing.
        notifications: Whether workers in other processes are told of new tasks, instead of polling alone. None: on
            PostgreSQL through asyncpg and psycopg, by LISTEN and NOTIFY; nowhere else can it be had.
        notification_channel: The channel; named after the table unless given.
    """

    sqlalchemy_config: Any
    model_class: type[Any] = QueueTaskModel
    create_schema: bool = False
    migration_timeout: float = MIGRATION_TIMEOUT
    heartbeat_session_maker: Callable[[], AsyncSession] | None = None
    lock_timeout: float = PATIENCE
    answer_timeout: float | None = 60.0
    notifications: bool | None = None
    notification_channel: str | None = None

    def create_backend(self) -> QueueBackend:
        """A backend that is not open yet.

        Raises:
            QueueConfigurationError: The database, the model or the notifications cannot work.
        """
        config = check_config(self.sqlalchemy_config)
        url = url_of(config)
        dialect = dialect_of(url.get_backend_name())
        table = QueueTable.of(self.model_class)
        check_timeouts(self.lock_timeout, self.answer_timeout, self.migration_timeout)
        return AdvancedAlchemyBackend(
            config,
            table,
            dialect,
            AlchemyFailures(dialect.family, place_of(url), {"password": url.password or ""}),
            create_schema=self.create_schema,
            migration_timeout=self.migration_timeout,
            heartbeats=self.heartbeat_session_maker,
            patience=self.lock_timeout,
            limit=self.answer_timeout,
            channel=None if is_in_memory(url) else self._channel(dialect, url.get_driver_name(), table),
        )

    def _channel(self, dialect: Dialect, driver: str, table: QueueTable) -> str | None:
        """The channel for hints; None where workers only poll."""
        given = () if self.notification_channel is None else ("notification_channel",)
        if refuses_notifications(self.notifications, given):
            return None
        if driver not in dialect.listens:
            if self.notifications or given:
                raise QueueConfigurationError(
                    f"notifications cannot be had through {driver}: they need PostgreSQL, through asyncpg or psycopg; leave "
                    f"them out, and workers poll"
                )
            return None
        return channel_name(self.notification_channel, table.tasks.fullname)
