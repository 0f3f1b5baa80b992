"""What users pass to be enqueued, made into calls: tasks, templates, names and calls, arguments and options."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from litestar_queues.errors import TaskArgumentError
from litestar_queues.options import OPTION_NAMES, make_options, option_hint
from litestar_queues.task import Task, TaskCall, TaskRegistry, TaskTemplate

__all__ = ("AnyTask", "checked_calls", "make_call")

AnyTask = Task[..., Any] | TaskTemplate[..., Any] | TaskCall[Any] | str
"""What can be enqueued: a task, a template, a call, or a name."""


def make_call(registry: TaskRegistry, task: AnyTask, args: tuple[Any, ...], given: Mapping[str, Any]) -> TaskCall[Any]:
    """The call that was meant.

    Args:
        registry: Where a name is looked up.
        task: What was passed as the task.
        args: Its positional arguments.
        given: Keyword arguments and options, which are told apart by their names.

    Raises:
        UnknownTaskError: No task of this name is registered.
        InvalidTaskError: This is no task, an option is wrong, or a keyword may be an argument or an option.
    """
    options = make_options({name: value for name, value in given.items() if name in OPTION_NAMES})
    kwargs = {name: value for name, value in given.items() if name not in OPTION_NAMES}
    if isinstance(task, TaskCall):
        if args or kwargs:
            hint = next((hint for name in kwargs if (hint := option_hint(name))), "")
            raise TaskArgumentError(
                f"the call of task {task.task.name!r} has its arguments already: "
                f"{', '.join([*map(repr, args), *kwargs])} is too much{hint and f' ({hint})'}"
            )
        return TaskCall(task.task, task.args, task.kwargs, options.over(task.options), options.over(task.stated))
    if isinstance(task, TaskTemplate):
        options, task = options.over(task.options), task.task
    if isinstance(task, str):
        task = registry.get(task)
    elif not isinstance(task, Task):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TaskArgumentError(f"enqueue takes a task, a task's name or a call of it, not {_described(task)}")
    _refuse_mistaken_options(task, given)
    return TaskCall(task, args, kwargs, options.over(task.options), options)


def checked_calls(calls: Iterable[TaskCall[Any]]) -> list[TaskCall[Any]]:
    """Several calls, as a list.

    Raises:
        TaskArgumentError: One of them is no call of a task.
    """
    if isinstance(calls, TaskCall):
        raise TaskArgumentError("enqueue_many takes several calls, such as a list, not one: enqueue takes that")
    given = list(calls)
    for one in given:
        if not isinstance(one, TaskCall):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TaskArgumentError(f"enqueue_many takes calls of tasks, task.call(...), not {_described(one)}")
    return given


def _described(value: Any) -> str:
    """Describe what was passed in a task's place, and what to do about it."""
    if isinstance(value, (Task, TaskTemplate)):
        return f"{value!r} without arguments"
    if inspect.iscoroutine(value):
        value.close()  # or Python warns that nobody awaited it
        return "a coroutine: the function was called here; pass the task, and its arguments after it"
    return f"{type(value).__qualname__}{': put @task on the function' if callable(value) else ''}"


def _refuse_mistaken_options(task: Task[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse keywords that are a parameter and an option at once, and those that are neither, but look like an option."""
    parameters = task.signature.parameters
    if both := [name for name in given if name in OPTION_NAMES and name in parameters]:
        raise TaskArgumentError(
            f"{', '.join(both)} is a parameter of task {task.name!r} and an option of enqueue: pass the argument by "
            "position, or use task.call(...) for arguments and task.using(...) for options"
        )
    if task.signature.takes_any_keyword:
        return
    for name in given:
        if name not in parameters and name not in OPTION_NAMES and (hint := option_hint(name, parameters=parameters)):
            raise TaskArgumentError(
                f"{name!r} is neither a parameter of task {task.name!r} nor an option of enqueue ({hint}): "
                f"its signature is {task.name}{task.signature.signature}, the options are {', '.join(OPTION_NAMES)}"
            )
