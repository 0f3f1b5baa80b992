"""What targets on servers have in common: which server it is, how it is found, started and shared."""

from __future__ import annotations

import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Self

from litestar_queues_matrix.servers import (
    SERVERS,
    Product,
    Server,
    ServerRow,
    ServerUnavailable,
    Source,
    find_first,
    launch,
    rows_of,
)

__all__ = ("Hosted",)


@dataclass(frozen=True, slots=True)
class Hosted(ABC):
    """A target whose stores are on a server.

    The server is started when the first store is named, unless `serve` did that for the whole run, and ends with the
    process that started it.

    Attributes:
        server: The name of the server, or its product; without, it is the best that there is of those that it runs on.
    """

    server: str | None = None

    @property
    @abstractmethod
    def plain_name(self) -> str:
        """What `--backend` takes, without a server."""

    @property
    @abstractmethod
    def products(self) -> tuple[Product, ...]:
        """The servers that it runs on."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, str]:
        """What the server has to be started with."""

    @property
    @abstractmethod
    def driver(self) -> tuple[str, str]:
        """The module of the driver, and what installs it."""

    @property
    def name(self) -> str:
        """What `--backend` takes."""
        return self.plain_name if self.server is None else f"{self.plain_name}@{self.server}"

    @property
    def rows(self) -> tuple[ServerRow, ...]:
        """The servers that this target may run on."""
        wanted = SERVERS if self.server is None else rows_of(self.server)
        return tuple(row for row in wanted if row.product in self.products)

    def on(self, server: str) -> Self:
        """The same on this server, or on any of this product.

        Raises:
            LookupError: It is none that it runs on; lists those.
        """
        target = replace(self, server=server)
        if not target.rows:
            fitting = ", ".join(row.name for row in SERVERS if row.product in self.products)
            raise ServerUnavailable(f"{self.plain_name} does not run on {server}, but on: {fitting}")
        return target

    def unavailable(self, env: Mapping[str, str]) -> str | None:
        """Why it cannot run here, or None if it can. Starts nothing."""
        try:
            self.find(env)
        except ServerUnavailable as error:
            return str(error)
        module, install = self.driver
        if find_spec(module.partition(".")[0]) is None:
            return f"its driver is not installed: pip install {install}"
        return None

    @contextmanager
    def serve(self, env: Mapping[str, str]) -> Generator[dict[str, str]]:
        """Have the server running; gives the variables by which other processes of the run find it.

        Gives none where they are among those of `env`: a run inside another one is served by that.
        """
        if self._variable in env:
            yield {}
            return
        with self._launch(self.find(env), env) as server:
            yield {self._variable: json.dumps({"url": server.url, "server": server.describe()})}

    def place(self, env: Mapping[str, str]) -> dict[str, Any]:
        """The URL and the description of the server, started if need be."""
        if served := env.get(self._variable):
            found: dict[str, Any] = json.loads(served)
            return found
        source = self.find(env)
        with _starting:
            key = (source.row.name, *sorted(self.settings.items()))
            server = _started.get(key)
            if server is None:
                server = _started[key] = self._launch(source, env)
        return {"url": server.url, "server": server.describe()}

    def find(self, env: Mapping[str, str]) -> Source:
        """Where its server comes from. One that was given has the settings that it has.

        Raises:
            ServerUnavailable: There is none.
        """
        return find_first(self.rows, env, given=not self.settings)

    @property
    def _variable(self) -> str:
        return f"LITESTAR_QUEUES_SERVER_OF_{re.sub(r'[^A-Za-z0-9]', '_', self.name).upper()}"

    def _launch(self, source: Source, env: Mapping[str, str]) -> Server:
        return launch(source, env, settings=self.settings)


_started: dict[tuple[Any, ...], Server] = {}
"""What this process has running for targets that nobody serves: one server for all that can share it."""
_starting = threading.Lock()
