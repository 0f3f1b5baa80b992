"""Models of an application's, and a whole task through a backend over one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from advanced_alchemy.base import BigIntBase, UUIDAuditBase, create_registry
from advanced_alchemy.config import SQLAlchemyAsyncConfig
from sqlalchemy import Connection
from sqlalchemy.orm import mapped_column

from litestar_queues import QueueConfig, QueueService, Worker, task
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig, QueueTaskModel, QueueTaskModelMixin
from litestar_queues.backends.advanced_alchemy.statements import PREFIX, ModelStatement
from litestar_queues.backends.sql.families import Statement
from litestar_queues.task import TaskRegistry

registry = TaskRegistry()
_numbers = count()


@task("alchemy.work", registry=registry)
async def work() -> int:
    return 42


def model(name: str = "app_queue_task", base: type[Any] = UUIDAuditBase, **attributes: Any) -> type[Any]:
    """A model of an application's with a metadata of its own, so that tests do not share one."""
    fields = {"__tablename__": name, "metadata": create_registry().metadata, "__module__": __name__}
    return type(f"{name}_{next(_numbers)}", (base, QueueTaskModelMixin), fields | attributes)


def sqlite(path: Path, **options: Any) -> SQLAlchemyAsyncConfig:
    return SQLAlchemyAsyncConfig(connection_string=f"sqlite+aiosqlite:///{path / 'queue.db'}", **options)


async def runs_a_task(config: QueueConfig | AdvancedAlchemyBackendConfig, tasks: TaskRegistry = registry) -> str:
    """Run one with a worker, and answer with its id."""
    if isinstance(config, AdvancedAlchemyBackendConfig):
        config = QueueConfig(queue_backend=config)
    async with QueueService(config, registry=tasks) as service:
        worker = Worker(service)
        running = asyncio.get_running_loop().create_task(worker.run())
        done = await (await service.enqueue("alchemy.work")).wait(30)
        assert done.result == 42
        worker.drain()  # nothing is cancelled in the middle of a statement
        await running
        return done.id


_ATTRIBUTES = [one.key for one in QueueTaskModel.__mapper__.column_attrs if hasattr(QueueTaskModelMixin, one.key)]
SWAPPED = dict(zip(_ATTRIBUTES, [*_ATTRIBUTES[1:], _ATTRIBUTES[0]], strict=True))
"""A name for the column of each attribute that is another attribute's."""
_GIVEN: Mapping[str, Any] = {"limit": 1, "ttl": 1, "value": "{}"} | dict.fromkeys(
    ("channel", "payload", "name", "owner", "queue"), "x"
)


def odd_model(spelt: Callable[[str], str], name: str = "app_queue_task", schema: str | None = None) -> type[Any]:
    """A model with a number for its key, in which the column of each attribute of a task is called as `spelt` says."""
    columns = QueueTaskModel.__mapper__.columns
    odd = {
        one: mapped_column(spelt(one), columns[one].type.copy(), nullable=columns[one].nullable) for one in _ATTRIBUTES
    }
    table = {"__tablename__": name, "__table_args__": {"schema": schema}, "metadata": create_registry().metadata}
    return type(f"odd_{next(_numbers)}", (BigIntBase, QueueTaskModelMixin), {**table, **odd, "__module__": __name__})


def run_every_statement(connection: Connection, statements: Mapping[str, Statement], time: Any) -> None:
    """Send each of a model's statements, of which nothing stays written: one that names what is not there fails."""
    for statement in statements.values():
        assert isinstance(statement, ModelStatement)
        names = re.findall(rf":{PREFIX}(\w+)", statement.text)
        given = {f"{PREFIX}{name}": time if name == "expires_at" else _GIVEN.get(name) for name in names}
        with connection.begin_nested() as inside:
            connection.execute(statement.sent, given)
            inside.rollback()
