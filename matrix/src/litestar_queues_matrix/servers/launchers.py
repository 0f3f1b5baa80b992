"""How each product is set up and run: from its own executables, and from its image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from litestar_queues_matrix.servers.launcher import Launcher
from litestar_queues_matrix.servers.mysql import MariaDB, MySQL
from litestar_queues_matrix.servers.postgresql import PostgreSQL
from litestar_queues_matrix.servers.redis import Redis, Valkey
from litestar_queues_matrix.servers.rows import Product

__all__ = ("IMAGES", "LAUNCHERS", "Image")

LAUNCHERS: Mapping[Product, Launcher] = {
    Product.POSTGRESQL: PostgreSQL(),
    Product.MYSQL: MySQL(),
    Product.MARIADB: MariaDB(),
    Product.REDIS: Redis(),
    Product.VALKEY: Valkey(),
}
"""The products that need no Docker."""


@dataclass(frozen=True, slots=True)
class Image:
    """How a product's image is started.

    Attributes:
        port: Where it listens in its container.
        url: The address, with `{host}` and `{port}`.
        environment: What the image is told.
        command: What runs in it, before the launcher's options.
    """

    port: int
    url: str
    environment: Mapping[str, str]
    command: tuple[str, ...]


_MYSQL = "mysql://queues:queues@{host}:{port}/queues"

IMAGES: Mapping[Product, Image] = {
    Product.POSTGRESQL: Image(
        5432, "postgresql://postgres@{host}:{port}/postgres", {"POSTGRES_HOST_AUTH_METHOD": "trust"}, ("postgres",)
    ),
    Product.MYSQL: Image(
        3306,
        _MYSQL,
        {
            "MYSQL_ROOT_PASSWORD": "queues",
            "MYSQL_DATABASE": "queues",
            "MYSQL_USER": "queues",
            "MYSQL_PASSWORD": "queues",
        },
        ("mysqld",),
    ),
    Product.MARIADB: Image(
        3306,
        _MYSQL,
        {
            "MARIADB_ROOT_PASSWORD": "queues",
            "MARIADB_DATABASE": "queues",
            "MARIADB_USER": "queues",
            "MARIADB_PASSWORD": "queues",
        },
        ("mariadbd",),
    ),
    Product.COCKROACHDB: Image(
        26257,
        "postgresql://root@{host}:{port}/defaultdb?sslmode=disable",
        {},
        ("start-single-node", "--insecure"),
    ),
    Product.ORACLE: Image(
        1521,
        "oracle://queues:queues@{host}:{port}/FREEPDB1",
        {"ORACLE_PASSWORD": "queues", "APP_USER": "queues", "APP_USER_PASSWORD": "queues"},
        (),
    ),
    Product.REDIS: Image(6379, "redis://{host}:{port}/0", {}, ("redis-server",)),
    Product.VALKEY: Image(6379, "valkey://{host}:{port}/0", {}, ("valkey-server",)),
}
