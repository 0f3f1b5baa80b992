"""Sessions of async drivers, as `SQLSpec.provide_session` gives them, without what is compiled of that.

In SQLSpec's compiled 0.69, an error of a pool that takes a connection back stays behind, and every later call of the
process fails with it: one connection that a restarted server had cut at the wrong moment left a worker dead for good.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from litestar_queues.backends.cancelling import to_the_end

__all__ = ("AsyncSession",)


class AsyncSession:
    """A driver over a connection of a configuration's pool; the configuration's hooks are told, as SQLSpec tells them.

    Args:
        config: An async configuration that a SQLSpec registry knows.
    """

    def __init__(self, config: Any) -> None:
        self._runtime = config.get_observability_runtime()
        self._context = config.provide_session()
        self._driver: Any = None

    async def __aenter__(self) -> Any:
        driver = await self._context.__aenter__()
        self._driver = driver
        try:
            if driver.connection is not None:
                await self._runtime.emit_connection_create_async(driver.connection)
            await self._runtime.emit_session_start_async(driver)
        except BaseException:
            await to_the_end(self._context.__aexit__(None, None, None))
            raise
        return driver

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        driver, self._driver = self._driver, None
        connection = driver.connection
        try:
            await self._context.__aexit__(kind, error, trace)
        finally:
            await self._runtime.emit_session_end_async(driver)
            if connection is not None:
                await self._runtime.emit_connection_destroy_async(connection)
