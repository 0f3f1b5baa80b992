"""A prefix on a Redis or a Valkey: as the queues reach it, and as somebody sees it who knows nothing of the queues."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from litestar_queues.backends.redis import RedisBackendConfig
from litestar_queues.backends.redis.keys import FIELDS
from litestar_queues.backends.valkey import ValkeyBackendConfig
from litestar_queues_matrix.servers import resp

_CONFIGS = {"redis": RedisBackendConfig, "valkey": ValkeyBackendConfig}
_NUMBERS = ("priority", "attempt", "max_attempts", "fence")


@dataclass(frozen=True, slots=True)
class RedisDatabase:
    """A prefix, through one of both clients.

    Attributes:
        client: The client's library.
        url: The server.
        prefix: What all keys begin with.
    """

    client: str
    url: str
    prefix: str

    tables_made = ()
    resolves_claims = True

    @property
    def place(self) -> dict[str, Any]:
        return {"client": self.client, "url": self.url, "prefix": self.prefix}

    def backend(self, **store: Any) -> RedisBackendConfig:
        url = f"{self.url}?client_name={self.prefix}"
        return _CONFIGS[self.client](url=url, key_prefix=self.prefix, **store)

    def through(self, port: int) -> RedisDatabase:
        """The same by way of a proxy on a port of this machine."""
        parts = urlsplit(self.url)
        user, at, _ = parts.netloc.rpartition("@")
        return replace(self, url=urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}")))

    def rows(self, *ids: str) -> dict[str, dict[str, Any]]:
        beginning = f"{{{self.prefix}}}:task:"
        found: dict[str, dict[str, Any]] = {}
        with resp.connected(self.url) as command:
            keys = [f"{beginning}{id_}".encode() for id_ in ids] or command("KEYS", f"{beginning}*")
            for key in keys:
                flat = [part.decode() for part in command("HGETALL", key)]
                if flat:
                    row: dict[str, Any] = dict.fromkeys(FIELDS) | dict(zip(flat[::2], flat[1::2], strict=True))
                    row |= {name: int(row[name]) for name in _NUMBERS}
                    found[key.decode().removeprefix(beginning)] = row
        return found

    def count(self, *states: str) -> int:
        """How many tasks are in one of these states."""
        return sum(1 for row in self.rows().values() if row["state"] in states)

    def tables(self) -> list[str]:
        return []

    def is_busy(self) -> bool:
        return False  # a script is done, or not begun: whoever stops in the middle stops nobody

    def cut_connections(self) -> int:
        """Let the server end all connections of this prefix; how many those were."""
        cut = 0
        with resp.connected(self.url) as command:
            for line in command("CLIENT", "LIST").decode().splitlines():
                described = dict(part.partition("=")[::2] for part in line.split())
                if described["name"] == self.prefix:
                    cut += command("CLIENT", "KILL", "ID", described["id"])
        return cut

    def remove(self) -> None:
        """Delete every key."""
        with resp.connected(self.url) as command:
            for key in command("KEYS", f"{{{self.prefix}}}:*"):
                command("UNLINK", key)
