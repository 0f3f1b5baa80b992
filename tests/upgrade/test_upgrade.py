"""Tables of the first version, brought up to date by each allowed way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic_lab import differences
from catalogue import catalogue, kept_catalogue
from golden import expected, load
from processes import Processes
from upgrading import WAYS, alchemy_url, assert_kept, before, opened

from litestar_queues.backends.advanced_alchemy import QueueTaskModel
from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import State, holds_key
from litestar_queues.records import NewTask

pytestmark = pytest.mark.anyio

FREED = ("invoice-1-before", "cancelled-1")


async def test_tasks_keys_and_locks_are_as_the_first_version_stored_them(
    place: dict[str, Any], way: str, processes: Processes
) -> None:
    load(place)
    await before(way, place, processes)
    async with opened(place, **WAYS[way]) as backend:
        await assert_kept(backend)
        await _assert_held(backend)
    async with opened(place, **WAYS[way]) as backend:
        await assert_kept(backend)
        assert not await backend.lock("golden-é", "somebody", timedelta(seconds=1)), "it is still held"
        assert await backend.lock("golden-é", "owner-é", timedelta(days=1))
        assert await backend.lock("golden-free", "somebody", timedelta(seconds=1)), "its time is over"
    assert catalogue(place) == kept_catalogue(place), "the tables are those that a new database gets"


async def _assert_held(backend: QueueBackend) -> None:
    """The keys of active tasks are held, and those of ended ones are free."""
    held = {task["key"]: id_ for id_, task in expected().items() if task["key"] and holds_key(State(task["state"]))}
    assert len(held) > 15
    answers = await backend.enqueue_many(
        [NewTask(id=f"new-{number}", name="echo", key=key) for number, key in enumerate(held)]
    )
    assert [(answer.record.id, answer.is_new) for answer in answers] == [(id_, False) for id_ in held.values()]
    freed = await backend.enqueue_many([NewTask(id=f"new-{key}", name="echo", key=key) for key in FREED])
    assert [answer.is_new for answer in freed] == [True] * len(FREED)


@pytest.mark.only_through("alchemy")
async def test_autogenerate_finds_nothing_after_the_upgrade(
    place: dict[str, Any], way: str, processes: Processes
) -> None:
    load(place)
    await before(way, place, processes)
    async with opened(place, **WAYS[way]):
        pass
    engine = sa.create_engine(alchemy_url(place))
    with engine.connect() as connection:
        assert differences(connection, QueueTaskModel.metadata) == []
    engine.dispose()
