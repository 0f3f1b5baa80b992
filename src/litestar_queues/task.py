"""Tasks: functions with a name, which a worker in another process can find."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from litestar_queues.backoff import Backoff, ExponentialBackoff
from litestar_queues.codec import Signature
from litestar_queues.errors import InvalidScheduleError, InvalidTaskError, QueueConfigurationError, UnknownTaskError
from litestar_queues.options import OPTION_NAMES, EnqueueOptions, TaskOptions, make_options
from litestar_queues.records import NAME_MAX, RECOVERIES, NewTask
from litestar_queues.schedules.checking import checked_call
from litestar_queues.schedules.options import (
    SCHEDULE_OPTIONS,
    CodeSchedule,
    ScheduleOptions,
    ScheduleSettings,
    split_options,
)
from litestar_queues.serving import open_service

if TYPE_CHECKING:
    from litestar_queues.result import TaskResult

__all__ = (
    "AsyncTask",
    "SyncTask",
    "Task",
    "TaskCall",
    "TaskOf",
    "TaskRegistry",
    "TaskTemplate",
    "declare",
    "default_registry",
    "import_task_modules",
    "task",
)

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
A = TypeVar("A", bound=Awaitable[Any])
T_co = TypeVar("T_co", covariant=True)


class DeclaredOptions(EnqueueOptions, ScheduleOptions, total=False):
    """The options of a task and of its schedule, for type checkers."""


DEFAULT_BACKOFF = ExponentialBackoff()


@dataclass(frozen=True, eq=False)
class Task(Generic[P, R_co]):
    """A function that workers can run. Calling it calls the function, here and now.

    `inspect.signature`, `__name__`, `__doc__` and `__wrapped__` are those of the function. `@task` makes an `AsyncTask` or
    a `SyncTask`; a parameter that takes any task of a signature is annotated `Task[[str], int]` or `Task[..., int]`.
    """

    name: str
    function: Callable[P, Awaitable[R_co]] | Callable[P, R_co]
    options: TaskOptions
    backoff: Backoff
    signature: Signature
    is_async: bool

    def __post_init__(self) -> None:
        for attribute in {*functools.WRAPPER_ASSIGNMENTS, "__annotations__"}:  # Python 3.14 leaves that one out
            if hasattr(self.function, attribute):
                object.__setattr__(self, attribute, getattr(self.function, attribute))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def __reduce__(self) -> str:
        """As a function is pickled: by its name in its module. A copy is the task itself."""
        return str(getattr(self, "__qualname__", self.name))

    if TYPE_CHECKING:

        @property
        def __name__(self) -> str: ...

    @property
    def __wrapped__(self) -> Callable[P, Any]:
        return self.function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.function(*args, **kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R_co]:
        """This task with these arguments, to be enqueued."""
        return TaskCall(self, args, kwargs, self.options)

    def using(self, **options: Unpack[EnqueueOptions]) -> TaskTemplate[P, R_co]:
        """This task with other options: those of `TaskOptions`.

        Raises:
            InvalidTaskError: An option does not exist, is out of its range, or contradicts another one.
        """
        return TaskTemplate(self, make_options(options))

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[R_co]:
        """Enqueue this task with the service that is open in this process.

        Raises:
            QueueError: No service is open here, or more than one.
            InvalidTaskError: The arguments do not fit; nothing was stored.
        """
        return await open_service().enqueue(self.call(*args, **kwargs))


class AsyncTask(Task[P, R_co]):
    """A task whose function is async: `await` a call of it."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return await cast("Callable[P, Awaitable[R_co]]", self.function)(*args, **kwargs)


class SyncTask(Task[P, R_co]):
    """A task whose function is not async."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return cast("Callable[P, R_co]", self.function)(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class TaskTemplate(Generic[P, R_co]):
    """A task with some of its options replaced: `send_welcome.using(delay=30)`."""

    task: Task[P, R_co]
    options: TaskOptions

    def __repr__(self) -> str:
        given = ", ".join(
            f"{name}={value!r}" for name in OPTION_NAMES if (value := getattr(self.options, name)) is not None
        )
        return f"<TaskTemplate {self.task.name!r} using {given}>"

    def call(self, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R_co]:
        """The task with these arguments and options, to be enqueued."""
        return TaskCall(self.task, args, kwargs, self.options.over(self.task.options), self.options)

    def using(self, **options: Unpack[EnqueueOptions]) -> TaskTemplate[P, R_co]:
        """This template with further options, which replace those it has; metadata is merged.

        Raises:
            InvalidTaskError: An option does not exist, is out of its range, or contradicts another one.
        """
        return TaskTemplate(self.task, make_options(options).over(self.options))

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[R_co]:
        """As `Task.enqueue`."""
        return await open_service().enqueue(self.call(*args, **kwargs))


@dataclass(frozen=True, slots=True)
class TaskCall(Generic[R]):
    """A task with its arguments and options, not yet enqueued."""

    task: Task[Any, R]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: TaskOptions
    stated: TaskOptions = field(default=TaskOptions(), compare=False, repr=False)
    """Those of the options that were said at the call, also where they are the task's own."""

    def new_task(self, now: datetime, *, execution_backend: str = "local", max_recoveries: int = RECOVERIES) -> NewTask:
        """What to store.

        Args:
            now: The store's time.
            execution_backend: Where it is to run unless the options say so.
            max_recoveries: How often it may be recovered unless the options say so.

        Raises:
            InvalidTaskError: The arguments or options cannot be stored; the text says why.
        """
        signature, options = self.task.signature, self.options
        arguments = signature.encode(self.args, self.kwargs)
        same_call = signature.same_call(self.args, self.kwargs) if options.unique_by == "arguments" else ""
        return options.new_task(
            self.task.name,
            arguments,
            same_call=same_call,
            now=now,
            execution_backend=execution_backend,
            max_recoveries=max_recoveries,
        )


class TaskOf(Protocol[T_co]):
    """A task or template by what its `call` takes and returns, for type checkers.

    `TaskOf[Callable[[*Ts], TaskCall[R]]]` beside `*args: *Ts` checks positional arguments, and leaves room for keywords of
    our own, which a `ParamSpec` does not.
    """

    @property
    def call(self) -> T_co: ...


@dataclass(slots=True)
class TaskRegistry:
    """Tasks by name."""

    _tasks: dict[str, Task[Any, Any]] = field(default_factory=dict[str, "Task[Any, Any]"])
    schedules: dict[str, CodeSchedule] = field(default_factory=dict[str, CodeSchedule])
    """What is declared with `@task(cron=...)`, `@task(interval=...)` and `schedule(...)`, by the schedules' names."""

    def add(self, task: Task[Any, Any]) -> None:
        """Register a task.

        Raises:
            QueueConfigurationError: Another function is registered under this name.
        """
        present = self._tasks.get(task.name)
        if present is not None and _source(present) != _source(task):
            raise QueueConfigurationError(
                f"two tasks are named {task.name!r}: {_source(present)} and {_source(task)}; rename one of them"
            )
        self._tasks[task.name] = task

    def get(self, name: str) -> Task[Any, Any]:
        """The task of this name.

        Raises:
            UnknownTaskError: There is none; the text names those that come close.
        """
        try:
            return self._tasks[name]
        except KeyError:
            near = get_close_matches(name, self._tasks)
            hint = f"; close to it: {', '.join(near)}" if near else ""
            raise UnknownTaskError(
                f"no task named {name!r} is registered in this process{hint}: "
                "import its module, or name the module in QueueConfig(task_modules=...)"
            ) from None

    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(self._tasks)

    def tasks(self) -> list[Task[Any, Any]]:
        """Every task, by name."""
        return [self._tasks[name] for name in self.names()]

    def declare(self, name: str, call: TaskCall[Any], settings: ScheduleSettings, module: str) -> None:
        """Declare a schedule; workers bring it into the store when they start.

        Raises:
            InvalidScheduleError: The options or the arguments are wrong, or another schedule has this name.
        """
        checked_call(name, call, settings)
        present = self.schedules.get(name)
        if present is not None and _source(present.call.task) != _source(call.task):
            raise InvalidScheduleError(
                f"two schedules are named {name!r}, of the tasks {present.call.task.name!r} and {call.task.name!r}: give one of "
                "them another name"
            )
        # A module that is loaded again makes other tasks of the same functions, whose schedules replace the earlier ones.
        is_same = present is None or (present.call, present.settings) == (call, settings)
        if present is not None and present.call.task is call.task and not is_same:
            raise InvalidScheduleError(
                f"task {call.task.name!r} has two schedules named {name!r}: give one of them another name, "
                "schedule(..., name=...)"
            )
        self.schedules[name] = CodeSchedule(name, call, settings, module)


def _source(task: Task[Any, Any]) -> str:
    code = getattr(inspect.unwrap(task.function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(task.function)


default_registry = TaskRegistry()
"""Where `@task` registers, unless told otherwise."""


class TaskDecorator:
    """What `@task(...)` puts on a function."""

    def __init__(
        self,
        name: str | None,
        options: TaskOptions,
        backoff: Backoff,
        registry: TaskRegistry,
        schedule: ScheduleSettings,
    ) -> None:
        self._name, self._options, self._backoff, self._registry = name, options, backoff, registry
        self._schedule = schedule

    # The second overload takes what is awaitable without being a coroutine. It loses the result's type: were it inferred,
    # mypy would find the overloads ambiguous for every async function with an Any in its annotations.
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, A], /) -> AsyncTask[P, Any]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    def __call__(self, function: Callable[P, Any], /) -> Task[P, Any]:
        if not callable(function) or inspect.isclass(function):
            raise QueueConfigurationError(
                f"@task goes on a function or another callable object, not on {function!r}: "
                "put it below @staticmethod, @classmethod or @property, or on a function that makes the object"
            )
        if isinstance(function, Task):  # a second name for it
            function = cast("Callable[P, Any]", function.__wrapped__)
        name = self._name or _name_of(function)
        if len(name) > NAME_MAX:
            raise QueueConfigurationError(f"the name of a task has at most {NAME_MAX} characters: {name[:40]!r}...")
        is_async = _is_async(function)
        kind = cast("type[Task[P, Any]]", AsyncTask if is_async else SyncTask)
        made = kind(
            name=name,
            function=function,
            options=self._options,
            backoff=self._backoff,
            signature=Signature.of(function, name),
            is_async=is_async,
        )
        if self._schedule != ScheduleSettings():
            declare(self._registry, name, TaskCall(made, (), {}, made.options), self._schedule, made.__module__)
        self._registry.add(made)
        return made


def declare(
    registry: TaskRegistry, name: str, call: TaskCall[Any], settings: ScheduleSettings, module: str | None
) -> None:
    """Declare a schedule in a module.

    Raises:
        QueueConfigurationError: Something is wrong with it.
    """
    try:
        registry.declare(name, call, settings, module or "")
    except InvalidTaskError as error:
        raise QueueConfigurationError(f"the schedule of task {call.task.name!r}: {error}") from error


def _is_async(function: Callable[..., Any]) -> bool:
    plain = inspect.unwrap(function)
    while isinstance(plain, functools.partial):
        plain = plain.func
    return (
        inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(plain)
        or inspect.iscoroutinefunction(getattr(plain, "__call__", None))  # noqa: B004  # an object with an async __call__
    )


def _name_of(function: Callable[..., Any]) -> str:
    try:
        return f"{function.__module__}.{function.__qualname__}"
    except AttributeError:
        raise QueueConfigurationError(
            f"{function!r} has no name of its own that another process could know: give it one, @task('some.name')"
        ) from None


# The options come first: for functools.partial, type checkers take the first overload alone.
@overload
def task(
    name: str | None = None,
    /,
    *,
    backoff: Backoff = DEFAULT_BACKOFF,
    registry: TaskRegistry = default_registry,
    **options: Unpack[DeclaredOptions],
) -> TaskDecorator: ...
@overload
def task(name: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
@overload
def task(name: Callable[P, A], /) -> AsyncTask[P, Any]: ...  # type: ignore[overload-overlap]
@overload
def task(name: Callable[P, R], /) -> SyncTask[P, R]: ...
def task(
    name: Callable[..., Any] | str | None = None,
    /,
    *,
    backoff: Backoff = DEFAULT_BACKOFF,
    registry: TaskRegistry = default_registry,
    **options: Any,
) -> Any:
    """Make a function, async or not, a task.

    A sync function runs in a thread. The annotations of the parameters decide how the stored JSON is read back: UUID,
    datetime, dataclasses, msgspec structs and Pydantic models among others.

    Args:
        name: What workers find it by; module and qualified name unless given. Keep it when the function moves.
        backoff: How long to wait before each retry; exponential from one second to one hour unless given.
        registry: Where to register.
        **options: See `TaskOptions`. Each can be replaced at enqueue, by `using(...)` or `QueueService.enqueue`. And those of
            a schedule, see `ScheduleSettings`: with `cron` or `interval`, workers enqueue the task at these times, without
            arguments, under a schedule that has the task's name.

    Raises:
        QueueConfigurationError: The options contradict each other, a type cannot be read from JSON, or the name is taken.
    """
    if name is not None and not isinstance(name, str) and not callable(name):
        raise QueueConfigurationError(f"@task takes the task's name first, a text, not {name!r}: options go by keyword")
    try:
        scheduling, others = split_options(options)
        made = make_options(others, beside=("backoff", "registry", *SCHEDULE_OPTIONS))
    except InvalidTaskError as error:
        raise QueueConfigurationError(f"@task({'' if callable(name) else repr(name)}): {error}") from error
    if callable(name):
        return TaskDecorator(None, made, backoff, registry, scheduling)(name)
    return TaskDecorator(name, made, backoff, registry, scheduling)


def import_task_modules(modules: Iterable[str]) -> None:
    """Import the modules whose tasks a worker must know.

    Raises:
        QueueConfigurationError: One cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise QueueConfigurationError(f"the task module {module!r} cannot be imported: {error}") from error
