"""Redis and Valkey: each client on every server of both."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.redis import RedisBackendConfig
from litestar_queues.backends.redis.keys import Namespace
from litestar_queues.backends.valkey import ValkeyBackendConfig
from litestar_queues_conformance.target import Capabilities, NobodyWaits, Refusal
from litestar_queues_matrix.faults import BehindAProxy
from litestar_queues_matrix.hosted import Hosted
from litestar_queues_matrix.proxy import through
from litestar_queues_matrix.servers import Product, Server, Source, launch, resp
from litestar_queues_matrix.servers.cluster import CLUSTERED, ClusterServer, nodes_of

__all__ = ("TARGETS", "RedisTarget", "redis", "redis_cluster", "valkey", "valkey_cluster")

_PRODUCTS = MappingProxyType({"redis": (Product.REDIS, Product.VALKEY), "valkey": (Product.VALKEY, Product.REDIS)})


@dataclass(frozen=True, slots=True)
class RedisTarget(BehindAProxy, NobodyWaits, Hosted):
    """A store is a prefix of its own, in the one database of the server.

    Attributes:
        client: The client's library.
        config_class: The backend's config that uses it.
        cluster: Whether the server is a cluster of three.
    """

    client: str = field(kw_only=True)
    config_class: type[RedisBackendConfig] = field(kw_only=True)
    cluster: bool = field(default=False, kw_only=True)
    distribution: str = field(default="litestar-queues", init=False)
    capabilities: Capabilities = field(
        default=Capabilities(
            multi_process=True,
            durable=True,
            server_clock=True,
            notifications=True,
            transactional=False,
            columns=False,
            dispatch=True,
        ),
        init=False,
    )

    @property
    def plain_name(self) -> str:
        return f"{self.client}-cluster" if self.cluster else self.client

    @property
    def products(self) -> tuple[Product, ...]:
        return _PRODUCTS[self.client]

    @property
    def settings(self) -> Mapping[str, str]:
        return CLUSTERED if self.cluster else {}

    @property
    def driver(self) -> tuple[str, str]:
        return self.client, self.client

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        return {**self.place(env), "prefix": f"q_{secrets.token_hex(8)}"}

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        backend = self.backend_config(config).create_backend()
        await backend.open()
        return backend

    def backend_config(self, config: dict[str, Any], **options: Any) -> RedisBackendConfig:
        """The backend's config of a store. Its connections bear the store's name."""
        url = f"{config['url']}?client_name={config['prefix']}"
        options = {"cluster": self.cluster, "max_connections": 8, **options}
        return self.config_class(url=url, key_prefix=config["prefix"], **options)

    async def reset(self, config: dict[str, Any]) -> None:
        await asyncio.to_thread(_remove, config["url"], Namespace(config["prefix"]).space)

    async def cut_connections(self, config: dict[str, Any]) -> int | None:
        return await asyncio.to_thread(_cut, config["url"], config["prefix"])

    @property
    def refusals(self) -> Sequence[Refusal]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]  # it is read alone
        """A user of the store's own may lose its rights; full or read only is a server as a whole, which others use."""
        return () if self.cluster else ("away", "read-only")

    @asynccontextmanager
    async def refusable(self, config: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        if self.cluster:  # whose nodes tell clients their own addresses
            yield config
            return
        name = config["prefix"]
        await asyncio.to_thread(_command, config["url"], "ACL", "SETUSER", name, "on", f">{name}", "~*", "&*", "+@all")
        try:
            async with super(RedisTarget, self).refusable(config) as proxied:
                yield {**proxied, "url": through(config["url"], proxied["proxy"], f"{name}:{name}")}
        finally:
            await asyncio.to_thread(_command, config["url"], "ACL", "DELUSER", name)

    @asynccontextmanager
    async def refused(self, config: dict[str, Any], how: Refusal) -> AsyncGenerator[None]:
        rights = ("ACL", "SETUSER", config["prefix"])
        await asyncio.to_thread(_command, config["direct"], *rights, "-evalsha", "-eval")
        try:
            yield
        finally:
            await asyncio.to_thread(_command, config["direct"], *rights, "+@all")

    async def set_fence(self, config: dict[str, Any], id_: str, fence: int) -> None:
        key = f"{Namespace(config['prefix']).space}task:{id_}"
        await asyncio.to_thread(_set, config["url"], key, "fence", str(fence))

    async def sessions(self, config: dict[str, Any]) -> int | None:
        return await asyncio.to_thread(_sessions, config["url"], config["prefix"])

    async def server_version(self, config: dict[str, Any]) -> str:
        return str(config["server"])

    def _launch(self, source: Source, env: Mapping[str, str]) -> Server:
        return ClusterServer(source, env) if self.cluster else launch(source, env, settings=self.settings)


def _command(url: str, *words: str) -> None:
    with resp.connected(url) as command:
        command(*words)


def _remove(url: str, space: str) -> None:
    """Delete every key of a namespace."""
    for node in nodes_of(url):
        with resp.connected(node) as command:
            cursor = b"0"
            while True:
                cursor, keys = command("SCAN", cursor, "MATCH", f"{space}*", "COUNT", 1000)
                if keys:
                    command("UNLINK", *keys)
                if cursor == b"0":
                    break


def _set(url: str, key: str, field_: str, value: str) -> None:
    """Set a field on the node that has the key."""
    for node in nodes_of(url):
        with resp.connected(node) as command, suppress(resp.Said):  # another node has it
            command("HSET", key, field_, value)


def _sessions(url: str, name: str) -> int:
    """How many connections of this name there are."""
    found = 0
    for node in nodes_of(url):
        with resp.connected(node) as command:
            lines = command("CLIENT", "LIST").decode().splitlines()
            found += sum(f"name={name}" in line.split() for line in lines)
    return found


def _cut(url: str, name: str) -> int:
    """Let the servers end every connection of this name; how many there were."""
    ended = 0
    for node in nodes_of(url):
        with resp.connected(node) as command:
            for line in command("CLIENT", "LIST").decode().splitlines():
                described = dict(part.partition("=")[::2] for part in line.split())
                if described.get("name") == name:
                    ended += int(command("CLIENT", "KILL", "ID", described["id"]))
    return ended


redis = RedisTarget(client="redis", config_class=RedisBackendConfig)
valkey = RedisTarget(client="valkey", config_class=ValkeyBackendConfig)
redis_cluster = RedisTarget(client="redis", config_class=RedisBackendConfig, cluster=True)
valkey_cluster = RedisTarget(client="valkey", config_class=ValkeyBackendConfig, cluster=True)

TARGETS: Mapping[str, RedisTarget] = {target.plain_name: target for target in (redis, valkey)}
"""By their names."""
