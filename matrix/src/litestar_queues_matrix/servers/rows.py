"""Which servers there are: one row for each product and version."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from litestar_queues_matrix.servers.errors import ServerUnavailable

__all__ = ("SERVERS", "Product", "ServerRow", "rows_of")


class Product(StrEnum):
    """The servers of one product differ in their version only."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    MARIADB = "mariadb"
    COCKROACHDB = "cockroachdb"
    ORACLE = "oracle"
    REDIS = "redis"
    VALKEY = "valkey"


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A server that backends can be tried on.

    Attributes:
        product: The product.
        version: As much of its version as has to match: `15` is any 15.x.
        image: What Docker starts it from.
    """

    product: Product
    version: str
    image: str

    @property
    def name(self) -> str:
        """What it is asked for by: `postgresql15`."""
        return f"{self.product}{self.version}"

    @property
    def url_variable(self) -> str:
        """The environment variable that gives the address of one that runs already."""
        return self._variable("URL")

    @property
    def bin_variable(self) -> str:
        """The environment variable that names the folder of its executables."""
        return self._variable("BIN")

    def _variable(self, what: str) -> str:
        return f"LITESTAR_QUEUES_{self.name.replace('.', '').upper()}_{what}"


SERVERS = (
    ServerRow(Product.POSTGRESQL, "18", "postgres:18"),
    ServerRow(Product.POSTGRESQL, "17", "postgres:17"),
    ServerRow(Product.POSTGRESQL, "16", "postgres:16"),
    ServerRow(Product.POSTGRESQL, "15", "postgres:15"),
    ServerRow(Product.MYSQL, "9", "mysql:9"),
    ServerRow(Product.MYSQL, "8.4", "mysql:8.4"),
    ServerRow(Product.MARIADB, "11.8", "mariadb:11.8"),
    ServerRow(Product.MARIADB, "10.11", "mariadb:10.11"),
    ServerRow(Product.COCKROACHDB, "", "cockroachdb/cockroach:latest-v25.4"),
    ServerRow(Product.ORACLE, "", "gvenzl/oracle-free:slim"),
    ServerRow(Product.REDIS, "8", "redis:8"),
    ServerRow(Product.REDIS, "7", "redis:7"),
    ServerRow(Product.VALKEY, "9", "valkey/valkey:9"),
    ServerRow(Product.VALKEY, "8", "valkey/valkey:8"),
)
"""Of each product, the newest first: that is the order in which one is chosen where only the product matters."""


def rows_of(name: str) -> tuple[ServerRow, ...]:
    """The one server of this name, or all of this product.

    Raises:
        ServerUnavailable: There is none; lists what there is.
    """
    found = tuple(row for row in SERVERS if name in (row.name, row.product))
    if not found:
        raise ServerUnavailable(f"unknown server {name!r}. Known: {', '.join(row.name for row in SERVERS)}")
    return found
