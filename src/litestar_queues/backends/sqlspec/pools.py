"""Whose a configuration's pool is, and where it is registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlspec import SQLSpec

from litestar_queues.backends.cancelling import whole

__all__ = ("ADAPTERS", "Pool", "derived_config", "register")

ADAPTERS = "sqlspec.adapters."
"""The package of SQLSpec that holds its adapters, with the dot after it."""

_users: dict[int, int] = {}
"""How many open backends use the pool of each configuration whose pool they opened: the last one closes it."""


def register(spec: SQLSpec, config: Any, *, shared: bool) -> None:
    """Let the registry know a configuration, with the counters and hooks that the configuration has already.

    SQLSpec 0.69 gives a configuration a new runtime each time that it is added. Where the registry is the application's,
    its settings make the new runtime; our own has none, so that the old one can stay.
    """
    if id(config) in spec.configs:
        return
    runtime = config.get_observability_runtime()
    spec.add_config(config)
    if not shared:
        config._observability_runtime = runtime  # noqa: SLF001  # no other way


def derived_config(config: Any, settings: Mapping[str, Any], **options: Any) -> Any:
    """A copy of a configuration with a pool of its own, which has these settings."""
    cls: type[Any] = config.__class__
    derived = config.derive_pool(connection_config_overrides=settings, **options)
    if not cls.__module__.startswith(ADAPTERS):
        # SQLSpec tells an adapter by the module of the configuration's class; a class of the user's says nothing.
        module = next(base.__module__ for base in cls.__mro__ if base.__module__.startswith(ADAPTERS))
        derived.__class__ = type(cls.__name__, (cls,), {"__module__": module, "__slots__": ()})
    return derived


class Pool:
    """One backend's share in the pool of a configuration."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._is_ours = False

    def take(self, *, shared: bool = False) -> None:
        """Note whether the pool is ours to close: nobody shares it with us, and nobody else made it before."""
        key = id(self._config)
        self._is_ours = not shared and (key in _users or self._config.connection_instance is None)
        if self._is_ours:
            _users[key] = _users.get(key, 0) + 1

    async def leave(self) -> None:
        """Close the pool if it is ours, and no other backend uses it. Harmless when repeated."""
        if not self._is_ours:
            return
        self._is_ours = False
        key = id(self._config)
        _users[key] -= 1
        if _users[key]:
            return
        del _users[key]
        closing = self._config.close_pool()
        if closing is not None:
            await whole(closing)
