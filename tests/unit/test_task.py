from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import sys
import types
from typing import Any, get_type_hints

import pytest
from litestar.background_tasks import BackgroundTask
from queue_lab import open_lab

from litestar_queues import (
    AsyncTask,
    QueueConfig,
    QueueConfigurationError,
    QueueError,
    QueueService,
    SyncTask,
    TaskRegistry,
    UnknownTaskError,
    default_registry,
    task,
)
from litestar_queues.task import import_task_modules

pytestmark = pytest.mark.anyio


def add(a: int, b: int = 1) -> int:
    return a + b


def test_a_task_is_found_by_its_module_and_name_unless_it_is_given_one() -> None:
    registry = TaskRegistry()
    assert task(registry=registry)(add).name == f"{add.__module__}.add"
    assert task("shop.add", registry=registry)(add).name == "shop.add"
    assert registry.names() == sorted(["shop.add", f"{add.__module__}.add"])
    assert registry.get("shop.add").function is add


def test_the_bare_decorator_registers_where_workers_look() -> None:
    made = task(add)
    assert default_registry.get(made.name) is made


def test_a_task_is_still_its_function() -> None:
    assert task(registry=TaskRegistry())(add)(2, b=3) == 5


def test_two_tasks_cannot_share_a_name() -> None:
    registry = TaskRegistry()
    task("mail", registry=registry)(add)

    def other() -> None: ...

    with pytest.raises(QueueConfigurationError, match=r"two tasks are named 'mail': .*test_task.py:\d+ and .*rename"):
        task("mail", registry=registry)(other)
    assert registry.get("mail").function is add


def test_a_module_that_is_imported_twice_registers_its_tasks_again() -> None:
    registry = TaskRegistry()

    def load() -> Any:
        @task("mail", registry=registry)
        def mail() -> None: ...

        return mail

    load()
    assert registry.get("mail") is load() or registry.names() == ["mail"]


def test_an_unknown_task_is_named_with_those_that_come_close() -> None:
    registry = TaskRegistry()
    task("mail.send", registry=registry)(add)
    with pytest.raises(
        UnknownTaskError, match=r"no task named 'mail.sned' .*close to it: mail.send: import its module"
    ):
        registry.get("mail.sned")
    with pytest.raises(UnknownTaskError, match=r"no task named 'zzz' is registered in this process: import"):
        registry.get("zzz")


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(QueueConfigurationError, match="at most 200 characters"):
        task("x" * 201, registry=TaskRegistry())(add)


async def add_async(a: int, b: int = 1) -> int:
    return a + b


@functools.wraps(add)
async def async_around_sync(*args: Any, **kwargs: Any) -> int:
    return add(*args, **kwargs)


@functools.wraps(add_async)
def sync_around_async(*args: Any, **kwargs: Any) -> Any:
    return add_async(*args, **kwargs)


class Adder:
    async def __call__(self, a: int, b: int = 1) -> int:
        return a + b


class SyncAdder:
    def __call__(self, a: int, b: int = 1) -> int:
        return a + b


CALLABLES = {
    "a sync function": (add, False),
    "an async function": (add_async, True),
    "async around sync": (async_around_sync, True),
    "sync around async": (sync_around_async, True),
    "a partial of a sync function": (functools.partial(add, b=1), False),
    "a partial of an async function": (functools.partial(add_async, b=1), True),
    "an object with an async call": (Adder(), True),
    "an object with a sync call": (SyncAdder(), False),
    "a method": (Adder().__call__, True),
}


@pytest.mark.parametrize("case", CALLABLES)
async def test_whatever_can_be_called_can_be_a_task(case: str) -> None:
    function, is_async = CALLABLES[case]
    async with open_lab(execution_backend="immediate") as lab:
        made = lab.task("add")(function)
        assert made.is_async is is_async
        assert (await lab.service.enqueue(made.call(2))).result == 3


@pytest.mark.parametrize("function", [functools.partial(add, 1), Adder()])
def test_what_has_no_name_has_to_be_given_one(function: Any) -> None:
    with pytest.raises(QueueConfigurationError, match="has no name of its own that another process could know"):
        task(registry=TaskRegistry())(function)


async def test_task_enqueue_uses_the_one_service_that_is_open() -> None:
    async with open_lab() as lab:
        made = lab.task("add")(add)
        result = await made.enqueue(1, b=2)
        template = await made.using(priority=5).enqueue(3)
        assert ((await lab.stored(result.id)).kwargs, (await lab.stored(template.id)).priority) == ('{"b":2}', 5)


async def test_task_enqueue_says_what_to_do_where_no_service_is_open_or_several_are() -> None:
    made = task("add", registry=TaskRegistry())(add)
    with pytest.raises(QueueError, match="no queue service is open in this process: enqueue inside"):
        await made.enqueue(1)
    async with QueueService(QueueConfig()), QueueService(QueueConfig()):
        with pytest.raises(QueueError, match=r"2 queue services are open in this process: say which, with service"):
            await made.enqueue(1)


def test_task_modules_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shop_tasks_of_a_test", types.ModuleType("shop_tasks_of_a_test"))
    import_task_modules(["shop_tasks_of_a_test"])
    with pytest.raises(QueueConfigurationError, match=r"the task module 'shop.no_such' cannot be imported: No module"):
        import_task_modules(["shop.no_such"])


async def test_a_service_whose_task_modules_are_missing_does_not_open() -> None:
    async with open_lab() as lab:
        service = QueueService(QueueConfig(queue_backend=lab.backend, task_modules=["no_such_module"]))
        lab.backend.calls.clear()
        with pytest.raises(QueueConfigurationError, match="no_such_module"):
            await service.open()
        assert lab.backend.of("open") == []


@task("documented", registry=TaskRegistry())
async def documented(a: int, *, b: str = "x") -> list[int]:
    """What it does."""
    return [a]


def test_a_task_looks_like_its_function_to_whoever_inspects_it() -> None:
    assert str(inspect.signature(documented)) == "(a: 'int', *, b: 'str' = 'x') -> 'list[int]'"
    assert get_type_hints(documented) == {"a": int, "b": str, "return": list[int]}
    assert (documented.__name__, documented.__doc__) == ("documented", "What it does.")
    assert documented.__module__ == __name__
    assert inspect.unwrap(documented) is documented.__wrapped__ is documented.function
    assert inspect.iscoroutinefunction(documented.__call__)
    assert repr(documented) == "<AsyncTask 'documented'>"
    assert repr(documented.using(delay=3)) == "<TaskTemplate 'documented' using delay=3>"
    nameless = task("nameless", registry=TaskRegistry())(lambda: None)
    assert nameless.__doc__ is None


def test_a_task_is_copied_and_pickled_as_a_function_is() -> None:
    assert copy.copy(documented) is documented
    assert copy.deepcopy({"task": documented})["task"] is documented
    assert pickle.loads(pickle.dumps(documented)) is documented


async def test_a_call_of_a_task_is_a_call_of_its_function() -> None:
    registry = TaskRegistry()
    assert isinstance(documented, AsyncTask)
    assert await documented(1, b="y") == [1]
    assert await asyncio.create_task(documented(2)) == [2]
    made = task("add", registry=registry)(add)
    assert isinstance(made, SyncTask)
    assert made(2, b=3) == 5
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        await documented()  # type: ignore[call-arg]


async def test_litestar_awaits_a_task_that_it_is_given_as_a_callback() -> None:
    done: list[int] = []

    @task("callback", registry=TaskRegistry())
    async def callback(number: int) -> None:
        done.append(number)

    await BackgroundTask(callback, 3)()
    assert done == [3]


def test_a_function_can_have_a_second_name() -> None:
    registry = TaskRegistry()
    first = task("old", registry=registry)(add)
    second = task("new", registry=registry)(first)
    assert (first.name, second.name, second.function, second(1)) == ("old", "new", add, 2)
    assert registry.names() == ["new", "old"]


@pytest.mark.parametrize("thing", [3, classmethod(add), property(add), int, Adder, None])
def test_what_cannot_be_called_as_a_function_cannot_be_a_task(thing: Any) -> None:
    with pytest.raises(QueueConfigurationError, match="@task goes on a function or another callable object, not on"):
        task("thing", registry=TaskRegistry())(thing)


def test_a_name_is_a_text() -> None:
    with pytest.raises(
        QueueConfigurationError, match="takes the task's name first, a text, not 3: options go by keyword"
    ):
        task(3)  # type: ignore[call-overload]
