"""Backends by name: those that need no configuration, those that an application registers, those that are installed."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from inspect import getattr_static, isfunction
from typing import Any, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.errors import QueueConfigurationError, QueueError

__all__ = (
    "GROUP",
    "PORT",
    "checked",
    "create",
    "known_names",
    "lacks",
    "make",
    "refuse_unknown",
    "register_queue_backend",
)

GROUP = "litestar_queues.backends"
"""The entry point group in which an installed distribution gives its backends names."""
PORT = tuple(name for name in vars(QueueBackend) if not name.startswith("_"))
"""Everything that a backend must have."""
_FACTORIES: dict[str, Callable[[], QueueBackend]] = {"memory": MemoryBackend}
_NEEDS_CONFIG = {
    "advanced_alchemy": (
        "litestar_queues.backends.advanced_alchemy.AdvancedAlchemyBackendConfig(sqlalchemy_config=...)"
    ),
    "sqlspec": "litestar_queues.backends.sqlspec.SQLSpecBackendConfig(config=...)",
    "redis": "litestar_queues.backends.redis.RedisBackendConfig(url=...)",
    "valkey": "litestar_queues.backends.valkey.ValkeyBackendConfig(url=...)",
}


def register_queue_backend(name: str, factory: Callable[[], QueueBackend]) -> None:
    """Make a backend available as `QueueConfig(queue_backend=name)`, in this process and from now on.

    A distribution can do the same without a call: its entry point in the group `litestar_queues.backends` names the
    factory. Where both give the same name, the registered factory is used.

    Args:
        name: What `queue_backend` takes.
        factory: Called without arguments when a service opens; returns a backend that is not open yet.

    Raises:
        QueueConfigurationError: The name is taken or empty, or the factory cannot be called.
    """
    if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise QueueConfigurationError(f"the name of a queue backend is a text of at least one character, not {name!r}")
    if not callable(factory):
        raise QueueConfigurationError(
            f"the factory of the queue backend {name!r} must be a function or a class that is called without arguments, "
            f"not a {type(factory).__qualname__}: pass queue_backend a backend or its config directly, or register "
            "`lambda: backend`"
        )
    if name in _FACTORIES or name in _NEEDS_CONFIG:
        raise QueueConfigurationError(f"a queue backend named {name!r} exists already")
    _FACTORIES[name] = factory


def known_names() -> list[str]:
    """Every name that `QueueConfig(queue_backend=...)` knows, or knows what to use instead of."""
    return sorted({*_FACTORIES, *_NEEDS_CONFIG, *(point.name for point in entry_points(group=GROUP))})


def refuse_unknown(name: str) -> None:
    """Look whether there is a backend of this name, without importing anything.

    Raises:
        QueueConfigurationError: There is none, or it needs a config instead of a name.
    """
    if name in _NEEDS_CONFIG:
        raise QueueConfigurationError(f"the queue backend {name!r} needs to know its database: {_NEEDS_CONFIG[name]}")
    if name in _FACTORIES or entry_points(group=GROUP, name=name):
        return
    known = known_names()
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise QueueConfigurationError(f"unknown queue backend {name!r}: the known ones are {', '.join(known)}{hint}")


def make(name: str) -> QueueBackend:
    """A backend of this name, not open yet.

    Raises:
        QueueConfigurationError: There is none, it cannot be loaded or made, or what is made is no backend.
    """
    refuse_unknown(name)
    factory = _FACTORIES.get(name) or _installed(name)
    return checked(_call(factory, f"the factory of the queue backend {name!r}"), f"the queue backend {name!r}")


def create(config: Any) -> QueueBackend:
    """The backend that a backend's config makes, not open yet.

    Raises:
        QueueConfigurationError: It cannot be made, or what is made is no backend.
    """
    what = f"{type(config).__qualname__}.create_backend()"
    return checked(_call(config.create_backend, what), f"what {what} returned")


def checked(backend: Any, what: str) -> QueueBackend:
    """The same object, where it has everything that a backend must have.

    Raises:
        QueueConfigurationError: It lacks something; names it.
    """
    missing = lacks(backend)
    if not missing:
        return cast("QueueBackend", backend)
    kind = type(backend).__qualname__
    if len(missing) == len(PORT):
        raise QueueConfigurationError(f"{what} is no backend, but {_article(kind)}")
    raise QueueConfigurationError(
        f"{what} is no complete backend: {kind} lacks {', '.join(missing)} "
        "(litestar_queues.backends.base.QueueBackend says what each must do)"
    )


def lacks(backend: object) -> tuple[str, ...]:
    """The names of what a backend must have and this object does not."""
    return tuple(name for name in PORT if not _has(backend, name))


def _has(backend: object, name: str) -> bool:
    if isfunction(getattr_static(QueueBackend, name)):
        return callable(getattr(backend, name, None))
    try:
        getattr_static(backend, name)  # a property is not read: it may need an open store
    except AttributeError:
        return hasattr(backend, name)
    return True


def _installed(name: str) -> Callable[[], QueueBackend]:
    points = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if len(points) > 1:
        raise QueueConfigurationError(
            f"several installed distributions have a queue backend named {name!r}: "
            f"{'; '.join(sorted(map(_named, points.values())))}. Remove all but one, or pass queue_backend a config"
        )
    [point] = points.values()
    try:
        factory: Any = point.load()
    except Exception as error:
        raise QueueConfigurationError(
            f"the queue backend {name!r} ({_named(point)}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(factory):
        raise QueueConfigurationError(
            f"the queue backend {name!r} ({_named(point)}) cannot be made: its entry point names "
            f"{_article(type(factory).__qualname__)}, not a function or a class that is called without arguments"
        )
    return cast("Callable[[], QueueBackend]", factory)


def _call(factory: Callable[[], Any], what: str) -> Any:
    try:
        return factory()
    except QueueError:
        raise
    except Exception as error:
        raise QueueConfigurationError(f"{what} raised {type(error).__name__}: {error}") from error


def _named(point: EntryPoint) -> str:
    return point.value if point.dist is None else f"{point.value} of {point.dist.name} {point.dist.version}"


def _article(kind: str) -> str:
    return "None" if kind == "NoneType" else f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"
