"""SQLSpec's adapters for servers: on which they run, and how each is told where its server is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from litestar_queues_matrix.servers import Product

__all__ = ("ADAPTERS", "POOL", "Adapter")

POOL = 5
"""Connections of a client at most: a case opens many clients, and a server has 300 connections for all of them."""

_POSTGRESQL = (Product.POSTGRESQL,)
_MYSQL = (Product.MYSQL, Product.MARIADB)
_SERIALIZABLE = MappingProxyType({"default_transaction_isolation": "serializable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One of SQLSpec's configurations.

    Attributes:
        name: What the target is called.
        config_class: The configuration, as `module:class` below `sqlspec.adapters`. It is imported when it is used, as
            that needs the driver.
        driver: The module of the driver.
        install: What brings it.
        products: The servers that it runs on.
        connection: The `connection_config` for a server at this URL.
        settings: What the server has to be started with.
        loads_arrow: Whether rows can be loaded by Arrow.
        notifies: Whether clients wake each other without being asked to.
        swaps: Whether claims lock nothing beforehand, and the slower one gives way.
    """

    name: str
    config_class: str
    driver: str
    install: str
    products: tuple[Product, ...]
    connection: Callable[[str], dict[str, Any]]
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    loads_arrow: bool = True
    notifies: bool = False
    swaps: bool = False

    def config(self, url: str) -> Any:
        """A configuration for the server at this URL."""
        module, _, name = self.config_class.partition(":")
        made: Callable[..., Any] = getattr(import_module(f"sqlspec.adapters.{module}"), name)
        return made(connection_config=self.connection(url))


def _dsn(url: str) -> dict[str, Any]:
    return {"dsn": url, "min_size": 1, "max_size": POOL}


def _conninfo(url: str) -> dict[str, Any]:
    return {"conninfo": url, "min_size": 1, "max_size": POOL}


def _psqlpy(url: str) -> dict[str, Any]:
    return {"dsn": url, "max_db_pool_size": POOL}


def _oracledb(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dsn": f"{parts.hostname}:{parts.port or 1521}/{parts.path.strip('/')}",
        "min": 1,
        "max": POOL,
    }


def _pymysql(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.strip("/"),
    }


def _asyncmy(url: str) -> dict[str, Any]:
    return {**_pymysql(url), "minsize": 1, "maxsize": POOL}


def _aiomysql(url: str) -> dict[str, Any]:
    found = _asyncmy(url)
    return {**found, "db": found.pop("database")}


def _mysqlconnector(url: str) -> dict[str, Any]:
    return {**_pymysql(url), "pool_size": POOL, "ssl_disabled": True}


ADAPTERS = (
    Adapter(
        name="asyncpg",
        config_class="asyncpg:AsyncpgConfig",
        driver="asyncpg",
        install="asyncpg",
        products=_POSTGRESQL,
        connection=_dsn,
        notifies=True,
    ),
    Adapter(
        name="psycopg",
        config_class="psycopg:PsycopgAsyncConfig",
        driver="psycopg_pool",
        install="psycopg[binary,pool]",
        products=_POSTGRESQL,
        connection=_conninfo,
        notifies=True,
    ),
    Adapter(
        name="psycopg-sync",
        config_class="psycopg:PsycopgSyncConfig",
        driver="psycopg_pool",
        install="psycopg[binary,pool]",
        products=_POSTGRESQL,
        connection=_conninfo,
    ),
    Adapter(
        name="psqlpy",
        loads_arrow=False,
        config_class="psqlpy:PsqlpyConfig",
        driver="psqlpy",
        install="psqlpy",
        products=_POSTGRESQL,
        connection=_psqlpy,
        notifies=True,
    ),
    Adapter(
        name="asyncmy",
        config_class="asyncmy:AsyncmyConfig",
        driver="asyncmy",
        install="asyncmy cryptography",
        products=_MYSQL,
        connection=_asyncmy,
    ),
    Adapter(
        name="aiomysql",
        config_class="aiomysql:AiomysqlConfig",
        driver="aiomysql",
        install="aiomysql cryptography",
        products=_MYSQL,
        connection=_aiomysql,
    ),
    Adapter(
        name="mysqlconnector",
        config_class="mysqlconnector:MysqlConnectorAsyncConfig",
        driver="mysql.connector",
        install="mysql-connector-python",
        products=_MYSQL,
        connection=_mysqlconnector,
    ),
    Adapter(
        name="mysqlconnector-sync",
        config_class="mysqlconnector:MysqlConnectorSyncConfig",
        driver="mysql.connector",
        install="mysql-connector-python",
        products=_MYSQL,
        connection=_mysqlconnector,
    ),
    Adapter(
        name="pymysql",
        config_class="pymysql:PyMysqlConfig",
        driver="pymysql",
        install="PyMySQL cryptography",
        products=_MYSQL,
        connection=_pymysql,
    ),
    # CockroachDB's adapters on a PostgreSQL at SERIALIZABLE: the conflicts are real, nothing else of CockroachDB is.
    Adapter(
        name="cockroach-standin-asyncpg",
        config_class="cockroach_asyncpg:CockroachAsyncpgConfig",
        driver="asyncpg",
        install="asyncpg",
        products=_POSTGRESQL,
        connection=_dsn,
        settings=_SERIALIZABLE,
        swaps=True,
    ),
    Adapter(
        name="cockroach-standin-psycopg",
        config_class="cockroach_psycopg:CockroachPsycopgAsyncConfig",
        driver="psycopg_pool",
        install="psycopg[binary,pool]",
        products=_POSTGRESQL,
        connection=_conninfo,
        settings=_SERIALIZABLE,
        swaps=True,
    ),
    Adapter(
        name="cockroach-standin-psycopg-sync",
        config_class="cockroach_psycopg:CockroachPsycopgSyncConfig",
        driver="psycopg_pool",
        install="psycopg[binary,pool]",
        products=_POSTGRESQL,
        connection=_conninfo,
        settings=_SERIALIZABLE,
        swaps=True,
    ),
    Adapter(
        name="cockroach-asyncpg",
        config_class="cockroach_asyncpg:CockroachAsyncpgConfig",
        driver="asyncpg",
        install="asyncpg",
        products=(Product.COCKROACHDB,),
        connection=_dsn,
        swaps=True,
    ),
    Adapter(
        name="cockroach-psycopg",
        config_class="cockroach_psycopg:CockroachPsycopgAsyncConfig",
        driver="psycopg_pool",
        install="psycopg[binary,pool]",
        products=(Product.COCKROACHDB,),
        connection=_conninfo,
        swaps=True,
    ),
    Adapter(
        name="cockroach-psycopg-sync",
        config_class="cockroach_psycopg:CockroachPsycopgSyncConfig",
        driver="psycopg_pool",
        install="psycopg[binary,pool]",
        products=(Product.COCKROACHDB,),
        connection=_conninfo,
        swaps=True,
    ),
    Adapter(
        name="oracledb",
        config_class="oracledb:OracleAsyncConfig",
        driver="oracledb",
        install="oracledb",
        products=(Product.ORACLE,),
        connection=_oracledb,
    ),
    Adapter(
        name="oracledb-sync",
        config_class="oracledb:OracleSyncConfig",
        driver="oracledb",
        install="oracledb",
        products=(Product.ORACLE,),
        connection=_oracledb,
    ),
)
"""One row for each configuration; its target is the one of its name in `litestar_queues_matrix.sqlserver`."""
