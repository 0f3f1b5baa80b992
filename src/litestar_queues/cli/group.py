"""What every command needs: the application's queues, and one way to say what is wrong."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, TypeVar

import click
from litestar import Litestar
from litestar.cli._utils import LitestarGroup  # where Litestar has its groups of commands for plugins
from rich.console import Console

from litestar_queues.errors import QueueConfigurationError, QueueError
from litestar_queues.service import QueueService
from litestar_queues.serving import HasQueues

__all__ = (
    "EXIT_SOME_FAILED",
    "EXIT_UNUSABLE",
    "fail",
    "output",
    "queue_plugin",
    "queues_group",
    "shared_service",
    "with_service",
)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])
EXIT_SOME_FAILED = 1
"""Some of the tasks that were named could not be changed, or are not there."""
EXIT_UNUSABLE = 2
"""Nothing was done: the application has no queues, they cannot be opened, or they cannot be seen from here."""


@click.group(cls=LitestarGroup, name="queues")
def queues_group() -> None:
    """Run workers, and look after tasks."""


def command(name: str) -> Callable[[F], F]:
    """Make a function a command of the group; `app` is what Litestar has loaded."""

    def decorate(function: F) -> F:
        queues_group.command(name)(function)
        return function

    return decorate


def fail(message: str) -> NoReturn:
    """Say what is wrong, and exit with 2."""
    click.echo(f"Error: {message}", err=True)
    sys.exit(EXIT_UNUSABLE)


def queue_plugin(app: Litestar) -> HasQueues:
    """The application's plugin; exits where it has none."""
    for plugin in app.plugins:
        if isinstance(plugin, HasQueues):
            return plugin
    fail("this application has no queues: give it a QueuePlugin, Litestar(plugins=[QueuePlugin(QueueConfig(...))])")


@asynccontextmanager
async def shared_service(plugin: HasQueues) -> AsyncGenerator[QueueService, None]:
    """The application's queues, open in this process, without the application's lifespan.

    Raises:
        QueueError: They cannot be opened, or no other process can see them.
    """
    async with QueueService(plugin.config, registry=plugin.registry) as service:
        backend = service.operations.backend
        if backend.process_local:
            raise QueueConfigurationError(
                f"the tasks of the queue backend {backend.name!r} live inside the application's process, where no other "
                "one sees them: use a backend that processes share, or leave the tasks to the worker inside the "
                "application (`litestar run`, with QueueConfig(in_app_worker=True))"
            )
        yield service


def with_service(app: Litestar, act: Callable[[QueueService], Awaitable[T]]) -> T:
    """Do something with the application's queues; exits with 2 where they cannot be used."""
    plugin = queue_plugin(app)

    async def main() -> T:
        async with shared_service(plugin) as service:
            return await act(service)

    try:
        return asyncio.run(main())
    except QueueError as error:
        fail(str(error))


def output() -> Console:
    """Where tables go. Not wrapped to 80 columns where nobody looks at a screen."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
