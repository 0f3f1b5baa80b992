"""Models that an application composes: names, keys, schemas and columns are its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from advanced_alchemy.base import BigIntAuditBase, DefaultBase, UUIDAuditBase, UUIDv7Base, orm_registry
from alchemy_lab import model, runs_a_task, sqlite
from sqlalchemy import String, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from litestar_queues.backends.advanced_alchemy import (
    AdvancedAlchemyBackendConfig,
    QueueTaskModel,
    QueueTaskModelMixin,
)
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import Matching, NewTask, Want

pytestmark = pytest.mark.anyio

SUFFIXES = {"task", "key", "ready", "queue_ready", "scheduled", "queue_scheduled", "overdue", "finished", "state"}


async def stored(path: Path, made: type[Any]) -> list[Any]:
    config = sqlite(path)
    async with AsyncSession(config.get_engine()) as session:
        rows = list(await session.scalars(select(made)))
    await config.get_engine().dispose()
    return rows


async def test_a_key_of_uuids_is_that_of_the_task(tmp_path: Path) -> None:
    made = model()
    id_ = await runs_a_task(
        AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    )
    [row] = await stored(tmp_path, made)
    assert (row.id, row.task_id, row.state, row.result) == (UUID(id_), id_, "completed", "42")
    assert row.created_at == row.enqueued_at
    assert row.updated_at >= row.finished_at > row.created_at
    assert (row.args, row.kwargs, row.task_metadata) == ("[]", "{}", "{}")


async def test_a_key_that_the_database_makes_is_left_to_it(tmp_path: Path) -> None:
    made = model(base=BigIntAuditBase)
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    ids = [await runs_a_task(config) for _ in range(2)]
    assert [(row.id, row.task_id) for row in await stored(tmp_path, made)] == [(1, ids[0]), (2, ids[1])]


async def test_a_base_without_audit_columns_and_one_with_the_task_s_id_as_its_key_will_do(tmp_path: Path) -> None:
    class Keyed(DefaultBase, QueueTaskModelMixin):
        __tablename__ = "keyed_by_task"
        task_id: Mapped[str] = mapped_column(String(36), primary_key=True)

    for number, made in enumerate((model(base=UUIDv7Base), Keyed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(folder), model_class=made, create_schema=True)
        id_ = await runs_a_task(config)
        assert [row.task_id for row in await stored(folder, made)] == [id_]


async def test_ids_that_are_no_uuids_are_stored_under_any_key(tmp_path: Path) -> None:
    made = model()
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    backend = config.create_backend()
    await backend.open()
    shouted = "0193F0A0-0000-7000-8000-000000000001"
    batch = [NewTask(id=id_, name="app.task") for id_ in ("a", "b", shouted, shouted.lower())]
    answers = await backend.enqueue_many(batch)
    assert [answer.record.id for answer in answers] == [new.id for new in batch]
    assert set(await backend.get([new.id for new in batch])) == {new.id for new in batch}
    await backend.close()
    assert len({row.id for row in await stored(tmp_path, made)}) == 4


async def test_columns_of_the_application_s_get_their_defaults_one_by_one(tmp_path: Path) -> None:
    numbers = iter(range(100))
    made = model(
        tenant=mapped_column(String(10), default=lambda: f"t{next(numbers)}", unique=True),
        note=mapped_column(String(10), nullable=True),
    )
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    backend = config.create_backend()
    await backend.open()
    await backend.enqueue_many([NewTask(id=f"i{n}", name="app.task") for n in range(5)])
    await backend.enqueue_many([NewTask(id=f"k{n}", name="app.task", key=f"k{n}") for n in range(5)])
    await backend.close()
    assert len({row.tenant for row in await stored(tmp_path, made)}) == 10


async def test_columns_may_have_other_names(tmp_path: Path) -> None:
    made = model(queue=mapped_column("q_name", String(100)), due_at=QueueTaskModelMixin.due_at)
    assert "q_name" in made.__table__.c
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    backend = config.create_backend()
    await backend.open()
    await backend.enqueue_many([NewTask(id="a", name="app.task", queue="mail"), NewTask(id="b", name="app.task")])
    [claimed] = await backend.claim(Want(worker="w", limit=5, queues=("mail",)))
    assert await backend.commit([step(claimed, Complete("1"), datetime.now(UTC))]) == {"a"}
    assert [record.id for record in await backend.find(Matching(queues=("default",)), 10)] == ["b"]
    await backend.close()


def test_indexes_and_the_tables_beside_it_are_named_after_the_table() -> None:
    for made in (model(), model("other_task", __table_args__={"schema": "queues", "comment": "the application's"})):
        table = made.__table__
        assert {index.name for index in table.indexes} == {f"{table.name}_{suffix}" for suffix in SUFFIXES}
        beside = [one for one in table.metadata.tables.values() if one is not table]
        assert {(one.name, one.schema) for one in beside} == {
            (f"{table.name}{suffix}", table.schema) for suffix in ("_lock", "_record")
        }
    assert made.__table__.comment == "the application's"


def test_a_class_that_is_not_mapped_gets_no_table_and_one_below_a_model_shares_its_own() -> None:
    class Abstract(UUIDAuditBase, QueueTaskModelMixin):
        __abstract__ = True

    class Concrete(Abstract):
        __tablename__ = "concrete_queue_task"

    assert not hasattr(Abstract, "__table__")
    assert {index.name for index in Concrete.__table__.indexes} >= {"concrete_queue_task_ready"}


def test_the_default_model_is_on_advanced_alchemy_s_metadata() -> None:
    assert QueueTaskModel.__tablename__ == "litestar_queue_task"
    assert {"litestar_queue_task", "litestar_queue_task_lock"} <= set(orm_registry.metadata.tables)


async def test_two_models_in_one_database_do_not_see_each_other(tmp_path: Path) -> None:
    config = sqlite(tmp_path)
    made = [AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=model(name), create_schema=True)
            for name in ("mail_task", "report_task")]  # fmt: skip
    backends = [one.create_backend() for one in made]
    for backend in backends:
        await backend.open()
    first, second = backends
    same = NewTask(id="same", name="app.task", key="k")
    assert [(await backend.enqueue_many([same]))[0].is_new for backend in backends] == [True, True]
    [claimed] = await first.claim(Want(worker="w", limit=5))
    assert await second.touch_heartbeats([claimed.held]) == set()
    assert (await second.get(["same"]))["same"].state == "pending"
    await first.close()
    assert [record.id for record in await second.claim(Want(worker="w", limit=5))] == ["same"]
    await second.close()


@pytest.mark.parametrize("wrong", [object, UUIDAuditBase, QueueTaskModelMixin, None], ids=str)
def test_what_is_no_model_of_tasks_is_refused(wrong: Any, tmp_path: Path) -> None:
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=wrong)
    with pytest.raises(QueueConfigurationError, match=r"model_class takes a mapped class .* QueueTaskModelMixin, not "):
        config.create_backend()


def test_a_model_of_something_else_is_refused(tmp_path: Path) -> None:
    other = type("other_model", (UUIDAuditBase,), {"__tablename__": "no_queue_task", "__module__": __name__})
    assert inspect(other).local_table.name == "no_queue_task"
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=other)
    with pytest.raises(QueueConfigurationError, match="not other_model"):
        config.create_backend()
