"""Execution backends by name: the built-in ones, those that an application registers, those of a configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from inspect import getattr_static, isfunction
from typing import Any, TypeAlias, cast

from litestar_queues.errors import InvalidTaskError, QueueConfigurationError, QueueError
from litestar_queues.execution.base import ExecutionBackend, ExecutionBackendConfig
from litestar_queues.execution.local import IMMEDIATE, LOCAL, HereExecution
from litestar_queues.records import BACKEND_MAX, check_text

__all__ = ("Execution", "ExecutionBackends", "check_execution", "in_order", "register_execution_backend")

Execution: TypeAlias = "str | ExecutionBackendConfig | ExecutionBackend"
"""What names an execution backend in a configuration."""

_log = logging.getLogger("litestar_queues")
_BUILT_IN: dict[str, Callable[[], ExecutionBackend]] = {
    LOCAL: partial(HereExecution, LOCAL),
    IMMEDIATE: partial(HereExecution, IMMEDIATE),
}
_REGISTERED: dict[str, Callable[[], ExecutionBackend]] = {}
_NEEDS_CONFIG = {
    "cloudrun": (
        "QueueConfig(execution_backend=litestar_queues.execution.cloudrun.CloudRunExecutionConfig(project_id=...)), with the "
        "extra 'cloudrun' installed"
    )
}
_PORT = tuple(name for name in vars(ExecutionBackend) if not name.startswith("_"))


def register_execution_backend(name: str, factory: Callable[[], ExecutionBackend]) -> None:
    """Make an execution backend available to tasks and to `QueueConfig(execution_backend=name)`, in this process.

    Register it where the tasks are defined: the processes that enqueue and the workers both need it.

    Args:
        name: What `execution_backend` takes; the same as the `name` of what the factory makes.
        factory: Called without arguments, once for each queue service; returns an execution backend that is not open yet.

    Raises:
        QueueConfigurationError: The name is taken or cannot be stored, or the factory cannot be called.
    """
    try:
        check_text("name of an execution backend", name, BACKEND_MAX)
    except InvalidTaskError as error:
        raise QueueConfigurationError(str(error)) from error
    if not callable(factory):
        raise QueueConfigurationError(
            f"the factory of the execution backend {name!r} must be a function or a class that is called without arguments, "
            f"not a {type(factory).__qualname__}: register `lambda: backend`"
        )
    if name in _BUILT_IN or name in _NEEDS_CONFIG or name in _REGISTERED:
        raise QueueConfigurationError(f"an execution backend named {name!r} exists already")
    _REGISTERED[name] = factory


def in_order(execution: Execution | Sequence[Execution]) -> tuple[Execution, ...]:
    """The execution backends of a configuration; the first is that of tasks that name none."""
    if isinstance(execution, Sequence) and not isinstance(execution, str):
        return tuple(execution)
    return (execution,)


def check_execution(execution: Execution | Sequence[Execution]) -> None:
    """Look whether this can be a configuration's `execution_backend`, without making anything.

    Raises:
        QueueConfigurationError: It cannot.
    """
    given = in_order(execution)
    if not given:
        raise QueueConfigurationError(
            "execution_backend is empty: leave it out, or name the backend of tasks that name none"
        )
    for one in given:
        if isinstance(one, str):
            _refuse_unknown(one)
        elif isinstance(one, type):
            raise QueueConfigurationError(
                f"execution_backend got a class: write {one.__qualname__}(...), with its arguments"
            )
        elif not isinstance(one, ExecutionBackendConfig) and (missing := _lacks(one)):
            kind = type(one).__qualname__
            if len(missing) > len(_PORT) // 2:
                raise QueueConfigurationError(
                    "execution_backend takes a name, the config of an execution backend, an execution backend, or several of "
                    f"these, not {kind}"
                )
            raise QueueConfigurationError(_incomplete("execution_backend", kind, missing))


def _refuse_unknown(name: str) -> None:
    if name in _BUILT_IN or name in _REGISTERED:
        return
    raise QueueConfigurationError(_unknown(name, (*_BUILT_IN, *_REGISTERED)))


def _unknown(name: str, known: Sequence[str]) -> str:
    """The sentence about a name that nobody knows, with what to do."""
    if name in _NEEDS_CONFIG:
        return f"the execution backend {name!r} is not configured: pass {_NEEDS_CONFIG[name]}"
    near = get_close_matches(name, [*known, *_NEEDS_CONFIG], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown execution backend {name!r}: the known ones are {', '.join(known)}{hint}"


def _lacks(backend: object) -> tuple[str, ...]:
    return tuple(name for name in _PORT if not _has(backend, name))


def _has(backend: object, name: str) -> bool:
    if isfunction(getattr_static(ExecutionBackend, name)):
        return callable(getattr(backend, name, None))
    return hasattr(backend, name)


def _incomplete(what: str, kind: str, missing: Sequence[str]) -> str:
    return (
        f"{what} is no complete execution backend: {kind} lacks {', '.join(missing)} "
        "(litestar_queues.execution.base.ExecutionBackend says what each must do)"
    )


class ExecutionBackends:
    """The execution backends that one queue service knows. Each is made when it is first needed.

    Args:
        configured: Those of the service's configuration.
        knows_all: Whether a name that is not known is accepted, because the configuration is not known yet.
    """

    def __init__(self, configured: Execution | Sequence[Execution], *, knows_all: bool = False) -> None:
        self._configured = in_order(configured)
        self._knows_all = knows_all
        self._made: dict[str, ExecutionBackend] = {}
        self._of_config: dict[int, ExecutionBackend] = {}
        self._open: set[str] = set()

    def make(self) -> None:
        """Make every execution backend of the configuration, and every registered one.

        Raises:
            QueueConfigurationError: One cannot be made, two have one name, or a fallback is not known.
            MissingDependencyError: A package is missing; names the extra.
        """
        for one in self._configured:
            self.name_of(one)
        for backend in self._all():
            if backend.fallback is not None and self.get(backend.fallback) is None:
                raise QueueConfigurationError(
                    f"the fallback of the execution backend {backend.name!r} is not known. {_unknown(backend.fallback, self.names)}"
                )

    def name_of(self, execution: Execution) -> str:
        """What tasks call an execution backend of a configuration.

        Raises:
            QueueConfigurationError: It cannot be made, or another one has its name.
        """
        if isinstance(execution, str):
            return execution
        backend = self._of_config.get(id(execution))
        if backend is None:
            if isinstance(execution, ExecutionBackendConfig):
                what = f"{type(execution).__qualname__}.create_execution_backend()"
                backend = _checked(_call(execution.create_execution_backend, what), f"what {what} returned")
            else:
                backend = execution
            if backend.name in self._made or backend.name in _BUILT_IN:
                raise QueueConfigurationError(
                    f"two execution backends are called {backend.name!r}: give one of them another name, or leave one out"
                )
            self._of_config[id(execution)] = self._made[backend.name] = backend
        return backend.name

    def check(self, name: str, profile: str | None) -> None:
        """Refuse an execution backend, or a profile, that is not known.

        Raises:
            InvalidTaskError: It is not known; names the known ones.
            QueueConfigurationError: It cannot be made.
        """
        backend = self.get(name)
        if backend is not None:
            backend.check_profile(profile)
        elif not self._knows_all:
            raise InvalidTaskError(_unknown(name, self.names))

    def get(self, name: str) -> ExecutionBackend | None:
        """The execution backend of this name, perhaps not open yet; None where there is none."""
        for one in self._configured:
            self.name_of(one)
        return self._get(name)

    async def opened(self, name: str) -> ExecutionBackend:
        """The same, open.

        Raises:
            QueueError: There is none of this name, or it cannot be opened.
        """
        backend = self.get(name)
        if backend is None:
            raise QueueError(_unknown(name, self.names))
        if name not in self._open:
            await backend.open()
            self._open.add(name)
        return backend

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all that are known."""
        configured = tuple(self.name_of(one) for one in self._configured)
        return tuple(dict.fromkeys((*_BUILT_IN, *configured, *_REGISTERED)))

    @property
    def run_by_workers(self) -> tuple[str, ...]:
        """The names of those whose tasks workers run themselves: immediate ones that wait for a retry or a delay, too."""
        return tuple(one.name for one in self._all() if not one.is_remote)

    @property
    def remote(self) -> tuple[str, ...]:
        """The names of those that start runs elsewhere."""
        return tuple(one.name for one in self._all() if one.is_remote)

    def is_remote(self, name: str) -> bool:
        """Whether the execution backend of this name is known, and starts runs elsewhere."""
        backend = self.get(name)
        return backend is not None and backend.is_remote

    async def close(self) -> None:
        """Close those that were opened; one that fails is logged."""
        opened, self._open = self._open, set()
        for name in sorted(opened):
            try:
                await self._made[name].close()
            except Exception:  # noqa: BLE001  # the others, and the store, are closed all the same
                _log.exception("the execution backend %r could not be closed", name)

    def _all(self) -> Iterator[ExecutionBackend]:
        for name in self.names:
            backend = self.get(name)
            if backend is not None:
                yield backend

    def _get(self, name: str) -> ExecutionBackend | None:
        made = self._made.get(name)
        if made is None and (factory := _BUILT_IN.get(name) or _REGISTERED.get(name)) is not None:
            what = f"the execution backend {name!r}"
            made = _checked(_call(factory, f"the factory of {what}"), what)
            if made.name != name:
                raise QueueConfigurationError(
                    f"the factory of {what} made one that is called {made.name!r}: register it under that name"
                )
            self._made[name] = made
        return made


def _checked(backend: Any, what: str) -> ExecutionBackend:
    if missing := _lacks(backend):
        raise QueueConfigurationError(_incomplete(what, type(backend).__qualname__, missing))
    return cast("ExecutionBackend", backend)


def _call(factory: Callable[[], Any], what: str) -> Any:
    try:
        return factory()
    except QueueError:
        raise
    except Exception as error:
        raise QueueConfigurationError(f"{what} raised {type(error).__name__}: {error}") from error
