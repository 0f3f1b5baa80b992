"""Alembic sees the tables of a model, and nothing more once its own migration has made them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from advanced_alchemy.base import BigIntAuditBase, UUIDAuditBase
from alchemy_lab import model, runs_a_task, sqlite
from alembic_lab import LATER, differences, migrate, take_back
from waiting import DEADLINE

from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig, schema
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.columns import STATES, VERSION
from litestar_queues.errors import QueueConfigurationError

pytestmark = pytest.mark.anyio

BASES = [UUIDAuditBase, BigIntAuditBase]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
async def test_autogenerate_makes_the_tables_and_finds_no_difference_then(base: type[Any], tmp_path: Path) -> None:
    made = model(base=base)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'queue.db'}")
    with engine.begin() as connection:
        code = migrate(connection, made.metadata)
    assert code.count("op.create_table(") == 3
    assert code.count("op.create_index(") == len(made.__table__.indexes)
    assert "litestar_queues" not in code, "a migration needs nothing of ours"
    with engine.connect() as connection:
        assert differences(connection, made.metadata) == []
    engine.dispose()
    await runs_a_task(AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made))


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
async def test_autogenerate_finds_no_difference_after_create_schema(base: type[Any], tmp_path: Path) -> None:
    made = model(base=base)
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    await runs_a_task(config)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'queue.db'}")
    with engine.connect() as connection:
        assert differences(connection, made.metadata) == []
        connection.execute(sa.text("DROP INDEX app_queue_task_ready"))
        assert [one[0] for one in differences(connection, made.metadata)] == ["add_index"], "it does look"
    engine.dispose()


@pytest.fixture
async def older(tmp_path: Path) -> tuple[type[Any], sa.Engine]:
    """A model whose tables are those of version 1 of the schema, with a task in them."""
    made = model(base=BigIntAuditBase)  # SQLite alters no type, and reads that of a UUID as another
    await runs_a_task(
        AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    )
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'queue.db'}")
    with engine.begin() as connection:
        take_back(connection, made.__table__)
    return made, engine


def records(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text("SELECT * FROM app_queue_task_record"))]


async def test_an_older_table_is_brought_up_to_date(older: tuple[type[Any], sa.Engine], tmp_path: Path) -> None:
    made, engine = older
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    for _ in range(2):
        await runs_a_task(config)
    with engine.connect() as connection:
        assert differences(connection, made.metadata) == []
        assert connection.scalar(sa.text("SELECT count(*) FROM app_queue_task WHERE max_recoveries = 3")) == 3
    assert ("schema", 1, str(VERSION)) in records(engine)
    engine.dispose()


async def test_autogenerate_makes_the_upgrade_and_finds_no_difference_then(
    older: tuple[type[Any], sa.Engine], tmp_path: Path
) -> None:
    made, engine = older
    with engine.begin() as connection:
        code = migrate(connection, made.metadata)
    assert code.count("op.add_column(") == len(LATER)
    assert code.count("op.create_table(") == 1
    assert "op.drop" not in code
    with engine.connect() as connection:
        assert differences(connection, made.metadata) == []
    engine.dispose()
    await runs_a_task(AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made))


async def test_whoever_may_not_change_an_older_table_waits_and_is_told_at_the_end(
    older: tuple[type[Any], sa.Engine], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, engine = older

    def config(timeout: float) -> AdvancedAlchemyBackendConfig:
        return AdvancedAlchemyBackendConfig(
            sqlalchemy_config=sqlite(tmp_path), model_class=made, migration_timeout=timeout
        )

    with pytest.raises(QueueConfigurationError, match=r"has version 1 .* needs 3: make a migration with Alembic"):
        await config(0).create_backend().open()
    waiting = asyncio.create_task(runs_a_task(config(DEADLINE)))
    async with asyncio.timeout(DEADLINE):
        while "waiting for up to" not in caplog.text:  # noqa: ASYNC110  # a log has no event
            await asyncio.sleep(0.01)
        with engine.begin() as connection:
            migrate(connection, made.metadata)
        await waiting
    engine.dispose()


async def test_a_state_of_a_later_version_is_let_in(
    older: tuple[type[Any], sa.Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine = older
    monkeypatch.setitem(STATES, VERSION + 1, (*STATES[VERSION], "reserved"))  # type: ignore[misc]
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)
    monkeypatch.setattr("litestar_queues.backends.sql.schema.VERSION", VERSION + 1)
    made = model(base=BigIntAuditBase)
    refused = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, migration_timeout=0)
    with pytest.raises(QueueConfigurationError, match="see to the check and the length of its states"):
        await refused.create_backend().open()
    config = AdvancedAlchemyBackendConfig(sqlalchemy_config=sqlite(tmp_path), model_class=made, create_schema=True)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE app_queue_task ADD theirs TEXT"))
    with pytest.raises(QueueConfigurationError, match=r"would lose what its model does not know: theirs; add that"):
        await config.create_backend().open()
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE app_queue_task DROP theirs"))
    for _ in range(2):
        await runs_a_task(config)
    with engine.begin() as connection:
        assert schema.changes(connection, QueueTable.of(made)) == []
        connection.execute(sa.text("UPDATE app_queue_task SET state = 'reserved'"))
        assert differences(connection, made.metadata) == []
    with engine.begin() as connection, pytest.raises(sa.exc.IntegrityError, match="CHECK"):
        connection.execute(sa.text("UPDATE app_queue_task SET state = 'dreaming'"))
    engine.dispose()
