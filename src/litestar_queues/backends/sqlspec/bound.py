"""Programs inside a transaction of the application's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from litestar_queues.backends.sql.program import ConflictError, Done, Load, Program, advance
from litestar_queues.backends.sqlspec.failures import Failures
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues.backends.sqlspec.transports import rows_of, statement_of
from litestar_queues.errors import BackendError, QueueConfigurationError

__all__ = ("BoundTransport",)

T = TypeVar("T")


class BoundTransport:
    """Sends a program's statements through a driver of the caller's, which begins and ends the transaction.

    A sync driver is called in the thread that awaits, because its connection may belong to that thread; the event loop
    waits for the one or two statements of an enqueue then.

    Args:
        driver: What SQLSpec's `provide_session` gives, of the same configuration's adapter.
        config: The backend's configuration.
        store: What sends the statements.
        failures: Translates errors.

    Raises:
        QueueConfigurationError: `driver` is something else.
    """

    def __init__(self, driver: Any, config: Any, store: QueueStore, failures: Failures) -> None:
        kind: type[Any] = config.driver_type
        if not isinstance(driver, kind):
            raise QueueConfigurationError(
                f"session takes a {kind.__name__}, as `async with sqlspec.provide_session(config) as session` gives it, "
                f"not {type(driver).__qualname__}"
            )
        self._driver = store.sender(driver, config)
        self._config = config
        self._failures = failures

    async def attempt(self, program: Program[T]) -> T:
        """Run the program; whether it takes effect is the caller's to say."""
        steps = program.start()
        try:
            call = advance(steps)
            while not isinstance(call, Done):
                assert not isinstance(call, Load), "a bulk load has a transaction of its own"  # noqa: S101  # ours to know
                result = self._driver.execute(statement_of(call, self._config))
                call = advance(steps, rows_of(await result if inspect.isawaitable(result) else result))
        except Exception as error:
            steps.close()
            failure = self._failures.of_statement(error, program.name)
            if isinstance(failure, ConflictError):
                failure = BackendError(
                    f"{self._failures.database}: {program.name} met a conflict with another transaction ({failure}): roll "
                    "the session's transaction back, and try it again as a whole"
                )
            raise failure from error
        return call.answer

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        answer = question(self._driver)
        return await answer if inspect.isawaitable(answer) else answer

    async def close(self) -> None:
        """Nothing: the driver is the caller's."""
