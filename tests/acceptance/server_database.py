"""A database of a server: as the queues reach it, and as a plain driver sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from acceptance.database import TABLES_MADE
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
from litestar_queues.backends.base import BackendConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues_matrix.adapters import ADAPTERS
from litestar_queues_matrix.alchemy import ALCHEMY
from litestar_queues_matrix.servers import ask

_PATIENCE = 0.5
"""Seconds after which a transaction counts as one that stays."""

_TABLES = {
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename",
    "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = database() ORDER BY table_name",
}
_OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}
_WRITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_rows_locked > 0 OR trx_rows_modified > 0",
}
_CUT = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


@dataclass(frozen=True, slots=True)
class ServerDatabase:
    """A database of a server, through one of SQLSpec's adapters.

    Attributes:
        adapter: As the matrix names it.
        url: The database.
    """

    adapter: str
    url: str
    id_column: ClassVar[str] = "id"

    tables_made = TABLES_MADE
    resolves_claims = False

    @property
    def place(self) -> dict[str, Any]:
        return {"adapter": self.adapter, "url": self.url}

    def backend(self, **store: Any) -> BackendConfig:
        (adapter,) = (adapter for adapter in ADAPTERS if adapter.name == self.adapter)
        return SQLSpecBackendConfig(config=adapter.config(self.url), **store)

    def through(self, port: int) -> ServerDatabase:
        """The same by way of a proxy on a port of this machine."""
        parts = urlsplit(self.url)
        user = parts.netloc.rpartition("@")[0]
        return replace(self, url=urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}")))

    def rows(self, *ids: str) -> dict[str, dict[str, Any]]:
        with ask.connected(self.url) as cursor:
            if ids:
                places = ", ".join(["%s"] * len(ids))
                cursor.execute(f"SELECT * FROM litestar_queue_task WHERE {self.id_column} IN ({places})", ids)
            else:
                cursor.execute("SELECT * FROM litestar_queue_task")
            names = [column[0] for column in cursor.description]
            found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {row[self.id_column]: row for row in found}

    def count(self, *states: str) -> int:
        """How many tasks are in one of these states."""
        places = ", ".join(["%s"] * len(states))
        with ask.connected(self.url) as cursor:
            cursor.execute(f"SELECT count(*) FROM litestar_queue_task WHERE state IN ({places})", states)
            return int(cursor.fetchone()[0])

    def tables(self) -> list[str]:
        with ask.connected(self.url) as cursor:
            cursor.execute(_TABLES[self._kind])
            return [str(row[0]) for row in cursor.fetchall()]

    def is_busy(self) -> bool:
        until = time.monotonic() + _PATIENCE
        with ask.connected(self.url) as cursor:
            while True:
                cursor.execute(_WRITING[self._kind])
                if not cursor.fetchone()[0]:
                    return False
                if time.monotonic() > until:
                    return True

    def connections(self) -> int:
        """How many connections there are to this database."""
        with ask.connected(self.url) as cursor:
            cursor.execute(_OTHERS[self._kind])
            return len(cursor.fetchall())

    def cut_connections(self) -> int:
        """Let the server end all connections to this database but ours; how many those were."""
        with ask.connected(self.url) as cursor:
            cursor.execute(_OTHERS[self._kind])
            others = [int(row[0]) for row in cursor.fetchall()]
            for each in others:
                try:
                    cursor.execute(_CUT[self._kind].format(each))
                except Exception as error:
                    if "nknown thread" not in str(error):  # it has ended by itself
                        raise
        return len(others)

    @property
    def _kind(self) -> str:
        return urlsplit(self.url).scheme


@dataclass(frozen=True, slots=True)
class AlchemyDatabase(ServerDatabase):
    """The same through Advanced Alchemy, with its default model."""

    id_column: ClassVar[str] = "task_id"

    def backend(self, **store: Any) -> BackendConfig:
        config = ALCHEMY[self.adapter].adapter.config(self.url)
        return AdvancedAlchemyBackendConfig(sqlalchemy_config=config, **{"create_schema": True, **store})


def server_database(adapter: str, url: str) -> ServerDatabase:
    """The database through whatever the matrix has under this name."""
    return (AlchemyDatabase if adapter in ALCHEMY else ServerDatabase)(adapter, url)
