"""Alembic sees the tables of a model, and nothing more once its own migration has made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from advanced_alchemy.base import BigIntAuditBase, UUIDAuditBase
from alchemy_lab import model, runs_a_task, sqlite
from alembic_lab import differences, migrate

from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig

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
