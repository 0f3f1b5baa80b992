"""Tasks in Valkey: the backend of Redis, through Valkey's own client."""

from __future__ import annotations

from litestar_queues.backends.valkey.config import ValkeyBackendConfig

__all__ = ("ValkeyBackendConfig",)
