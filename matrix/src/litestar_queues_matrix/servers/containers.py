"""A server started by Docker, through testcontainers."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from litestar_queues_matrix.servers.errors import ServerUnavailable
from litestar_queues_matrix.servers.launchers import IMAGES, LAUNCHERS
from litestar_queues_matrix.servers.running import Server, free_port, wait_until_answering
from litestar_queues_matrix.servers.sources import Container

__all__ = ("ContainerServer",)

_PULL_AND_START_SECONDS = 300.0


class ContainerServer(Server):
    """Started by the constructor; the generic container is used, as all that differs stands in `IMAGES`."""

    def __init__(self, source: Container, *, durable: bool, settings: Mapping[str, str]) -> None:
        testcontainers: Any = import_module("testcontainers.core.container")
        self.row, self.origin = source.row, source.origin
        image, launcher = IMAGES[self.row.product], LAUNCHERS.get(self.row.product)
        if settings and launcher is None:
            raise ServerUnavailable(f"{self.row.name} takes no settings: {', '.join(settings)}")
        options = launcher.options(durable=durable, settings=settings) if launcher else []
        port = free_port()  # one of our own choice stays the same when the container is started again
        container: Any = testcontainers.DockerContainer(self.row.image).with_bind_ports(image.port, port)
        for name, value in image.environment.items():
            container = container.with_env(name, value)
        if image.command:
            container = container.with_command([*image.command, *options])
        self._container = container
        self._owner = os.getpid()
        atexit.register(self.stop)  # a process that is killed leaves it to testcontainers' own reaper
        try:
            container.start()
            self.url = image.url.format(host=_loopback(container.get_container_host_ip()), port=port)
            self._wait()
        except Exception as error:
            self.stop()
            if isinstance(error, ServerUnavailable):
                raise
            raise ServerUnavailable(f"{self.row.name}: Docker cannot start {self.row.image}: {error}") from error

    def kill(self) -> None:
        self._docker.kill()
        self._docker.wait()

    def restart(self) -> None:
        self._docker.start()
        self._wait()

    def pause(self) -> None:
        self._docker.pause()

    def resume(self) -> None:
        self._docker.unpause()

    def stop(self) -> None:
        if os.getpid() == self._owner:
            self._container.stop()
            atexit.unregister(self.stop)

    @property
    def _docker(self) -> Any:
        return self._container.get_wrapped_container()

    def _wait(self) -> None:
        def gone() -> str | None:
            self._docker.reload()
            if self._docker.status not in ("exited", "dead"):
                return None
            log = self._docker.logs().decode(errors="replace")[-2000:]
            return f"{self.row.name}: the container of {self.row.image} ended:\n{log}"

        wait_until_answering(self.url, gone=gone, seconds=_PULL_AND_START_SECONDS)


def _loopback(host: str) -> str:
    """MySQL's clients take `localhost` for a Unix socket."""
    return "127.0.0.1" if host == "localhost" else host
