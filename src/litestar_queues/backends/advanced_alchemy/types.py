"""The types of the columns.

They are SQLAlchemy's and Advanced Alchemy's own, with variants and without subclasses, so that a migration which Alembic
writes of them needs no import of ours.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import Double, String, Text
from sqlalchemy.dialects import mysql, oracle, postgresql
from sqlalchemy.types import TypeEngine

__all__ = ("BINARY", "exact", "json_text", "moment", "number", "owner", "text")

_MYSQL = ("mysql", "mariadb")
BINARY = "/*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */"
"""MySQL and MariaDB call it differently, each reads what is meant for it, and a URL of `mysql+...` says not which it is:
`User-1` and `user-1` are two keys, and so are `a` and `a `."""


def exact(length: int) -> TypeEngine[str]:
    """Text that is compared, and sorted, by its characters alone."""
    return (
        String(length)
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation=BINARY), *_MYSQL)
        .with_variant(oracle.VARCHAR2(length + 1), "oracle")  # a tilde goes before an empty text, which would be NULL
    )


def text() -> TypeEngine[str]:
    """The same of any length, without an index."""
    return Text().with_variant(mysql.TEXT(charset="utf8mb4", collation=BINARY), *_MYSQL)


def owner() -> TypeEngine[str]:
    """Text that is compared and has no index; Oracle compares none of its longest ones."""
    return text().with_variant(oracle.VARCHAR2(1000), "oracle")


def number() -> TypeEngine[float]:
    """A float of 64 bits, as it is: what Oracle calls so otherwise is a decimal number."""
    double: TypeEngine[float] = Double()
    return double.with_variant(oracle.BINARY_DOUBLE(), "oracle")


def json_text() -> TypeEngine[str]:
    """A value of the user's, as the JSON text that the codec wrote: no database's own JSON type keeps all of them."""
    return Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), *_MYSQL)


def moment() -> TypeEngine[datetime]:
    """A time in UTC, with microseconds, which `DateTimeUTC` alone loses on MySQL and Oracle.

    Of a column with a zone, Oracle's driver answers without it, and an index holds another value than the column.
    """
    times: Any = DateTimeUTC(timezone=True)
    return (  # type: ignore[no-any-return]
        times.with_variant(mysql.DATETIME(fsp=6), *_MYSQL).with_variant(oracle.TIMESTAMP(), "oracle")
    )
