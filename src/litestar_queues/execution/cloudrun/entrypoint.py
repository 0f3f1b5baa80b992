"""The container's side of Cloud Run: `litestar-queues-cloudrun-worker` runs the task that its environment names.

The container reads the task's id and the fence of its reservation from the environment, and everything else of the task
from the store. This module imports no package of Google: a container needs the extra of its queue backend alone.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, NoReturn

from litestar_queues.execution.cloudrun.environment import (
    CONFIG_FACTORY,
    ENV_PREFIX,
    EXECUTION_PARENT,
    PREFIX,
    TASK_FENCE,
    TASK_ID,
    TASK_MODULES,
)
from litestar_queues.execution.process import (
    CannotStart,
    Queues,
    TaskOrder,
    checked_fence,
    checked_id,
    end_within,
    log_to_stderr,
    queues_of,
    run_in_process,
    run_signals,
)
from litestar_queues.execution.remote import WAIT_FOR_STORE, RemoteExit, log_end
from litestar_queues.worker.supervisor import Signals

__all__ = ("WAIT", "main", "run")

WAIT = "WAIT_FOR_STORE"
"""Seconds for which a store that cannot be reached is waited for."""
_WAIT_MAX = 86_400.0
_log = logging.getLogger("litestar_queues.run")


def run() -> NoReturn:
    """Run the task of this process's environment, and exit."""
    signals = run_signals()
    code = _main(None, os.environ, signals)
    if _in_main_thread():
        signals.ignore()  # the outcome is stored, and a late signal must not change the exit code
    end_within(5.0, code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the task that the environment names, and return the exit code, a `RemoteExit`.

    It may be called in a process that was forked from one with everything imported. It keeps no state between calls, and
    gives the signals back to their handlers.

    Args:
        argv: Arguments; those of the process unless given.
        environ: The environment; that of the process unless given.
    """
    signals = run_signals()
    try:
        return _main(argv, os.environ if environ is None else environ, signals)
    finally:
        if _in_main_thread():
            signals.restore()


def _main(argv: Sequence[str] | None, environ: Mapping[str, str], signals: Signals) -> RemoteExit:
    if _in_main_thread():
        signals.install()
    task_id = ""
    try:
        settings = _Settings.of(_prefix(argv, environ), environ)
        task_id = settings.order.task_id
        if (index := environ.get("CLOUD_RUN_TASK_INDEX", "")) not in ("", "0"):
            log_to_stderr()
            log_end(
                RemoteExit.SUCCESS,
                task_id,
                f"this is container {index} of one execution, and container 0 runs the task: set the job's number of tasks to 1",
            )
            return RemoteExit.SUCCESS
    except CannotStart as error:
        log_to_stderr()
        log_end(error.code, task_id, str(error))
        return error.code
    code = run_in_process(settings.queues, settings.order, signals)
    attempt = environ.get("CLOUD_RUN_TASK_ATTEMPT", "")
    if code is RemoteExit.CLAIM_LOST and attempt not in ("", "0"):
        _log.warning(
            "Cloud Run started this container again after an earlier one had failed (attempt %s), and the queue decides on "
            "retries: set the job's --max-retries to 0",
            attempt,
        )
    return code


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CannotStart(RemoteExit.NO_CONFIGURATION, f"the arguments: {message}; --help lists them")


def _prefix(argv: Sequence[str] | None, environ: Mapping[str, str]) -> str:
    """The prefix of the variables: the argument, else the variable, else the usual one."""
    arguments = _Arguments(
        prog="litestar-queues-cloudrun-worker",
        description="Runs the one task that the environment names, and exits: 0 success, 1 failure, 2 no id, 3 bad id, "
        "4 no record, 5 unknown task, 6 claim lost, 7 cancelled, 8 no configuration.",
    )
    arguments.add_argument("--env-prefix", metavar="PREFIX", help=f"what the variables begin with ({PREFIX})")
    given: str | None = arguments.parse_args(argv).env_prefix
    return given if given is not None else environ.get(ENV_PREFIX) or PREFIX


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the environment says, checked as far as that is possible without importing anything."""

    order: TaskOrder
    factory: str
    factory_variable: str
    modules: tuple[str, ...]
    modules_variable: str

    @classmethod
    def of(cls, prefix: str, environ: Mapping[str, str]) -> _Settings:
        """Read the variables.

        Raises:
            CannotStart: One is missing or wrong.
        """
        order = TaskOrder(
            checked_id(environ.get(f"{prefix}{TASK_ID}", ""), f"the variable {prefix}{TASK_ID}"),
            checked_fence(environ.get(f"{prefix}{TASK_FENCE}", ""), f"the variable {prefix}{TASK_FENCE}"),
            _reference(environ.get(f"{prefix}{EXECUTION_PARENT}", ""), environ.get("CLOUD_RUN_EXECUTION", "")),
            _seconds(f"{prefix}{WAIT}", environ),
        )
        modules = environ.get(modules_variable := f"{prefix}{TASK_MODULES}", "")
        return cls(
            order,
            environ.get(factory_variable := f"{prefix}{CONFIG_FACTORY}", ""),
            factory_variable,
            tuple(one.strip() for one in modules.split(",") if one.strip()),
            modules_variable,
        )

    async def queues(self) -> Queues:
        """Make the configuration, and import the modules.

        Raises:
            CannotStart: That is not possible.
        """
        where = os.getcwd()  # noqa: PTH109  # a script, unlike `python -m`, does not look for modules here
        if where not in sys.path and "" not in sys.path:
            sys.path.insert(0, where)
        queues = await self._make()
        for module in self.modules:
            try:
                importlib.import_module(module)
            except BaseException as error:
                raise _refused(f"{self.modules_variable}: the module {module!r} cannot be imported", error) from error
        return queues

    async def _make(self) -> Queues:
        name = self.factory_variable
        if not self.factory:
            raise CannotStart(
                RemoteExit.NO_CONFIGURATION,
                f"the variable {name} is missing or empty: it names what returns the QueueConfig, such as "
                "myapp.queues:make_config",
            )
        module, colon, path = self.factory.partition(":")
        if not (module and colon and path):
            raise CannotStart(
                RemoteExit.NO_CONFIGURATION,
                f"{name} is {self.factory!r}: write module:callable, such as myapp.queues:make_config",
            )
        try:
            found: Any = importlib.import_module(module)
            for attribute in path.split("."):
                found = getattr(found, attribute)
            if queues_of(found) is None and callable(found) and not hasattr(found, "plugins"):
                found = found()
            if isawaitable(found):
                found = await found
        except BaseException as error:
            raise _refused(f"{name} ({self.factory}) failed", error) from error
        queues = queues_of(found)
        if queues is None:
            raise CannotStart(
                RemoteExit.NO_CONFIGURATION,
                f"{name} ({self.factory}) gives a {type(found).__qualname__}: it has to be a QueueConfig, a QueuePlugin, an "
                "application with a QueuePlugin, or a function that returns one of them",
            )
        return queues


def _refused(what: str, error: BaseException) -> CannotStart:
    """The end of a process whose user's code fails, whatever it raises."""
    log_to_stderr()
    _log.error("%s", what, exc_info=error)
    return CannotStart(RemoteExit.NO_CONFIGURATION, f"{what}: {type(error).__name__}: {error}")


def _seconds(name: str, environ: Mapping[str, str]) -> float:
    given = environ.get(name, "")
    with suppress(ValueError):
        value = float(given) if given else WAIT_FOR_STORE
        if math.isfinite(value) and 0 <= value <= _WAIT_MAX:
            return value
    raise CannotStart(
        RemoteExit.NO_CONFIGURATION,
        f"{name} is {given[:40]!r}: it has to be a number of seconds, at most {_WAIT_MAX:g}",
    )


def _reference(parent: str, short: str) -> str | None:
    """The whole name of this execution, as far as it is known. The container itself knows the short one only."""
    return (f"{parent.rstrip('/')}/executions/{short}" if parent else short) if short else None


if __name__ == "__main__":
    run()
