"""The queues of a Litestar application: opened and closed with it, injected, and worked on inside it where wanted."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from litestar.di import Provide
from litestar.plugins import CLIPlugin, InitPlugin

from litestar_queues.config import QueueConfig
from litestar_queues.errors import QueueConfigurationError, QueueError
from litestar_queues.pauses import Backoffs
from litestar_queues.records import seconds
from litestar_queues.service import QueueService
from litestar_queues.serving import SERVING, HasQueues
from litestar_queues.task import TaskRegistry, default_registry
from litestar_queues.worker.hold import IN_APP
from litestar_queues.worker.supervisor import expect_signals
from litestar_queues.worker.worker import Worker

if TYPE_CHECKING:
    from click import Group
    from litestar import Litestar
    from litestar.config.app import AppConfig
    from litestar.types import ASGIApp, Receive, Scope, Send

__all__ = ("QueuePlugin",)

_log = logging.getLogger("litestar_queues")
_CLOSING = 5.0
"""Seconds that the store gets to close when the application ends."""
_RELOAD_DRAIN = 1.0
"""Seconds that tasks get to end when a server with `--reload` restarts: somebody waits for the new code."""

expect_signals()


class QueuePlugin(HasQueues, InitPlugin, CLIPlugin):
    """Gives an application a `QueueService`, from before its `on_startup` hooks until after its last request.

    Handlers get it as `queue_service: QueueService` (`QueueConfig.dependency_key`); so does everybody else, as
    `app.state.queue_service`. The store is opened after, and closed before, whatever other plugins and stores open for
    the same lifespan, in whichever order they are listed. The worker inside the application, if there is one, starts
    with the plugin's `on_startup` hook, and drains while everything else is still open.

    Args:
        config: The queues.
        registry: Where tasks are found by name.
    """

    def __init__(self, config: QueueConfig | None = None, *, registry: TaskRegistry = default_registry) -> None:
        self.config = config or QueueConfig()
        self.registry = registry
        self._service: QueueService | None = None
        self._worker: _InAppWorker | None = None

    @property
    def service(self) -> QueueService:
        """The service of the running application.

        Raises:
            QueueError: The application does not run.
        """
        if self._service is None:
            raise QueueError(
                "the application of this QueuePlugin does not run: its queue service is open from its on_startup hooks "
                "until its shutdown (in tests, inside `with TestClient(app)`)"
            )
        return self._service

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Hook the service into the application.

        Raises:
            QueueConfigurationError: The application has another QueuePlugin, or another dependency of this name.
        """
        key = self.config.dependency_key
        if sum(isinstance(plugin, QueuePlugin) for plugin in app_config.plugins) > 1:
            raise QueueConfigurationError(
                "the application has two QueuePlugins, and it would not be clear which of them a task is meant for: "
                "keep one, and tell its tasks apart by queue"
            )
        if key in app_config.dependencies:
            raise QueueConfigurationError(
                f"the application provides a dependency {key!r} already: give the queue service another name with "
                "QueueConfig(dependency_key=...)"
            )
        app_config.dependencies[key] = Provide(self._provide, sync_to_thread=False)
        app_config.signature_namespace["QueueService"] = QueueService
        app_config.middleware.insert(0, self._serving)
        managers: list[Any] = cast("Any", app_config).lifespan
        managers.append(partial(self._enter_last, managers))
        app_config.on_startup.append(self._start_worker)
        return app_config

    def on_cli_init(self, cli: Group) -> None:
        """Add `litestar queues`."""
        from litestar_queues.cli import queues_group  # noqa: PLC0415  # an application that serves needs no command line

        if "queues" not in cli.commands:
            cli.add_command(queues_group)

    def _provide(self) -> QueueService:
        return self.service

    def _serving(self, app: ASGIApp) -> ASGIApp:
        """Let `task.enqueue` find this application's service, also where several run in one process."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            token = SERVING.set(self._service)
            try:
                await app(scope, receive, send)
            finally:
                SERVING.reset(token)

        return serve

    @asynccontextmanager
    async def _enter_last(self, managers: list[Any], app: Litestar) -> AsyncGenerator[None, None]:
        """Put the service behind all the lifespan managers that the application is just entering, this being one.

        They are left in the opposite order. A pool that another plugin opened is then still open when the worker
        settles its last tasks; `on_shutdown` hooks, which run after all of them, would be too late. What cannot be known
        when plugins are initialised, namely who else appends to the list, is known now.
        """
        last = self._run(app)
        managers.append(last)
        try:
            yield
        finally:
            managers.remove(last)

    @asynccontextmanager
    async def _run(self, app: Litestar) -> AsyncGenerator[None, None]:
        if self._service is not None:
            raise QueueError(
                "an application with this QueuePlugin runs in this process already: a plugin serves one application at "
                "a time, so make one for each"
            )
        service = QueueService(self.config, registry=self.registry)
        try:
            service.execution.make()
            await service.open()
        except QueueError as error:
            _log.error("the application cannot start without its queues: %s", error)
            raise error from None  # a driver's own error could quote the password
        self._service = app.state[self.config.dependency_key] = service
        try:
            yield
        finally:
            try:
                if self._worker is not None:
                    await self._worker.stop()
            finally:
                self._service = self._worker = None
                app.state.pop(self.config.dependency_key, None)
                await _close(service)

    async def _start_worker(self) -> None:
        """Start the worker last of all, so that tasks find what the `on_startup` hooks before this one made."""
        if self._service is None:
            raise QueueConfigurationError(
                "the queues were not opened: something replaced AppConfig.lifespan after QueuePlugin had been "
                "initialised; it has to append to that list instead"
            )
        wanted = self.config.in_app_worker
        if self._service.operations.backend.process_local if wanted is None else wanted:
            self._worker = _InAppWorker(self._service)


async def _close(service: QueueService) -> None:
    """Close the queues; a store that does not close must not keep the server from ending."""
    try:
        async with asyncio.timeout(_CLOSING):
            await service.close()
    except TimeoutError:
        _log.exception("the store did not close within %g s, and the application ends without that", _CLOSING)


def _reloads() -> bool:
    """Whether the server starts this process again whenever a file changes, and waits until this one has ended.

    uvicorn's child process has the arguments of the process that watches the files.
    """
    wanted = os.environ.get("LITESTAR_RELOAD", "").lower() in ("1", "true", "t", "yes", "y", "on")
    return wanted or any(argument == "--reload" or argument.startswith("--reload-") for argument in sys.argv[1:])


class _InAppWorker:
    """A worker in the application's event loop. One that crashes is replaced, loudly; the application goes on."""

    def __init__(self, service: QueueService) -> None:
        self._service = service
        self._leaving = asyncio.Event()
        self._worker: Worker | None = None
        configured = seconds(service.config.worker_drain_timeout).total_seconds()
        self._drain_timeout = min(configured, _RELOAD_DRAIN) if _reloads() else configured
        self._task = asyncio.get_running_loop().create_task(self._run(), name="litestar-queues-worker")

    async def stop(self) -> None:
        """Drain, and wait for that; to be cancelled means to give back at once what runs."""
        self._leaving.set()
        if self._worker is not None:
            self._worker.drain()
        await self._task

    async def _run(self) -> None:
        SERVING.set(self._service)  # what its tasks enqueue belongs to the same application
        for pause in Backoffs(first=1, longest=60):
            if self._leaving.is_set():
                return
            self._worker = Worker(self._service, hold=IN_APP, drain_timeout=self._drain_timeout, supervised=False)
            try:
                ended = await self._worker.run()
                if ended.replaced is None:
                    return
                _log.critical(
                    "the worker inside the application has left its store; another one starts in %.1f s, and works with what "
                    "is stored then: %s",
                    pause.seconds,
                    ended.replaced,
                )
            except Exception:  # noqa: BLE001  # whatever it was, the application goes on
                _log.critical(
                    "the worker inside the application crashed; another one starts in %.1f s. Meanwhile the application "
                    "serves requests, and stores tasks",
                    pause.seconds,
                    exc_info=True,
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.seconds):
                    await self._leaving.wait()
