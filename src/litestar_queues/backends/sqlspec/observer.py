"""Counters and spans in SQLSpec's runtime of a configuration."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

__all__ = ("RuntimeObserver",)


class RuntimeObserver:
    """Tells the runtime that a configuration has at the moment: it gets another one when it is registered anew."""

    def __init__(self, config: Any, *, table: str) -> None:
        self._config = config
        self._attributes = {"queue.table": table}

    def count(self, name: str, n: int) -> None:
        self._config.get_observability_runtime().increment_metric(name, n)

    @contextmanager
    def span(self, name: str) -> Generator[None, None, None]:
        runtime = self._config.get_observability_runtime()
        span = runtime.start_span(name, attributes=dict(self._attributes))
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
            raise
        finally:
            runtime.end_span(span, error=error)
