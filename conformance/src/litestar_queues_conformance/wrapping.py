"""Clients of the store that stand before another client, and have whatever that one has beyond the port."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.delegating import DelegatingBackend

__all__ = ("Wrapper", "with_the_rest")

W = TypeVar("W", bound="Wrapper")
_MADE, _FOUND = ("bind", "apart"), ("dispatches", "observer", "remarks")
"""What a backend can have beyond the port: what makes another client, and the rest."""


class Wrapper(DelegatingBackend):
    """A client that stands before another."""

    def again(self, made: QueueBackend) -> QueueBackend:
        """What stands in the same way before a client that the inner one has made."""
        raise NotImplementedError


def with_the_rest(kind: type[W], inner: QueueBackend) -> type[W]:
    """The class, with what this inner client has beyond the port, and nothing more."""
    more = {name: _passed_on(name) for name in (*_MADE, *_FOUND) if hasattr(inner, name)}
    return cast("type[W]", type(kind.__name__, (kind,), more)) if more else kind


def _passed_on(name: str) -> property:
    def get(self: Wrapper) -> Any:
        found = getattr(self.inner, name)
        if name in _FOUND:
            return found

        def make(*given: Any) -> QueueBackend | None:
            made = found(*given)
            return None if made is None else self.again(made)

        return make

    return property(get)
