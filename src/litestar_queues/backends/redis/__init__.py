"""Tasks in Redis: hashes, sorted sets and a few scripts, each of which does the whole of a batch in one round trip."""

from __future__ import annotations

from litestar_queues.backends.redis.config import RedisBackendConfig

__all__ = ("RedisBackendConfig",)
