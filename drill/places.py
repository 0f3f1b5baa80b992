"""Where a drill runs: a store that workers reach, that a plain driver reads, and that can be made to refuse."""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from litestar_queues.backends.base import BackendConfig
from litestar_queues.backends.redis import RedisBackendConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.valkey import ValkeyBackendConfig
from litestar_queues_matrix.adapters import ADAPTERS
from litestar_queues_matrix.redis import TARGETS as REDIS
from litestar_queues_matrix.servers import Server, ServerUnavailable, ask, find_first, launch, resp
from litestar_queues_matrix.sqlserver import TARGETS as SQL

__all__ = ("DEFAULT", "Place", "Refusal", "Row", "backend_at", "open_place")

DEFAULT = ("aiosqlite", "asyncpg@postgresql", "redis@redis", "valkey@valkey")
_REDIS = {"redis": RedisBackendConfig, "valkey": ValkeyBackendConfig}
_TABLE = "litestar_queue_task"
_ROWS = """
local rows = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    rows[#rows + 1] = { key, redis.call('HGET', key, 'state'), redis.call('HGET', key, 'fence') }
end
return rows
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A task as a plain driver reads it."""

    state: str
    fence: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A way in which a store refuses for a while, without being away."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]


class Place(ABC):
    """A store of this drill alone.

    Attributes:
        name: What `--on` calls it.
        server: Its server; None where it has none.
        refusals: The ways in which it can be made to refuse.
    """

    def __init__(self, name: str, server: Server | None) -> None:
        self.name, self.server = name, server
        self.refusals: list[Refusal] = []

    @abstractmethod
    def at(self, port: int | None = None) -> dict[str, Any]:
        """What `backend_at` takes, also in another process; by way of a proxy on a port of this machine."""

    @abstractmethod
    def rows(self) -> dict[str, Row]:
        """Every task that is stored, by its id."""

    @property
    def port(self) -> int | None:
        """Where its server listens."""
        return None

    def close(self) -> None:
        """End its server and remove what it holds."""
        if self.server is not None:
            self.server.stop()


def backend_at(place: dict[str, Any], *, creates: bool = True) -> BackendConfig:
    """The way to the store; what `creates` makes the schema, where there is one to make."""
    if "file" in place:
        from sqlspec.adapters.aiosqlite import AiosqliteConfig  # noqa: PLC0415  # the driver is needed there alone

        database = AiosqliteConfig(connection_config={"database": place["file"]})
        return SQLSpecBackendConfig(config=database, create_schema=creates)
    if "client" in place:
        return _REDIS[place["client"]](url=place["url"], key_prefix=place["prefix"])
    (adapter,) = (adapter for adapter in ADAPTERS if adapter.name == place["adapter"])
    return SQLSpecBackendConfig(config=adapter.config(place["url"]), create_schema=creates)


def open_place(name: str, folder: Path) -> Place:
    """A new, empty store: `aiosqlite`, `asyncpg@postgresql18`, `valkey`.

    Raises:
        ServerUnavailable: It cannot be had here; says why.
    """
    adapter, _, server = name.partition("@")
    if adapter == "aiosqlite":
        return _File(name, folder)
    target = SQL.get(adapter) or REDIS.get(adapter)
    if target is None:
        known = ", ".join(["aiosqlite", *SQL, *REDIS])
        raise ServerUnavailable(f"there is no {adapter!r}; there are {known}")
    target = target.on(server) if server else target
    started = launch(
        find_first(target.rows, os.environ, given=False), os.environ, durable=True, settings=target.settings
    )
    try:
        return _Keys(name, started, adapter) if adapter in REDIS else _Tables(name, started, adapter)
    except BaseException:
        started.stop()
        raise


class _File(Place):
    """A file of SQLite, on a small file system of its own where this user may mount one."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, None)
        self._folder = folder / "disk"
        self._folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(self._folder)]
        self._mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0  # noqa: S603
        self._file = self._folder / "queue.sqlite"
        if self._mounted:
            self.refusals.append(Refusal("full disk", self._fill, self._empty))
        self.refusals.append(Refusal("renamed table", lambda: self._rename("", "_"), lambda: self._rename("_", "")))

    def at(self, port: int | None = None) -> dict[str, Any]:
        return {"file": str(self._file)}

    def rows(self) -> dict[str, Row]:
        with closing(sqlite3.connect(self._file, timeout=30)) as connection:
            found = connection.execute(f"SELECT id, state, fence FROM {_TABLE}")  # noqa: S608  # our own name
            return {id_: Row(state, fence) for id_, state, fence in found}

    def close(self) -> None:
        if self._mounted:
            subprocess.run(["umount", "-l", str(self._folder)], check=False)  # noqa: S603, S607

    def _fill(self) -> None:
        with suppress(OSError), (self._folder / "ballast").open("wb") as ballast:
            while True:
                ballast.write(bytes(2**16))
                ballast.flush()

    def _empty(self) -> None:
        (self._folder / "ballast").unlink()

    def _rename(self, now: str, then: str) -> None:
        with closing(sqlite3.connect(self._file, timeout=30)) as connection:
            connection.execute(f"ALTER TABLE {_TABLE}{now} RENAME TO {_TABLE}{then}")


class _Tables(Place):
    """A database of an SQL server, and on PostgreSQL a role that is no superuser."""

    server: Server

    def __init__(self, name: str, server: Server, adapter: str) -> None:
        super().__init__(name, server)
        self._adapter = adapter
        database = f"drill_{secrets.token_hex(4)}"
        parts = urlsplit(server.url)
        self._admin = urlunsplit(parts._replace(path=f"/{database}"))
        self._url = self._admin
        rename = self._refusal(
            "renamed table",
            f"ALTER TABLE {_TABLE} RENAME TO {_TABLE}_",
            f"ALTER TABLE {_TABLE}_ RENAME TO {_TABLE}",
        )
        if parts.scheme != "postgresql":
            ask.execute(server.url, f"CREATE DATABASE {database}")
            self.refusals = [rename]
            return
        role = database
        ask.execute(server.url, f"CREATE ROLE {role} LOGIN", f"CREATE DATABASE {database} OWNER {role}")
        ask.execute(self._admin, f"GRANT ALL ON SCHEMA public TO {role}")
        self._url = urlunsplit(parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}", path=f"/{database}"))
        off = "ALTER SYSTEM RESET default_transaction_read_only"
        self.refusals = [
            rename,
            self._refusal(
                "read only", "ALTER SYSTEM SET default_transaction_read_only = on", off, "SELECT pg_reload_conf()"
            ),
            self._refusal("revoked right", f"REVOKE ALL ON {_TABLE} FROM {role}", f"GRANT ALL ON {_TABLE} TO {role}"),
            self._refusal(
                "no connections",
                f"ALTER ROLE {role} CONNECTION LIMIT 0",
                f"ALTER ROLE {role} CONNECTION LIMIT -1",
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",  # noqa: S608
            ),
        ]

    def at(self, port: int | None = None) -> dict[str, Any]:
        if port is None:
            return {"adapter": self._adapter, "url": self._url}
        parts = urlsplit(self._url)
        user = parts.netloc.rpartition("@")[0]
        return {"adapter": self._adapter, "url": urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))}

    def rows(self) -> dict[str, Row]:
        with ask.connected(self._admin) as cursor:
            cursor.execute(f"SELECT id, state, fence FROM {_TABLE}")  # noqa: S608  # our own name
            return {id_: Row(state, fence) for id_, state, fence in cursor.fetchall()}

    @property
    def port(self) -> int | None:
        return urlsplit(self._admin).port

    def _refusal(self, name: str, begin: str, end: str, *after: str) -> Refusal:
        return Refusal(
            name,
            lambda: ask.execute(self._admin, begin, *after),
            lambda: ask.execute(self._admin, end, *after),
        )


class _Keys(Place):
    """The one database of a Redis or a Valkey."""

    server: Server

    def __init__(self, name: str, server: Server, client: str) -> None:
        super().__init__(name, server)
        self._client = client
        self.refusals = [Refusal("maxmemory", lambda: self._limit(1), lambda: self._limit(0))]

    def at(self, port: int | None = None) -> dict[str, Any]:
        url = self.server.url
        if port is not None:
            parts = urlsplit(url)
            user, at, _ = parts.netloc.rpartition("@")
            url = urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))
        return {"client": self._client, "url": url, "prefix": "drill"}

    def rows(self) -> dict[str, Row]:
        beginning = "{drill}:task:"
        with resp.connected(self.server.url) as command:
            stored: list[list[bytes]] = command("EVAL", _ROWS, 0, f"{beginning}*")
        return {key.decode().removeprefix(beginning): Row(state.decode(), int(fence)) for key, state, fence in stored}

    @property
    def port(self) -> int | None:
        return urlsplit(self.server.url).port

    def _limit(self, size: int) -> None:
        with resp.connected(self.server.url) as command:
            command("CONFIG", "SET", "maxmemory", size)
