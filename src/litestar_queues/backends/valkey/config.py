"""How a backend on Valkey is configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from litestar_queues.backends.redis.clients import VALKEY, ClientLibrary
from litestar_queues.backends.redis.config import RedisBackendConfig

__all__ = ("ValkeyBackendConfig",)


@dataclass(frozen=True, kw_only=True)
class ValkeyBackendConfig(RedisBackendConfig):
    """`QueueConfig(queue_backend=ValkeyBackendConfig(url="valkey://localhost:6379/0"))`: as Redis, with valkey-py."""

    library: ClassVar[ClientLibrary] = VALKEY
