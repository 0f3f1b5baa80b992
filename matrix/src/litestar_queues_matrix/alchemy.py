"""Advanced Alchemy, on SQLite and on every server that its drivers reach."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from advanced_alchemy.base import UUIDAuditBase, create_registry
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import CreateTable

from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig, QueueTaskModel, QueueTaskModelMixin
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.base import QueueBackend
from litestar_queues_matrix.adapters import POOL, Adapter
from litestar_queues_matrix.parts import modelled
from litestar_queues_matrix.servers import Product, ask
from litestar_queues_matrix.sqlite import SqliteTarget
from litestar_queues_matrix.sqlserver import SqlServerTarget
from litestar_queues_matrix.tables import reshaped_ddl

__all__ = ("ALCHEMY", "AlchemyAdapter", "AlchemyServerTarget", "AlchemySqliteTarget", "alchemy_aiosqlite", "model_of")


@cache
def model_of(table: str) -> type[Any]:
    """A model with a table of this name, as an application would write it, in a metadata of its own."""
    fields = {"__tablename__": table, "metadata": create_registry().metadata, "__module__": __name__}
    return type(f"Task_{table}", (UUIDAuditBase, QueueTaskModelMixin), fields)


def _reshaped(url: str, table: str, how: str) -> str:
    """The CREATE TABLE of a model in another shape."""
    dialect = make_url(url).get_dialect()()
    text = str(CreateTable(model_of(table).__table__).compile(dialect=dialect))
    return reshaped_ddl("\n".join(line.rstrip() for line in text.strip().splitlines()), how)


@asynccontextmanager
async def _transaction(config: SQLAlchemyAsyncConfig) -> AsyncGenerator[Any]:
    """A session in a new transaction, on an engine of its own: committed with the block, rolled back where that raises."""
    engine = config.get_engine()
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


def _modelled(model: type[Any]) -> dict[str, str]:
    """The parts that the creation of a model's tables makes, and what each holds."""
    table = QueueTable.of(model)
    return modelled({"tasks": table.tasks, "locks": table.locks, "records": table.records})


class AlchemySqliteTarget(SqliteTarget):
    """A store is a database file in a temporary folder of its own, with the default model."""

    ways = ("statement",)
    id_column = "task_id"

    def __init__(self) -> None:
        super().__init__(lambda database: SQLAlchemyAsyncConfig(connection_string=f"sqlite+aiosqlite:///{database}"))

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        made = AdvancedAlchemyBackendConfig(sqlalchemy_config=self._driver(config["database"]), create_schema=True)
        backend = made.create_backend()
        await backend.open()
        return backend

    def transaction(self, config: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        return _transaction(self._driver(config["database"]))

    def made(self, config: dict[str, Any]) -> dict[str, str]:
        return _modelled(QueueTaskModel)

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        statement = _reshaped("sqlite://", "litestar_queue_task", how)
        with closing(sqlite3.connect(config["database"])) as connection:
            connection.execute(statement)


alchemy_aiosqlite = AlchemySqliteTarget()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlchemyAdapter(Adapter):
    """One of SQLAlchemy's drivers for a server.

    Attributes:
        scheme: What a URL for it begins with.
    """

    scheme: str

    def config(self, url: str) -> Any:
        """A configuration for the server at this URL; `application_name` in it is for PostgreSQL."""
        parts = urlsplit(url)
        if parts.scheme == "oracle":  # whose path is a service, and no database
            parts = parts._replace(path="/", query=f"service_name={parts.path.removeprefix('/')}")
            return SQLAlchemyAsyncConfig(
                connection_string=urlunsplit(parts._replace(scheme=self.scheme)),
                engine_config=EngineConfig(pool_size=POOL, max_overflow=0),
            )
        named = dict(one.split("=") for one in parts.query.split("&") if one)
        name = named.get("application_name")
        arguments: dict[str, Any] = {}
        if name is not None:
            arguments = {"server_settings": named} if self.driver == "asyncpg" else named
        return SQLAlchemyAsyncConfig(
            connection_string=urlunsplit(parts._replace(scheme=self.scheme, query="")),
            engine_config=EngineConfig(pool_size=POOL, max_overflow=0, connect_args=arguments),
        )


@dataclass(frozen=True, slots=True)
class AlchemyServerTarget(SqlServerTarget):
    """A store is a model with a table of its own name, in the one database of the server."""

    @property
    def id_column(self) -> str:
        return "task_id"

    @property
    def ways(self) -> tuple[str, ...]:
        """How many tasks are stored at once."""
        return ("statement",)

    def engine_config(self, config: dict[str, Any]) -> Any:
        """The configuration of a client of the store."""
        url = config["url"]
        if url.startswith("postgresql"):  # so that this store's connections can be told from those of others
            url = f"{url}{'&' if '?' in url else '?'}application_name={config['table']}"
        return self.adapter.config(url)

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        made = AdvancedAlchemyBackendConfig(
            sqlalchemy_config=self.engine_config(config), model_class=model_of(config["table"]), create_schema=True
        )
        backend = made.create_backend()
        await backend.open()
        return backend

    def transaction(self, config: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        return _transaction(self.engine_config(config))

    def made(self, config: dict[str, Any]) -> dict[str, str]:
        return _modelled(model_of(config["table"]))

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        url = self.adapter.config(config["url"]).connection_string
        await asyncio.to_thread(ask.execute, config["url"], _reshaped(url, config["table"], how))


def _adapter(
    name: str, scheme: str, driver: str, install: str, products: tuple[Product, ...], *, notifies: bool
) -> Adapter:
    return AlchemyAdapter(
        name=name,
        scheme=scheme,
        config_class="",
        driver=driver,
        install=install,
        products=products,
        connection=lambda _url: {},
        loads_arrow=False,
        notifies=notifies,
    )


_POSTGRESQL = (Product.POSTGRESQL,)
_MYSQL = (Product.MYSQL, Product.MARIADB)

ALCHEMY: Mapping[str, AlchemyServerTarget] = {
    adapter.name: AlchemyServerTarget(adapter=adapter)
    for adapter in (
        _adapter("alchemy-asyncpg", "postgresql+asyncpg", "asyncpg", "asyncpg", _POSTGRESQL, notifies=True),
        _adapter("alchemy-psycopg", "postgresql+psycopg", "psycopg", "psycopg[binary]", _POSTGRESQL, notifies=True),
        _adapter(
            "alchemy-oracledb", "oracle+oracledb_async", "oracledb", "oracledb", (Product.ORACLE,), notifies=False
        ),
        _adapter("alchemy-asyncmy", "mysql+asyncmy", "asyncmy", "asyncmy cryptography", _MYSQL, notifies=False),
    )
}
"""Every driver's target, on the best server that there is for it."""


def __getattr__(name: str) -> AlchemyServerTarget:
    """A target under its name with `_` for `-`, as entry points need it."""
    try:
        return ALCHEMY[name.replace("_", "-")]
    except KeyError:
        raise AttributeError(name) from None
