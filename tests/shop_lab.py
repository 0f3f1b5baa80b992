"""A small application on a backend of choice: what the tests of the testing helpers look at."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from advanced_alchemy.config import SQLAlchemyAsyncConfig
from litestar import Litestar, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlspec.adapters.aiosqlite import AiosqliteConfig

from litestar_queues import (
    FixedBackoff,
    QueueConfig,
    QueuePlugin,
    QueueService,
    TaskRegistry,
    current_task,
    non_retryable,
    snooze,
    task,
)
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

registry = TaskRegistry()


@task("welcome", registry=registry)
async def welcome(address: str, language: str = "en") -> str:
    return f"{address}:{language}"


@task("order", queue="orders", retries=2, backoff=FixedBackoff(600), registry=registry)
def order(number: uuid.UUID, express: bool = False) -> str:  # noqa: FBT001, FBT002  # a task's parameters
    return str(number)


@task("flaky", retries=2, backoff=FixedBackoff(600), registry=registry)
async def flaky(good: int) -> int:
    if current_task().attempt < good:
        raise ValueError(f"attempt {current_task().attempt} is too early")
    return current_task().attempt


@task("chain", registry=registry)
async def chain(left: int) -> None:
    if left:
        await chain.enqueue(left - 1)


@task("forever", registry=registry)
async def forever() -> None:
    await forever.enqueue()


@task("parent", registry=registry)
async def parent(delay: float = 0) -> str | None:
    return (await (await welcome.using(delay=delay).enqueue("child")).wait(30)).result


@task("later", registry=registry)
async def later(delay: float) -> None:
    snooze(delay)


@task("refuse", retries=5, registry=registry)
async def refuse() -> None:
    non_retryable("no")


@task("stuck", registry=registry)
async def stuck() -> None:
    await asyncio.Event().wait()


@post("/signup/{address:str}")
async def signup(address: FromPath[str], queue_service: NamedDependency[QueueService]) -> str:
    return (await queue_service.enqueue(welcome, address)).id


@post("/order/{number:uuid}")
async def place(number: FromPath[uuid.UUID]) -> str:
    return (await order.using(delay=60, key=f"order-{number}").enqueue(number)).id


def memory(_: Path) -> Any:
    return "memory"


def aiosqlite(folder: Path) -> Any:
    return SQLSpecBackendConfig(config=AiosqliteConfig(connection_config={"database": str(folder / "queue.db")}))


def alchemy(folder: Path) -> Any:
    config = SQLAlchemyAsyncConfig(connection_string=f"sqlite+aiosqlite:///{folder / 'alchemy.db'}")
    return AdvancedAlchemyBackendConfig(sqlalchemy_config=config, create_schema=True)


BACKENDS: list[Callable[[Path], Any]] = [memory, aiosqlite, alchemy]
every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda one: one.__name__)


def make_app(queue_backend: Any = "memory", **config: Any) -> Litestar:
    plugin = QueuePlugin(QueueConfig(queue_backend=queue_backend, **config), registry=registry)
    return Litestar([signup, place], plugins=[plugin], logging_config=None)


def make_service(queue_backend: Any = "memory", **config: Any) -> QueueService:
    return QueueService(QueueConfig(queue_backend=queue_backend, **config), registry=registry)
