"""Which stored tasks are the ones that a test expects, and in what the others differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from inspect import Parameter
from typing import Any

import msgspec

from litestar_queues.codec import Signature, canonical, encode
from litestar_queues.errors import EncodingError, InvalidTaskError, TaskArgumentError
from litestar_queues.options import OPTION_NAMES, TaskOptions
from litestar_queues.records import NewTask
from litestar_queues.task import Task, TaskCall, TaskRegistry, TaskTemplate
from litestar_queues.testing.views import EnqueuedTask, bind, call_text, short

__all__ = ("Expectation", "TaskLike", "same")

TaskLike = Task[..., Any] | TaskTemplate[..., Any] | TaskCall[Any] | str
_SLACK = timedelta(seconds=5)
"""How much later than its options were read a task may be stored: durations count from the one, `created_at` from the other."""
_CONTAINERS = (list, tuple, dict, set, frozenset)
_NEAREST, _OTHERS = 5, 10
"""How many tasks of the same name, and how many others, a message lists."""


def same(expected: Any, actual: Any) -> bool:
    """Whether two values are the same to a task: as JSON, so that 1 is not True; or by the `==` of the expected one."""
    try:
        if canonical(expected) == canonical(actual):
            return True
    except EncodingError:  # no value that a task could get, but one that compares: unittest.mock.ANY, pytest.approx
        return bool(expected == actual)
    return type(expected) is type(actual) and not isinstance(expected, _CONTAINERS) and bool(expected == actual)


def _as_stored(signature: Signature, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Expected arguments as the values that the function would get, had they been enqueued.

    Raises:
        TaskArgumentError: One does not fit its annotation, so that it could never have been enqueued.
    """

    def read(name: str, value: Any) -> Any:
        try:
            return signature.parameters[name].decode(encode(value, "an expected value"))
        except EncodingError:
            return value
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise TaskArgumentError(
                f"the argument {name!r} of task {signature.name!r} does not fit, so that no such task can ever be "
                f"enqueued: {error}"
            ) from error

    made: dict[str, Any] = {}
    for name, value in arguments.items():
        parameter = signature.signature.parameters[name]
        match parameter.kind:
            case Parameter.VAR_POSITIONAL:
                made[name] = tuple(read(name, one) for one in value)
            case Parameter.VAR_KEYWORD:
                made[name] = {key: read(name, one) for key, one in value.items()}
            case _:
                made[name] = value if value is parameter.default else read(name, value)
    return made


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a test expects of a task. `arguments` is None where any will do; `options` has what was said of them."""

    name: str
    arguments: Mapping[str, Any] | None
    options: TaskOptions
    same_call: str

    @classmethod
    def of(cls, task: TaskLike, args: Sequence[Any], kwargs: Mapping[str, Any], registry: TaskRegistry) -> Expectation:
        """The expectation of a task with these arguments, of a task with any (none given), or of exactly a call.

        Raises:
            UnknownTaskError: No task of this name is registered.
            TaskArgumentError: The arguments do not fit, so that no such task can ever be enqueued.
        """
        options, given = TaskOptions(), bool(args or kwargs)
        if isinstance(task, TaskCall):
            if given:
                raise TaskArgumentError(
                    f"the call of task {task.task.name!r} has its arguments already: "
                    f"{', '.join([*map(short, args), *kwargs])} is too much"
                )
            args, kwargs, given = task.args, task.kwargs, True
            options, task = task.stated, task.task
        elif isinstance(task, TaskTemplate):
            options, task = task.options, task.task
        elif isinstance(task, str):
            task = registry.get(task)
        if not isinstance(task, Task):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TaskArgumentError(f"expected a task, its name or a call of it, not {type(task).__qualname__}")
        if not given:
            return cls(task.name, None, options, "")
        arguments = _as_stored(task.signature, bind(task.signature, args, kwargs))
        try:
            same_call = task.signature.same_call(args, kwargs) if options.unique_by == "arguments" else ""
        except TypeError:  # unittest.mock.ANY and its like, of which no key can be made
            same_call = ""
        return cls(task.name, arguments, options, same_call)

    def __str__(self) -> str:
        call = f"{self.name}(...)" if self.arguments is None else call_text(self.name, self.arguments)
        said = [f"{name}={short(value)}" for name, value in self._said()]
        return f"{call} with {', '.join(said)}" if said else call

    def _said(self) -> list[tuple[str, Any]]:
        return [(name, value) for name in OPTION_NAMES if (value := getattr(self.options, name)) is not None]

    def differences(self, task: EnqueuedTask) -> list[str]:
        """In what a task of this name differs; nothing where it is as expected."""
        found: list[str] = []
        if self.arguments is not None:
            for name in dict.fromkeys([*self.arguments, *task.arguments]):
                if name not in self.arguments or name not in task.arguments:
                    found.append(f"{name}: {'not given' if name in self.arguments else 'not expected'}")
                elif not same(wanted := self.arguments[name], actual := task.arguments[name]):
                    found.append(f"{name}: {short(actual)}, not {short(wanted)}")
        try:
            new = self.options.new_task(self.name, ("[]", "{}"), same_call=self.same_call, now=task.record.created_at)
        except InvalidTaskError as error:
            return [*found, str(error)]
        for name, value in self._said():
            if difference := self._differs(name, value, new, task):
                found.append(difference)
        return found

    def _differs(self, name: str, value: Any, new: NewTask, task: EnqueuedTask) -> str | None:
        record = task.record
        match name:
            case "delay" | "run_after":
                wanted = new.run_at or record.created_at
                late = timedelta(0) if isinstance(value, datetime) else _SLACK
                fits = _is_near(max(wanted, record.created_at), record.due_at, late)
                return None if fits else f"{name}: due at {record.due_at.isoformat()}, not {wanted.isoformat()}"
            case "expires_in" | "expires_at":
                late = timedelta(0) if name == "expires_at" else _SLACK
                if new.expires_at and record.expires_at and _is_near(new.expires_at, record.expires_at, late):
                    return None
                return f"{name}: expires at {record.expires_at and record.expires_at.isoformat()}, not {value}"
            case "unique_by" if value == "arguments" and not self.same_call:
                return None if record.key and record.key.startswith("arguments:") else f"key: {record.key!r}"
            case "key" | "unique_by":
                return None if record.key == new.key else f"key: {record.key!r}, not {new.key!r}"
            case "metadata":
                return self._metadata_differs(task.metadata)
            case "retries":
                return None if task.retries == value else f"retries: {task.retries}, not {value}"
            case _:
                actual, wanted = getattr(record, name), getattr(new, name)
                return None if actual == wanted else f"{name}: {actual!r}, not {wanted!r}"

    def _metadata_differs(self, stored: Mapping[str, Any]) -> str | None:
        wanted = self.options.metadata or {}
        wrong = [key for key in wanted if key not in stored or not same(wanted[key], stored[key])]
        return f"metadata: {short(dict(stored))}, not {short(dict(wanted))}" if wrong else None

    def matching(self, tasks: Sequence[EnqueuedTask]) -> list[EnqueuedTask]:
        """Those of the tasks that are as expected."""
        return [task for task in tasks if task.name == self.name and not self.differences(task)]

    def others(self, tasks: Sequence[EnqueuedTask]) -> str:
        """What is stored instead, for a message: the nearest tasks of this name with their differences, then others."""
        named = [(self.differences(task), task) for task in tasks if task.name == self.name]
        named.sort(key=lambda one: len(one[0]))
        lines: list[str] = []
        for differences, task in named[:_NEAREST]:
            lines.append(f"  {task}")
            lines += [f"      {difference}" for difference in differences]
        rest = [task for task in tasks if task.name != self.name]
        lines += [f"  {task}" for task in rest[:_OTHERS]]
        hidden = max(len(named) - _NEAREST, 0) + max(len(rest) - _OTHERS, 0)
        lines += [f"  and {hidden} more"] if hidden else []
        return "enqueued instead:\n" + "\n".join(lines) if lines else "nothing is enqueued"


def _is_near(wanted: datetime, actual: datetime, late: timedelta) -> bool:
    return -late - timedelta(milliseconds=1) <= actual - wanted <= timedelta(seconds=1 if late else 0.001)
