"""`KeyboardInterrupt` and `SystemExit` of what a task starts in the event loop: outcomes, and no end of the process.

asyncio lets these two pass through the event loop, which ends the process, when a step of any asyncio task raises them.
The executor catches them in the task's own coroutine. An asyncio task that the function starts has a coroutine of its
own, and so gets one that raises `TaskExit` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from litestar_queues.context import CONTEXT, TaskContext

__all__ = ("TaskExit", "contained_exits", "original", "starter_of")

_starters: WeakKeyDictionary[Any, TaskContext] = WeakKeyDictionary()
"""The queue task that started each asyncio task, itself or through others."""

_PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""The first two pass through the event loop. The third one would close the coroutines that wait for the outcome."""


class TaskExit(BaseException):
    """Carries one of the exceptions that asyncio does not carry from one coroutine to another, as its cause."""

    @classmethod
    def of(cls, error: BaseException) -> TaskExit:
        """Carry this exception."""
        carrier = cls(f"{type(error).__name__} outside the task's own coroutine")
        carrier.__cause__ = error
        return carrier


def original(error: BaseException) -> BaseException:
    """The exception as the user's code raised it."""
    return error.__cause__ if isinstance(error, TaskExit) and error.__cause__ is not None else error


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that raises `TaskExit` in place of `_PASSING`."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except _PASSING as error:
            raise TaskExit.of(error) from error

    def throw(self, *error: Any) -> Any:
        try:
            return self._inner.throw(*error)
        except _PASSING as raised:
            raise TaskExit.of(raised) from raised

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        """What debuggers and `Task.print_stack` look at: `cr_frame`, `__qualname__`, ..."""
        return getattr(self._inner, name)


class _Factory:
    """Makes the asyncio tasks of an event loop, as another factory or asyncio itself would."""

    def __init__(self, before: Any) -> None:
        self.before = before
        self.users = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        context = CONTEXT.get(None)
        if context is not None and isinstance(coro, Coroutine):
            coro = _Contained(coro)  # pyright: ignore[reportUnknownArgumentType]  # asyncio's own
        before = self.before
        made = asyncio.Task(coro, loop=loop, **options) if before is None else before(loop, coro, **options)
        if context is not None:
            _starters[made] = context
        return made


def starter_of(task: asyncio.Task[Any]) -> TaskContext | None:
    """The queue task in whose context an asyncio task was started; None where it was started outside."""
    return _starters.get(task)


@contextmanager
def contained_exits() -> Generator[None, None, None]:
    """Contain the exits of asyncio tasks that queue tasks start in the running loop. May be entered several times."""
    loop = asyncio.get_running_loop()
    present: Any = loop.get_task_factory()
    factory = present if isinstance(present, _Factory) else _Factory(present)
    loop.set_task_factory(factory)
    factory.users += 1
    try:
        yield
    finally:
        factory.users -= 1
        if not factory.users and loop.get_task_factory() is factory:
            loop.set_task_factory(factory.before)
