"""Models of an application's, and a whole task through a backend over one."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

from advanced_alchemy.base import UUIDAuditBase, create_registry
from advanced_alchemy.config import SQLAlchemyAsyncConfig

from litestar_queues import QueueConfig, QueueService, Worker, task
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig, QueueTaskModelMixin
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
