"""SQLSpec on servers: every adapter on every server that it runs on."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import threading
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Self

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import statements_of
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues_conformance.target import Capabilities
from litestar_queues_matrix.adapters import ADAPTERS, Adapter
from litestar_queues_matrix.servers import (
    SERVERS,
    Server,
    ServerRow,
    ServerUnavailable,
    Source,
    ask,
    find_first,
    launch,
    rows_of,
)
from litestar_queues_matrix.tables import reshaped_ddl
from litestar_queues_matrix.transactions import transaction

__all__ = ("TARGETS", "SqlServerTarget")


@dataclass(frozen=True, slots=True)
class SqlServerTarget:
    """A store is a pair of tables with a name of its own, in the one database of the server.

    The server is started when the first store is named, unless `serve` did that for the whole run, and ends with the
    process that started it.

    Attributes:
        adapter: The adapter.
        server: The name or the kind of the server; without, it is the best that there is of those that it runs on.
    """

    adapter: Adapter
    server: str | None = None
    distribution: str = field(default="litestar-queues", init=False)

    @property
    def capabilities(self) -> Capabilities:
        """What the adapter can do; hints, where the backend sends them without being asked to."""
        return Capabilities(
            multi_process=True,
            durable=True,
            server_clock=True,
            notifications=self.adapter.notifies,
            transactional=True,
            columns=True,
        )

    @property
    def ways(self) -> tuple[str, ...]:
        """How many tasks are stored at once."""
        return ("statement", "arrow") if self.adapter.loads_arrow else ("statement",)

    @property
    def name(self) -> str:
        """What `--backend` takes."""
        return self.adapter.name if self.server is None else f"{self.adapter.name}@{self.server}"

    @property
    def rows(self) -> tuple[ServerRow, ...]:
        """The servers that this target may run on."""
        wanted = SERVERS if self.server is None else rows_of(self.server)
        return tuple(row for row in wanted if row.kind in self.adapter.kinds)

    def on(self, server: str) -> Self:
        """The same adapter on this server, or on any of this kind.

        Raises:
            LookupError: It is none that the adapter runs on; lists those.
        """
        target = replace(self, server=server)
        if not target.rows:
            fitting = ", ".join(row.name for row in SERVERS if row.kind in self.adapter.kinds)
            raise ServerUnavailable(f"{self.adapter.name} does not run on {server}, but on: {fitting}")
        return target

    def unavailable(self, env: Mapping[str, str]) -> str | None:
        """Why it cannot run here, or None if it can. Starts nothing."""
        try:
            self._find(env)
        except ServerUnavailable as error:
            return str(error)
        if find_spec(self.adapter.driver.partition(".")[0]) is None:
            return f"its driver is not installed: pip install {self.adapter.install}"
        return None

    @contextmanager
    def serve(self, env: Mapping[str, str]) -> Generator[dict[str, str]]:
        """Have the server running; gives the variables by which other processes of the run find it.

        Gives none where they are among those of `env`: a run inside another one is served by that.
        """
        if self._variable in env:
            yield {}
            return
        with self._launch(self._find(env), env) as server:
            yield {self._variable: json.dumps({"url": server.url, "server": server.describe()})}

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        table = f"q_{secrets.token_hex(8)}"
        if served := env.get(self._variable):
            return {**json.loads(served), "table": table}
        source = self._find(env)
        with _starting:
            key = (source.row.name, *sorted(self.adapter.settings.items()))
            server = _started.get(key)
            if server is None:
                server = _started[key] = self._launch(source, env)
        return {"url": server.url, "server": server.describe(), "table": table}

    def sqlspec_config(self, config: dict[str, Any]) -> Any:
        """The configuration of a client of the store."""
        url = config["url"]
        if url.startswith("postgresql"):  # so that this store's connections can be told from those of others
            url = f"{url}{'&' if '?' in url else '?'}application_name={config['table']}"
        return self.adapter.config(url)

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        made = SQLSpecBackendConfig(
            config=self.sqlspec_config(config), table_name=config["table"], bulk_insert=config.get("way", "auto")
        )
        backend = made.create_backend()
        await backend.open()
        return backend

    async def reset(self, config: dict[str, Any]) -> None:
        await asyncio.to_thread(ask.drop_tables, config["url"], config["table"], f"{config['table']}_lock")

    def transaction(self, config: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        return transaction(self.adapter.config(config["url"]))

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        family = store_of(self.adapter.config(config["url"])).family
        statement = statements_of(family, config["table"])["create_task_table"].text
        await asyncio.to_thread(ask.execute, config["url"], reshaped_ddl(statement, how))

    @asynccontextmanager
    async def holding(self, config: dict[str, Any], ids: Sequence[str]) -> AsyncGenerator[bool]:
        if self.adapter.swaps:
            yield False
            return
        held = await asyncio.to_thread(ask.Held, config["url"], config["table"], ids)
        try:
            yield True
        finally:
            await asyncio.to_thread(held.let_go)

    async def cut_connections(self, config: dict[str, Any]) -> None:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{table}'"
        if config["url"].startswith("postgresql"):
            await asyncio.to_thread(ask.execute, config["url"], cut.format(table=config["table"]))

    async def server_version(self, config: dict[str, Any]) -> str:
        return str(config["server"])

    @property
    def _variable(self) -> str:
        return f"LITESTAR_QUEUES_SERVER_OF_{re.sub(r'[^A-Za-z0-9]', '_', self.name).upper()}"

    def _find(self, env: Mapping[str, str]) -> Source:
        # One that was given has the settings that it has.
        return find_first(self.rows, env, given=not self.adapter.settings)

    def _launch(self, source: Source, env: Mapping[str, str]) -> Server:
        return launch(source, env, settings=self.adapter.settings)


_started: dict[tuple[Any, ...], Server] = {}
"""What this process has running for targets that nobody serves: one server for all that can share it."""
_starting = threading.Lock()

TARGETS: Mapping[str, SqlServerTarget] = {adapter.name: SqlServerTarget(adapter) for adapter in ADAPTERS}
"""Every adapter's target, on the best server that there is for it."""


def __getattr__(name: str) -> SqlServerTarget:
    """An adapter's target under its name with `_` for `-`, as entry points need it."""
    try:
        return TARGETS[name.replace("_", "-")]
    except KeyError:
        raise AttributeError(name) from None
