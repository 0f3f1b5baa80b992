"""The ways to a table of the newest version, and what is looked at afterwards."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, closing
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic_lab import migrate
from golden import expected
from places import backend_config
from processes import Processes

from litestar_queues.backends.advanced_alchemy import QueueTaskModel
from litestar_queues.backends.base import QueueBackend
from litestar_queues_matrix.servers import ask

__all__ = (
    "CREATES", "FIXED", "MIGRATES", "NEW_FIELDS", "WAYS", "alchemy_url", "assert_kept", "before", "opened", "schema_record",
    "ways_of",
)  # fmt: skip

NEW_FIELDS: dict[str, Any] = {"recoveries": 0, "max_recoveries": 3, "stale_after": None, "history": None}
"""The fields that the first version did not know, as its tasks have them."""
FIXED: dict[str, Any] = {"create_schema": False}
"""The options of a process that may not change tables."""
CREATES, MIGRATES = {"create_schema": True}, {"create_schema": False, "run_migrations": True}
WAYS: dict[str, dict[str, Any]] = {
    "create_schema": CREATES,
    "run_migrations": MIGRATES,
    "run_migrations again": MIGRATES,
    "alembic": FIXED,
    "none": {},
}
"""The options of a process that goes the way, or that follows where somebody else went it."""
_RECORD = "SELECT version, value FROM litestar_queue_task_record WHERE name = 'schema'"


def ways_of(through: str) -> list[str]:
    """The ways that there are for a driver."""
    if through in ("redis", "valkey"):
        return ["none"]
    if through.startswith("alchemy"):
        return ["create_schema", "alembic"]
    return ["create_schema", "run_migrations", "run_migrations again"]


async def before(way: str, place: dict[str, Any], processes: Processes) -> None:
    """Bring the table of the first version to where the way begins."""
    if way == "run_migrations again":  # the first version has done so, too, and recorded it
        old = await processes.start("old", place, works=False, options=MIGRATES)
        await old.opened()
        assert await old.ended() == 0
    elif way == "alembic":
        await asyncio.to_thread(_by_alembic, place)


def _by_alembic(place: dict[str, Any]) -> None:
    """Apply what Alembic's autogenerate writes."""
    engine = sa.create_engine(alchemy_url(place))
    with engine.begin() as connection:
        code = migrate(connection, QueueTaskModel.metadata)
    assert "drop_" not in code
    engine.dispose()


def alchemy_url(place: dict[str, Any]) -> str:
    """The database for SQLAlchemy, through a driver that needs no event loop."""
    at = place["at"]
    if "://" not in at:
        return f"sqlite:///{at}"
    return at.replace("postgresql://", "postgresql+psycopg://").replace("mysql://", "mysql+pymysql://")


@asynccontextmanager
async def opened(place: dict[str, Any], **options: Any) -> AsyncIterator[QueueBackend]:
    """The backend of this version."""
    backend = backend_config(place, **options).create_backend()
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def assert_kept(backend: QueueBackend, ids: Collection[str] | None = None) -> None:
    """Each task is as the first version read it back, with the new fields at their defaults."""
    wanted = {id_: record | NEW_FIELDS for id_, record in expected().items() if ids is None or id_ in ids}
    found = {id_: msgspec.to_builtins(record) for id_, record in (await backend.get(list(wanted))).items()}
    assert found == wanted


def schema_record(place: dict[str, Any]) -> tuple[int, Any] | None:
    """How often the record of the schema's version was written, and that version; None where it never was."""
    at = place["at"]
    if "://" not in at:
        with closing(sqlite3.connect(at)) as connection:
            found = connection.execute(_RECORD).fetchall()
    else:
        with ask.connected(at) as cursor:
            cursor.execute(_RECORD)
            found = cursor.fetchall()
    if not found:
        return None
    [(version, value)] = found
    return version, json.loads(value) if isinstance(value, str) else value
