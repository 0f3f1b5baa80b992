"""Programs inside a transaction that the application began."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from litestar_queues.backends.sql.families import Kind
from litestar_queues.backends.sql.program import Call, ConflictError, Done, Load, Program, Rows, advance
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.sqlspec.sending import send, send_async
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues.errors import BackendError, QueueConfigurationError

__all__ = ("BoundTransport",)

T = TypeVar("T")

_log = logging.getLogger("litestar_queues")


class BoundTransport:
    """Sends a program's statements through the caller's driver. The caller begins and ends the transaction.

    A write outside of a transaction is refused. There, an adapter either stores each statement at once, so that a
    rollback does not take the task back, or opens a transaction that nobody may commit, so that the task is lost.

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

    def __init__(self, driver: Any, config: Any, store: QueueStore, failures: SQLSpecFailures) -> None:
        kind: type[Any] = config.driver_type
        if not isinstance(driver, kind):
            raise QueueConfigurationError(
                f"session takes a {kind.__name__}, as `async with sqlspec.provide_session(config) as session` gives it, "
                f"not {type(driver).__qualname__}"
            )
        self._driver = driver
        self._way = store.way
        self._config = config
        self._failures = failures

    async def attempt(self, program: Program[T]) -> T:
        """Run the program. It takes effect when the caller commits.

        Raises:
            QueueConfigurationError: The program writes, and the session is not in a transaction.
            BackendError: The database refused a statement.
        """
        if program.kind is not Kind.READ:
            self._check_transaction(program.name)
        steps = program.start()
        try:
            call = advance(steps)
            while not isinstance(call, Done):
                assert not isinstance(call, Load), "a bulk load has a transaction of its own"  # noqa: S101  # ours to know
                call = advance(steps, await self._send(call))
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

    async def _send(self, call: Call) -> Rows:
        if self._driver.is_async:
            return await send_async(self._driver, call, self._config, self._way)
        return send(self._driver, call, self._config, self._way)

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        answer = question(self._driver)
        return await answer if inspect.isawaitable(answer) else answer

    async def close(self) -> None:
        """Do nothing: the driver is the caller's."""

    def _check_transaction(self, name: str) -> None:
        # SQLSpec has no public name for either; each of its drivers has both.
        if not self._driver._connection_in_transaction():  # noqa: SLF001
            raise QueueConfigurationError(
                f"{self._failures.database}: {name} got a session that is not in a transaction: {self._advice}; or leave "
                f"session= out, which stores the task at once"
            )
        if self._driver._transaction_depth == 0 and _is_autocommit(self._config):  # noqa: SLF001
            _warn_of_autocommit(self._failures.database, self._advice)

    @property
    def _advice(self) -> str:
        prefix = "async with" if self._config.is_async else "with"
        return f"enqueue inside `{prefix} session.transaction():`, or between `session.begin()` and `session.commit()`"


def _is_autocommit(config: Any) -> bool:
    """Whether SQLSpec's Litestar plugin is configured to commit after the handler."""
    extensions: Mapping[str, Any] = config.extension_config or {}
    plugin: Mapping[str, Any] = extensions.get("litestar") or {}
    return bool(plugin.get("commit_mode", "manual") != "manual")


@cache
def _warn_of_autocommit(database: str, advice: str) -> None:
    # Once for each database. A transaction that the handler itself commits looks the same from here.
    _log.warning(
        "%s: SQLSpec's Litestar plugin has commit_mode 'autocommit', which commits nothing in SQLSpec 0.69: it releases "
        "the connection before it looks for something to commit. Unless the handler commits, the task is lost: %s",
        database,
        advice,
    )
