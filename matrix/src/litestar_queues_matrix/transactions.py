"""Transactions of an application's own, by SQLSpec."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlspec import SQLSpec

__all__ = ("transaction",)


@asynccontextmanager
async def transaction(config: Any) -> AsyncGenerator[Any]:
    """A driver in a new transaction, on a pool of its own: committed with the block, rolled back where that raises."""
    spec: Any = SQLSpec()
    spec.add_config(config)
    session = spec.provide_session(config)
    is_async = hasattr(session, "__aenter__")
    driver = await session.__aenter__() if is_async else session.__enter__()
    try:
        await _done(driver.begin())
        try:
            yield driver
        except BaseException:
            await _done(driver.rollback())
            raise
        await _done(driver.commit())
    finally:
        await _done(session.__aexit__(None, None, None) if is_async else session.__exit__(None, None, None))
        await _done(config.close_pool())


async def _done(result: Any) -> None:
    if inspect.isawaitable(result):
        await result
