"""Whatever `@task` can be put on keeps its types: read by mypy and pyright, both strict, and never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, ParamSpec, TypedDict, TypeVar, assert_type

from litestar_queues import AsyncTask, QueueService, SyncTask, Task, TaskCall, TaskRegistry, TaskResult, task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@task
async def bare(a: int) -> str:
    return str(a)


@task()
async def called(a: int) -> str:
    return str(a)


@task("shapes.named", retries=3)
async def named(a: int) -> str:
    return str(a)


@task(queue="mail", registry=TaskRegistry())
def sync(a: int) -> str:
    return str(a)


async def of_decorators(service: QueueService) -> None:
    for one in (bare, called, named):
        assert_type(await service.enqueue(one, 1), TaskResult[str])
        assert_type(await one(1), str)
        await service.enqueue(one, "1")  # type: ignore[arg-type]
    assert_type(await service.enqueue(sync, 1), TaskResult[str])
    assert_type(sync(1), str)
    await service.enqueue(sync, "1")  # type: ignore[arg-type]


class Calls:
    async def __call__(self, a: int) -> str:
        return str(a)

    def method(self, a: int) -> str:
        return str(a)

    @staticmethod
    @task("shapes.static")
    def static(a: int) -> str:
        return str(a)


def two(a: int, b: int) -> str:
    return str(a + b)


async def two_async(a: int, b: int) -> str:
    return str(a + b)


async def of_callables(service: QueueService) -> None:
    assert_type(await service.enqueue(task("object")(Calls()), 1), TaskResult[str])
    assert_type(await service.enqueue(task("method")(Calls().method), 1), TaskResult[str])
    assert_type(await service.enqueue(Calls.static, 1), TaskResult[str])
    assert_type(await service.enqueue(task("partial")(functools.partial(two, 1)), 1), TaskResult[str])
    assert_type(await service.enqueue(task("partial")(functools.partial(two_async, 1)), 1), TaskResult[str])
    assert_type(await service.enqueue(task("again")(bare), 1), TaskResult[str])
    assert_type(await task("object")(Calls())(1), str)
    task("object")(Calls()).call("1")  # type: ignore[arg-type]
    task("method")(Calls().method).call("1")  # type: ignore[arg-type]
    Calls.static.call("1")  # type: ignore[arg-type]
    task("again")(bare).call("1")  # type: ignore[arg-type]
    nothing: Callable[[], int] = lambda: 3  # noqa: E731  # as users write it
    assert_type(task("lambda")(nothing).call(), TaskCall[int])


mail = functools.partial(task, queue="mail", retries=3)


@mail("shapes.mailed")
async def mailed(a: int) -> str:
    return str(a)


async def of_options_made_beforehand(service: QueueService) -> None:
    assert_type(await service.enqueue(mailed, 1), TaskResult[str])
    await service.enqueue(mailed, "1")  # type: ignore[arg-type]


def timed(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    return function


def traced(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    return function


def logged(function: Callable[P, R]) -> Callable[P, R]:
    return function


@task
@timed
async def is_timed(a: int, payload: dict[str, Any]) -> str:
    return str(a)


@task
@traced  # an awaitable of no known kind: the arguments are checked, the result is Any
async def is_traced(a: int, payload: dict[str, Any]) -> str:
    return str(a)


@task
@logged
def is_logged(a: int) -> str:
    return str(a)


async def of_decorated(service: QueueService) -> None:
    assert_type(await service.enqueue(is_timed, 1, {}), TaskResult[str])
    assert_type(await is_timed(1, {}), str)
    assert_type(await service.enqueue(is_traced, 1, {}), TaskResult[Any])
    assert_type(await service.enqueue(is_logged, 1), TaskResult[str])
    await service.enqueue(is_timed, "1", {})  # type: ignore[arg-type, call-arg]
    await service.enqueue(is_traced, "1", {})  # type: ignore[arg-type, call-arg]
    await service.enqueue(is_logged, "1")  # type: ignore[arg-type]


@task
async def of_any(payload: dict[str, Any], more: Any = None) -> str:
    """An Any in the annotations must not make a checker give up."""
    return str(payload)


@task
async def to_any(a: int) -> Any: ...


@task
def to_dict(a: int) -> dict[str, Any]:
    return {}


@task
async def to_dict_async(a: dict[str, Any]) -> dict[str, Any]:
    return {}


async def of_anys(service: QueueService) -> None:
    assert_type(await service.enqueue(of_any, {}), TaskResult[str])
    assert_type(await service.enqueue(to_any, 1), TaskResult[Any])
    assert_type(await service.enqueue(to_dict, 1), TaskResult[dict[str, Any]])
    assert_type(await service.enqueue(to_dict_async, {}), TaskResult[dict[str, Any]])
    await service.enqueue(of_any, "1")  # type: ignore[arg-type]
    await service.enqueue(to_any, "1")  # type: ignore[arg-type]
    await service.enqueue(to_dict, "1")  # type: ignore[arg-type]
    await service.enqueue(to_dict_async, 1)  # type: ignore[arg-type]


@task
async def many(first: str, *rest: int, flag: bool = False, **named: float) -> None: ...


@task
async def only_keywords(*, address: str, copies: int = 1) -> None: ...


@task
async def only_positions(address: str, copies: int = 1, /) -> None: ...


@task
async def nothing() -> None: ...


async def of_parameters(service: QueueService) -> None:
    await service.enqueue(many, "a", 1, 2, flag=True, x=1.5)
    await service.enqueue(many, "a")
    await service.enqueue(many, "a", 1, 2, delay=3)
    await service.enqueue(only_keywords, address="a")
    await service.enqueue(only_keywords.using(delay=3), address="a", copies=2)
    await service.enqueue(only_positions, "a")
    await service.enqueue(only_positions, "a", 2, delay=3)
    await service.enqueue(nothing)
    await service.enqueue(nothing, delay=3)
    assert_type((await service.enqueue(nothing)).value(), None)
    await service.enqueue(many, 1)  # type: ignore[arg-type]
    await service.enqueue(many, "a", "b")  # type: ignore[arg-type, call-arg]
    await service.enqueue(many, "a", 1, "b", delay=3)  # type: ignore[arg-type, call-arg]
    await service.enqueue(only_keywords, "a")  # type: ignore[arg-type]
    await service.enqueue(only_keywords)  # type: ignore[arg-type, call-arg]
    await service.enqueue(only_positions, address="a")  # type: ignore[call-overload]
    await service.enqueue(nothing, 1)  # type: ignore[arg-type]


class Point(TypedDict):
    x: int
    y: int


class Box(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value


@task
async def echo(value: T, times: int = 1) -> list[T]:
    return [value] * times


@task
async def wide(  # noqa: PLR0917  # as users write it
    a: float, b: int | None, c: Sequence[str | int], d: Mapping[str, object], e: Literal["x", "y"], f: datetime | None
) -> None: ...


@task
async def narrow(points: list[Point], floats: list[float]) -> None: ...


@task
async def boxed(box: Box[int]) -> Box[str]:
    return Box(str(box.value))


async def of_arguments(service: QueueService, points: list[Point], floats: list[float]) -> None:
    assert_type(await service.enqueue(echo, 3), TaskResult[list[int]])
    assert_type(await service.enqueue(echo, "a", 2, delay=3), TaskResult[list[str]])
    assert_type(await echo("a"), list[str])
    await service.enqueue(echo, "a", "b")  # type: ignore[arg-type, call-arg]
    await service.enqueue(wide, 1, None, ["a", 1], {"a": 1}, "x", None)
    await service.enqueue(wide, 1, None, ["a"], {"a": 1, "b": "c"}, "x", None, delay=3)
    await service.enqueue(wide, 1, 2, (), {}, "z", None, delay=3)  # type: ignore[arg-type, call-arg]
    await service.enqueue(narrow, [{"x": 1, "y": 2}], [1])
    await service.enqueue(narrow.using(delay=3), [{"x": 1, "y": 2}], [1])
    await service.enqueue(narrow, points, floats, delay=3)
    assert_type((await service.enqueue(boxed, Box(3), delay=3)).value(), Box[str])
    # Beside an option, a checker reads a literal before it knows the parameter: right, and refused. `using` is not.
    await service.enqueue(narrow, [{"x": 1, "y": 2}], [1], delay=3)  # type: ignore[call-arg]


def takes_tasks(
    one: Task[[int], str], two: Task[..., str], three: AsyncTask[[int], str], four: SyncTask[..., str]
) -> None: ...


@task
async def positional(_: int, /) -> str:
    return ""


takes_tasks(positional, bare, positional, sync)
