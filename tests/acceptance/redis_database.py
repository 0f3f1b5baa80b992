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

_ALL = """
local rows = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    rows[#rows + 1] = { key, redis.call('HGETALL', key) }
end
return rows
"""
_COUNT = """
local wanted, found = {}, 0
for i = 2, #ARGV do wanted[ARGV[i]] = true end
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    if wanted[redis.call('HGET', key, 'state')] then found = found + 1 end
end
return found
"""


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
        return _CONFIGS[self.client](**{"url": url, "key_prefix": self.prefix, **store})

    def through(self, port: int) -> RedisDatabase:
        """The same by way of a proxy on a port of this machine."""
        parts = urlsplit(self.url)
        user, at, _ = parts.netloc.rpartition("@")
        return replace(self, url=urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}")))

    def rows(self, *ids: str) -> dict[str, dict[str, Any]]:
        beginning = f"{{{self.prefix}}}:task:"
        with resp.connected(self.url) as command:
            if ids:
                stored = [(f"{beginning}{id_}".encode(), command("HGETALL", f"{beginning}{id_}")) for id_ in ids]
            else:
                stored = command("EVAL", _ALL, 0, f"{beginning}*")
        return {key.decode().removeprefix(beginning): _row(flat) for key, flat in stored if flat}

    def count(self, *states: str) -> int:
        """How many tasks are in one of these states."""
        with resp.connected(self.url) as command:
            return int(command("EVAL", _COUNT, 0, f"{{{self.prefix}}}:task:*", *states))

    def tables(self) -> list[str]:
        return []

    def is_busy(self) -> bool:
        return False  # a script is done, or not begun: whoever stops in the middle stops nobody

    def connections(self) -> int:
        """How many connections this prefix has."""
        with resp.connected(self.url) as command:
            lines = command("CLIENT", "LIST").decode().splitlines()
        return sum(f" name={self.prefix} " in line for line in lines)

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


def _row(flat: list[bytes]) -> dict[str, Any]:
    texts = [part.decode() for part in flat]
    row: dict[str, Any] = dict.fromkeys(FIELDS) | dict(zip(texts[::2], texts[1::2], strict=True))
    return row | {name: int(row[name]) for name in _NUMBERS}
