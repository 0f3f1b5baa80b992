"""SQLSpec on servers: every adapter on every server that it runs on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import statements_of
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues_conformance.harness import NotFoundOut
from litestar_queues_conformance.target import Capabilities, Refusal
from litestar_queues_matrix.adapters import ADAPTERS, Adapter
from litestar_queues_matrix.faults import BehindAProxy
from litestar_queues_matrix.hosted import Hosted
from litestar_queues_matrix.parts import Run, fenced, made_by, present, removal, spoilt
from litestar_queues_matrix.proxy import through
from litestar_queues_matrix.servers import Product, ask
from litestar_queues_matrix.tables import reshaped_ddl
from litestar_queues_matrix.transactions import transaction

__all__ = ("TARGETS", "SqlServerTarget")


@dataclass(frozen=True, slots=True)
class SqlServerTarget(BehindAProxy, Hosted):
    """A store is a pair of tables with a name of its own, in the one database of the server.

    Attributes:
        adapter: The adapter.
    """

    adapter: Adapter = field(kw_only=True)
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
            dispatch=True,
        )

    @property
    def id_column(self) -> str:
        """The column with a task's id."""
        return "id"

    @property
    def ways(self) -> tuple[str, ...]:
        """How many tasks are stored at once."""
        return ("statement", "arrow") if self.adapter.loads_arrow else ("statement",)

    @property
    def plain_name(self) -> str:
        return self.adapter.name

    @property
    def products(self) -> tuple[Product, ...]:
        return self.adapter.products

    @property
    def settings(self) -> Mapping[str, str]:
        return self.adapter.settings

    @property
    def driver(self) -> tuple[str, str]:
        return self.adapter.driver, self.adapter.install

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        return {**self.place(env), "table": f"q_{secrets.token_hex(8)}"}

    def table(self, config: dict[str, Any]) -> str:
        """The store's table, as the server itself has it."""
        return str(config["table"])

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

    def made(self, config: dict[str, Any]) -> dict[str, str]:
        """The parts of a whole schema, and what each holds."""
        return made_by(store_of(self.adapter.config(config["url"])).family, config["table"])

    async def parts(self, config: dict[str, Any]) -> Mapping[str, str]:
        return await asyncio.to_thread(present, _run(config), _dialect(config), self.made(config))

    async def halve(self, config: dict[str, Any], part: str) -> None:
        statement = removal(_dialect(config), part, self.made(config))
        await asyncio.to_thread(ask.execute, config["url"], statement)

    async def set_fence(self, config: dict[str, Any], id_: str, fence: int) -> None:
        statement = fenced(self.table(config), id_, fence, column=self.id_column)
        await asyncio.to_thread(ask.execute, config["url"], statement)

    async def spoil(self, config: dict[str, Any]) -> None:
        await asyncio.to_thread(ask.execute, config["url"], spoilt(self.table(config)))

    async def sessions(self, config: dict[str, Any]) -> int | None:
        if not config["url"].startswith("postgresql"):  # elsewhere a connection bears no name
            return None
        count = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{config['table']}'"  # noqa: S608  # ours
        [[found]] = await asyncio.to_thread(_run(config), count)
        return int(found)

    async def rows_read(self, config: dict[str, Any]) -> int | None:
        if not config["url"].startswith("postgresql"):
            return None
        [[found]] = await asyncio.to_thread(_run(config), _ROWS_READ.format(table=self.table(config)))
        return int(found)

    @asynccontextmanager
    async def holding(self, config: dict[str, Any], ids: Sequence[str]) -> AsyncGenerator[bool]:
        if self.adapter.swaps or config["url"].startswith("oracle"):  # there is no such hook for one that was never run
            yield False
            return
        held = await asyncio.to_thread(ask.Held, config["url"], self.table(config), ids, self.id_column)
        try:
            yield True
        finally:
            await asyncio.to_thread(held.let_go)

    async def cut_connections(self, config: dict[str, Any]) -> int | None:
        if not config["url"].startswith("postgresql"):
            return self.cut_proxied(config)
        return await asyncio.to_thread(ask.cut, config["url"], config["table"])

    @property
    def refusals(self) -> Sequence[Refusal]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]  # it is read alone
        """Full is a server as a whole, which others use; so is read only, where no user can have it for its own sessions."""
        return ("away", "rebuilt", "read-only") if self._has_roles else ("away", "rebuilt")

    @property
    def _has_roles(self) -> bool:
        return Product.POSTGRESQL in self.products

    @asynccontextmanager
    async def refusable(self, config: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        if not self._has_roles:
            async with super(SqlServerTarget, self).refusable(config) as proxied:
                yield proxied
            return
        role = config["table"]
        try:
            await asyncio.to_thread(ask.execute, config["url"], f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{role}'")
        except ask.NotAnswering:  # the user of the URL may not make one
            async with super(SqlServerTarget, self).refusable(config) as proxied:
                yield {**proxied, "without_role": True}
            return
        try:
            async with super(SqlServerTarget, self).refusable(config) as proxied:
                yield {**proxied, "url": through(config["url"], proxied["proxy"], f"{role}:{role}")}
        finally:
            gone = (f"REASSIGN OWNED BY {role} TO CURRENT_USER", f"DROP OWNED BY {role}", f"DROP ROLE {role}")
            await asyncio.to_thread(ask.execute, config["url"], *gone)

    @asynccontextmanager
    async def refused(self, config: dict[str, Any], how: Refusal) -> AsyncGenerator[None]:
        if how == "read-only" and "without_role" in config:
            raise NotFoundOut(
                "the user of the server's URL may not make a role whose sessions are read only: give the URL of a superuser"
            )
        table = self.table(config)
        direct = config["direct"]
        if how == "rebuilt":
            old = f"old_{config['table']}"
            begin, end = f"ALTER TABLE {table} RENAME TO {old}", f"ALTER TABLE {old} RENAME TO {table}"
        else:
            setting = f"ALTER ROLE {config['table']} {{}} default_transaction_read_only"
            begin, end = setting.format("SET") + " = on", setting.format("RESET")
        await asyncio.to_thread(ask.execute, direct, begin)
        try:
            if how == "read-only":  # as at a failover: new sessions find it so
                await asyncio.to_thread(ask.cut, direct, config["table"])
            yield
        finally:
            await asyncio.to_thread(ask.execute, direct, end)
            if how == "read-only":
                await asyncio.to_thread(ask.cut, direct, config["table"])

    async def server_version(self, config: dict[str, Any]) -> str:
        return str(config["server"])


_ROWS_READ = """
SELECT coalesce(sum(seq_tup_read), 0) + coalesce(sum(idx_tup_fetch), 0) + (
    SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE relname = '{table}'
) FROM pg_stat_user_tables WHERE relname = '{table}'
"""
"""A session counts what it read when it ends, at the latest."""


def _dialect(config: dict[str, Any]) -> str:
    return str(config["url"]).partition("://")[0]


def _run(config: dict[str, Any]) -> Run:
    def run(statement: str) -> Sequence[Sequence[Any]]:
        with ask.connected(config["url"]) as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    return run


TARGETS: Mapping[str, SqlServerTarget] = {adapter.name: SqlServerTarget(adapter=adapter) for adapter in ADAPTERS}
"""Every adapter's target, on the best server that there is for it."""


def __getattr__(name: str) -> SqlServerTarget:
    """An adapter's target under its name with `_` for `-`, as entry points need it."""
    try:
        return TARGETS[name.replace("_", "-")]
    except KeyError:
        raise AttributeError(name) from None
