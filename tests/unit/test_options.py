from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Unpack, get_overloads, get_type_hints

import pytest
from queue_lab import Lab, open_lab

from litestar_queues import (
    EncodingError,
    EnqueueOptions,
    InvalidTaskError,
    QueueConfig,
    QueueConfigurationError,
    QueuedBackgroundTask,
    QueueError,
    QueueService,
    State,
    Task,
    TaskArgumentError,
    TaskCall,
    TaskOptions,
    TaskTemplate,
    UnknownTaskError,
    task,
)
from litestar_queues.backends.memory import MemoryBackend, MemoryBackendConfig
from litestar_queues.options import OPTION_NAMES
from litestar_queues.schedules.options import SCHEDULE_OPTIONS, ScheduleOptions, ScheduleSettings
from litestar_queues.task import DeclaredOptions

pytestmark = pytest.mark.anyio
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001  # on purpose
NEVER_IN_UTC = datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=12)))

Bad = tuple[Callable[[Lab], Any], type[QueueError], str]


def options(**given: Any) -> Callable[[Lab], Any]:
    return lambda lab: lab.service.enqueue("add", 1, 2, **given)


BAD: dict[str, Bad] = {
    "an unknown name": (
        lambda lab: lab.service.enqueue("ad"), UnknownTaskError,
        "no task named 'ad' is registered in this process; close to it: add: import its module",
    ),
    "no task at all": (
        lambda lab: lab.service.enqueue(len), TaskArgumentError,
        "takes a task, a task's name or a call of it, not builtin_function_or_method: put @task on the function",
    ),
    "too few arguments": (
        lambda lab: lab.service.enqueue("add", 1), TaskArgumentError,
        "do not fit task 'add': missing a required argument: 'b'; its signature is add(a: 'int', b: 'int')",
    ),
    "too many arguments": (
        lambda lab: lab.service.enqueue("add", 1, 2, 3), TaskArgumentError, "too many positional arguments",
    ),
    "a keyword that is neither parameter nor option": (
        lambda lab: lab.service.enqueue("add", 1, 2, prority=3), TaskArgumentError, "'prority'",
    ),
    "an argument of another type": (
        lambda lab: lab.service.enqueue("add", 1, "2"), TaskArgumentError,
        "the argument 'b' of task 'add' does not fit: Expected `int`, got `str`",
    ),
    "an argument without JSON form": (
        lambda lab: lab.service.enqueue("show", object()), EncodingError,
        "an argument of task 'show' cannot be written as JSON: values of the type 'object' have no JSON form",
    ),
    "NaN": (lambda lab: lab.service.enqueue("show", math.nan), EncodingError, "NaN or an infinity"),
    "arguments for a call that has its own": (
        lambda lab: lab.service.enqueue(lab.registry.get("add").call(1, 2), 3), TaskArgumentError,
        "has its arguments already: 3 is too much",
    ),
    "a parameter with the name of an option": (
        lambda lab: lab.service.enqueue("later", delay=3), TaskArgumentError,
        "delay is a parameter of task 'later' and an option of enqueue: pass the argument by position",
    ),
    "a naive run_after": (options(run_after=NAIVE), InvalidTaskError, "run_after is a naive datetime"),
    "a naive expires_at": (options(expires_at=NAIVE), InvalidTaskError, "expires_at is a naive datetime"),
    "a run_after that is no time": (options(run_after="noon"), InvalidTaskError, "run_after must be a number of seconds"),
    "an expires_at that is no time": (options(expires_at="noon"), InvalidTaskError, "expires_at must be a datetime"),
    "a time that UTC has not": (options(run_after=NEVER_IN_UTC), InvalidTaskError, "outside the years 1 to 9999"),
    "expires_in with expires_at": (
        options(expires_in=5, expires_at=datetime(2100, 1, 1, tzinfo=UTC)), InvalidTaskError,
        "expires_in and expires_at contradict each other: give one of them",
    ),
    "delay with run_after": (
        options(delay=5, run_after=5), InvalidTaskError, "delay and run_after contradict each other",
    ),
    "key with unique_by": (
        options(key="k", unique_by="task"), InvalidTaskError, "key and unique_by contradict each other",
    ),
    "an unknown unique_by": (
        options(unique_by="name"), InvalidTaskError, "unique_by is 'task' or 'arguments', not 'name'",
    ),
    "a negative delay": (options(delay=-1), InvalidTaskError, "the delay cannot be negative: -1"),
    "a negative run_after": (options(run_after=timedelta(-1)), InvalidTaskError, "run_after cannot be negative"),
    "a negative expires_in": (options(expires_in=-0.1), InvalidTaskError, "expires_in cannot be negative: -0.1"),
    "a delay that is no number": (options(delay="5"), InvalidTaskError, "the delay must be a number of seconds"),
    "a delay beyond all years": (options(delay=1e12), InvalidTaskError, "reaches beyond the year 9999"),
    "an infinite delay": (options(delay=math.inf), InvalidTaskError, "the delay must be a number of seconds"),
    "an expiry that has passed": (
        options(expires_at=datetime(2000, 1, 1, tzinfo=UTC)), InvalidTaskError, "would expire (2000-01-01T",
    ),
    "an expiry before the start": (
        options(delay=60, expires_in=30), InvalidTaskError, "before it may start",
    ),
    "an expiry in no time": (options(expires_in=0), InvalidTaskError, "give it more time, or a shorter delay"),
    "no timeout to speak of": (options(timeout=0), InvalidTaskError, "the timeout must be a positive number"),
    "a negative timeout": (options(timeout=-1), InvalidTaskError, "the timeout cannot be negative: -1"),
    "a timeout that is no number": (options(timeout="5"), InvalidTaskError, "the timeout must be a number of seconds"),
    "an infinite timeout": (options(timeout=math.inf), InvalidTaskError, "the timeout must be a number of seconds"),
    "negative retries": (options(retries=-1), InvalidTaskError, "the number of retries"),
    "half a retry": (options(retries=1.5), InvalidTaskError, "must be a whole number from 0"),
    "too many retries": (options(retries=2**31 - 1), InvalidTaskError, "must be a whole number from 0 to 2147483646"),
    "a priority out of range": (options(priority=2**31), InvalidTaskError, "the priority must be a whole number"),
    "a priority that is no number": (options(priority="high"), InvalidTaskError, "not 'high'"),
    "a key that is too long": (options(key="k" * 256), InvalidTaskError, "the key has 256 characters, and at most 255"),
    "an empty key": (options(key=""), InvalidTaskError, "the key is empty: leave it out"),
    "a key that is no text": (options(key=5), InvalidTaskError, "the key must be a text, not 5"),
    "a queue's name that is too long": (options(queue="q" * 101), InvalidTaskError, "the queue has 101 characters"),
    "an empty queue": (options(queue=""), InvalidTaskError, "the queue is empty"),
    "metadata that is no mapping": (options(metadata=[1]), InvalidTaskError, "metadata is a mapping"),
    "metadata without JSON form": (options(metadata={"a": object()}), EncodingError, "the metadata of task 'add'"),
    "a description that is too long": (options(description="d" * 1001), InvalidTaskError, "the description has 1001"),
    "an unknown execution backend": (
        options(execution_backend="clodrun"), InvalidTaskError, "'clodrun': the known ones are local, immediate",
    ),
    "an option that does not exist": (
        lambda lab: lab.service.enqueue(lab.registry.get("add").using(prority=1).call(1, 2)), InvalidTaskError,
        "unknown option 'prority' (did you mean the option 'priority'?): the options are queue, priority,",
    ),
    "one of several": (
        lambda lab: lab.service.enqueue_many([lab.registry.get("add").call(1, 2), lab.registry.get("add").call(1, "2")]),
        TaskArgumentError, "the argument 'b'",
    ),
}  # fmt: skip


def make_tasks(lab: Lab) -> None:
    @lab.task("add")
    def add(a: int, b: int) -> int:
        return a + b

    @lab.task("show")
    def show(what: Any) -> None: ...

    @lab.task("later")
    def later(delay: int) -> None: ...


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_refused_in_words_before_anything_is_stored(case: str) -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        call, error, words = BAD[case]
        with pytest.raises(error) as refused:
            await call(lab)
        assert words in str(refused.value)
        assert lab.backend.of("enqueue_many") == []
        assert await lab.backend.inner.count() == []


async def test_the_bad_one_of_several_is_pointed_out() -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        add = lab.registry.get("add")
        with pytest.raises(TaskArgumentError) as refused:
            await lab.service.enqueue_many([add.call(1, 2), add.call(1), add.call(3, 4)])
        assert refused.value.__notes__ == ["(task 2 of 3; none of them was stored)"]


@pytest.mark.parametrize(
    "given",
    [
        {"delay": -1}, {"key": "k", "unique_by": "task"}, {"retries": "2"}, {"cronn": "* * * * *"}, {"timeout": "5"},
        {"expires_at": NAIVE}, {"metadata": 5}, {"priority": 1.5},
    ],
)  # fmt: skip
def test_bad_options_of_a_decorator_are_refused_when_the_task_is_made(given: dict[str, Any]) -> None:
    lab = Lab()
    with pytest.raises(QueueConfigurationError, match=r"^@task\('mail'\): "):
        lab.task("mail", **given)
    assert lab.registry.names() == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"queue_backend": "memroy"}, "unknown queue backend 'memroy': the known ones are .*did you mean 'memory'"),
        ({"queue_backend": "sqlspec"}, "needs to know its database: .*SQLSpecBackendConfig"),
        ({"queue_backend": 5}, "takes a name, a backend's config or a backend, not int"),
        ({"queue_backend": MemoryBackend}, r"got a class: write MemoryBackend\(...\)"),
        ({"queue_backend": MemoryBackendConfig}, r"got a class: write MemoryBackendConfig\(...\)"),
        ({"execution_backend": "cloud"}, "unknown execution backend 'cloud': the known ones are"),
        ({"worker_max_concurrency": 0}, "worker_max_concurrency must be a whole number from 1 on, not 0"),
        ({"worker_batch_size": 1.5}, "worker_batch_size must be a whole number"),
        ({"worker_poll_interval": 0}, "worker_poll_interval must be seconds"),
        ({"worker_poll_interval": "1s"}, "worker_poll_interval must be seconds or a timedelta"),
        ({"worker_drain_timeout": -1}, "worker_drain_timeout must be seconds"),
        ({"worker_settle_delay": math.nan}, "worker_settle_delay must be seconds"),
        ({"maintenance_interval": math.inf}, "maintenance_interval must be seconds"),
        ({"retention": -1}, "retention must be seconds"),
        ({"worker_heartbeat_interval": 30}, "less than three times worker_heartbeat_interval .30.*Raise the first"),
        ({"worker_queues": "mail"}, r"worker_queues is a list of names, not the text 'mail': write \['mail'\]"),
        ({"worker_queues": []}, "worker_queues is empty: name a queue, or leave it None"),
        ({"worker_queues": [""]}, "a queue's name is a text of 1 to 100 characters"),
        ({"worker_queues": [5]}, "a queue's name is a text of 1 to 100 characters: 5"),
        ({"task_modules": "app.tasks"}, "task_modules is a list of names"),
        ({"event_sinks": print}, "event_sinks is a list of functions"),
        ({"event_sinks": [5]}, "event_sinks is a list of functions"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_when_it_is_made(given: dict[str, Any], words: str) -> None:
    with pytest.raises(QueueConfigurationError, match=words):
        QueueConfig(**given)


async def stored(lab: Lab, call: TaskCall[Any] | str, *args: Any, **given: Any) -> Any:
    result = await lab.service.enqueue(call, *args, **given)  # type: ignore[arg-type]
    return await lab.stored(result.id)


async def test_every_option_is_stored() -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        before = lab.service.clock.now()
        record = await stored(
            lab, "add", 1, b=2, queue="mail", priority=7, retries=3, timeout=timedelta(minutes=1), key="k",
            run_after=timedelta(hours=1), expires_in=7200, metadata={"who": "me"}, description="adds",
            execution_profile="big",
        )  # fmt: skip
        assert (record.queue, record.priority, record.max_attempts, record.timeout) == ("mail", 7, 4, 60.0)
        assert (record.key, record.metadata, record.description) == ("k", '{"who":"me"}', "adds")
        assert (record.execution_backend, record.execution_profile) == ("local", "big")
        assert (record.args, record.kwargs) == ("[1]", '{"b":2}')
        assert record.state is State.SCHEDULED
        assert timedelta(hours=1) <= record.due_at - before < timedelta(hours=1, seconds=10)
        assert record.expires_at - record.due_at == timedelta(hours=1)


async def test_what_is_not_said_has_its_documented_value() -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        record = await stored(lab, "add", 1, 2)
        assert (record.queue, record.priority, record.max_attempts, record.key) == ("default", 0, 1, None)
        assert (record.timeout, record.expires_at, record.metadata, record.description) == (None, None, "{}", None)
        assert (record.state, record.execution_backend) == (State.PENDING, "local")


async def test_the_enqueue_says_it_over_the_call_and_the_call_over_the_decorator() -> None:
    async with open_lab() as lab:

        @lab.task("mail", priority=1, retries=1, queue="one", metadata={"a": 1, "b": 1}, delay=3600)
        def mail() -> None: ...

        call = mail.using(priority=2, queue="two", metadata={"b": 2, "c": 2}).call()
        first = await stored(lab, mail.call())
        second = await stored(lab, call)
        third = await stored(lab, call, priority=0, metadata={"c": 3}, delay=0)
        assert [(r.priority, r.queue, r.max_attempts) for r in (first, second, third)] == [
            (1, "one", 2), (2, "two", 2), (0, "two", 2),
        ]  # fmt: skip
        assert [r.metadata for r in (first, second, third)] == [
            '{"a":1,"b":1}', '{"a":1,"b":2,"c":2}', '{"a":1,"b":2,"c":3}',
        ]  # fmt: skip
        assert [r.state for r in (first, second, third)] == [State.SCHEDULED, State.SCHEDULED, State.PENDING]


@pytest.mark.parametrize(
    ("base", "over", "left"),
    [
        ({"key": "k"}, {"unique_by": "task"}, {"unique_by": "task"}),
        ({"unique_by": "task"}, {"key": "k"}, {"key": "k"}),
        ({"delay": 5}, {"run_after": 9}, {"run_after": 9}),
        ({"run_after": 9}, {"delay": 5}, {"delay": 5}),
        ({"expires_in": 5}, {"expires_at": datetime(2100, 1, 1, tzinfo=UTC)}, {"expires_at": datetime(2100, 1, 1, tzinfo=UTC)}),
        ({"expires_at": datetime(2100, 1, 1, tzinfo=UTC)}, {"expires_in": 5}, {"expires_in": 5}),
        ({"priority": 5, "queue": "q"}, {}, {"priority": 5, "queue": "q"}),
    ],
)  # fmt: skip
def test_saying_one_of_two_replaces_the_other(base: dict[str, Any], over: dict[str, Any], left: dict[str, Any]) -> None:
    assert TaskOptions(**over).over(TaskOptions(**base)) == TaskOptions(**left)


async def test_unique_by_task_makes_one_key_for_all_arguments() -> None:
    async with open_lab() as lab:

        @lab.task("sync", unique_by="task")
        def sync(customer: int) -> None: ...

        first = await lab.service.enqueue(sync.call(1))
        second = await lab.service.enqueue(sync.call(2))
        assert (first.is_new, second.is_new, second.id) == (True, False, first.id)


async def test_unique_by_arguments_makes_one_key_for_each_set_of_arguments() -> None:
    async with open_lab() as lab:

        @lab.task("sync", unique_by="arguments")
        def sync(customer: int, *, full: bool = False) -> None: ...

        @lab.task("other", unique_by="arguments")
        def other(customer: int, *, full: bool = False) -> None: ...

        results = await lab.service.enqueue_many(
            [
                sync.call(1), sync.call(customer=1), sync.call(1, full=False),
                sync.call(2), sync.call(1, full=True), other.call(1),
            ]
        )  # fmt: skip
        assert [r.is_new for r in results] == [True, False, False, True, True, True]
        assert len({r.id for r in results}) == 4


async def test_the_key_of_a_task_with_the_longest_name_fits() -> None:
    async with open_lab() as lab:

        @lab.task("n" * 200, unique_by="task")
        def long() -> None: ...

        assert (await stored(lab, long.call())).key == "task:" + "n" * 200


async def test_a_delay_of_nothing_is_no_delay() -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        for given in (
            {"delay": 0},
            {"delay": timedelta(0)},
            {"run_after": 0.0},
            {"run_after": datetime(2000, 1, 1, tzinfo=UTC)},
        ):
            assert (await stored(lab, "add", 1, 2, **given)).state is State.PENDING


async def test_an_argument_may_have_the_name_of_an_option_where_it_cannot_be_mistaken() -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        later = lab.registry.get("later")
        assert (await stored(lab, "later", 3)).args == "[3]"
        record = await stored(lab, later.call(delay=3))
        assert (record.kwargs, record.state) == ('{"delay":3}', State.PENDING)
        assert (await stored(lab, later.call(delay=3), delay=60)).state is State.SCHEDULED


def test_type_checkers_know_the_options_that_there_are() -> None:
    assert list(get_type_hints(EnqueueOptions)) == list(OPTION_NAMES)
    assert get_type_hints(EnqueueOptions) == get_type_hints(TaskOptions)
    assert EnqueueOptions.__optional_keys__ == set(OPTION_NAMES)


def test_the_decorator_takes_the_options_of_a_schedule_too() -> None:
    assert list(get_type_hints(ScheduleOptions)) == list(SCHEDULE_OPTIONS)
    assert get_type_hints(ScheduleOptions) == get_type_hints(ScheduleSettings)
    assert get_type_hints(DeclaredOptions) == get_type_hints(EnqueueOptions) | get_type_hints(ScheduleOptions)
    assert set(OPTION_NAMES).isdisjoint(SCHEDULE_OPTIONS)


TAKERS = {
    "the decorator": task,
    "enqueue": QueueService.enqueue,
    "prepare": QueueService.prepare,
    "a background task": QueuedBackgroundTask.__init__,
    "using": Task.using,
    "using again": TaskTemplate.using,
}


@pytest.mark.parametrize("taker", TAKERS)
def test_whatever_takes_options_takes_all_of_them(taker: str) -> None:
    function = TAKERS[taker]
    for overload in get_overloads(function) or [function]:
        hints = get_type_hints(overload)
        if "task" in hints and hints["task"] is str:  # a name: the options stand beside keyword arguments of any name
            assert {name: hints[name] for name in OPTION_NAMES} == get_type_hints(EnqueueOptions)
        elif "options" in hints:
            declared = taker == "the decorator"
            assert hints["options"] == (Unpack[DeclaredOptions] if declared else Unpack[EnqueueOptions])


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("retrys", "did you mean the option 'retries'?"),
        ("prority", "did you mean the option 'priority'?"),
        ("time_out", "did you mean the option 'timeout'?"),
        ("dealy", "did you mean the option 'delay'?"),
    ],
)
@pytest.mark.parametrize("form", ["task", "template", "name", "call", "using", "using again", "@task", "prepare"])
async def test_a_misspelled_option_is_answered_with_the_one_that_was_meant(form: str, given: str, hint: str) -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        add: Any = lab.registry.get("add")
        forms: dict[str, Callable[[], Any]] = {
            "task": lambda: lab.service.enqueue(add, 1, 2, **{given: 3}),
            "template": lambda: lab.service.enqueue(add.using(priority=1), 1, 2, **{given: 3}),
            "name": lambda: lab.service.enqueue("add", 1, 2, **{given: 3}),
            "call": lambda: lab.service.enqueue(add.call(1, 2), **{given: 3}),
            "prepare": lambda: lab.service.prepare(add, 1, 2, **{given: 3}),
            "using": lambda: add.using(**{given: 3}),
            "using again": lambda: add.using(priority=1).using(**{given: 3}),
            "@task": lambda: lab.task("other", **{given: 3}),
        }
        with pytest.raises(QueueError) as refused:
            await forms[form]()
        assert hint in str(refused.value)
        assert given in str(refused.value)
        assert await lab.backend.inner.count() == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda lab: lab.registry.get("add").using(backoff=None), "'backoff' (@task takes it)"),
        (lambda lab: lab.registry.get("add").using(session=None), "'session' (QueueService.enqueue and enqueue_many"),
        (lambda lab: lab.service.prepare("add", 1, 2, session=None), "'session' is neither a parameter of task 'add'"),
        (lambda lab: lab.service.prepare("add", 1, 2, registry=None), "(@task takes it)"),
        (lambda lab: lab.task("other", backof=None), "did you mean the option 'backoff'?"),
    ],
)
async def test_an_option_in_the_wrong_place_is_sent_to_its_own(make: Callable[[Lab], Any], words: str) -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        with pytest.raises(QueueError) as refused:
            make(lab)
        assert words in str(refused.value)


async def test_a_keyword_is_an_argument_wherever_the_function_takes_it() -> None:
    async with open_lab() as lab:

        @lab.task("sloppy")
        def sloppy(retrys: int, **more: int) -> None: ...

        @lab.task("strict")
        def strict(retrys: int) -> None: ...

        assert (await stored(lab, "sloppy", retrys=1, prority=2)).kwargs == '{"retrys":1,"prority":2}'
        assert (await stored(lab, "strict", retrys=1)).kwargs == '{"retrys":1}'
        with pytest.raises(TaskArgumentError, match="missing a required argument: 'retrys'"):
            await lab.service.enqueue("strict", retryz=1)


async def test_a_template_is_enqueued_like_its_task() -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        add: Any = lab.registry.get("add")
        template = add.using(priority=3, metadata={"a": 1}, delay=60)
        record = await stored(lab, template, 1, b=2)
        assert (record.args, record.kwargs, record.priority, record.state) == ("[1]", '{"b":2}', 3, State.SCHEDULED)
        record = await stored(lab, template, 1, 2, priority=4, run_after=0)
        assert (record.priority, record.state) == (4, State.PENDING)
        again = template.using(priority=5, metadata={"b": 2})
        record = await stored(lab, again, 1, 2)
        assert (record.priority, record.metadata, record.state) == (5, '{"a":1,"b":2}', State.SCHEDULED)
        assert lab.service.prepare(again, 1, 2).options.priority == 5
        assert (await again.enqueue(1, 2)).record.priority == 5
        assert (await stored(lab, template, 1, 2)).priority == 3, "a template is not changed by those made from it"
        with pytest.raises(TaskArgumentError, match="missing a required argument: 'b'"):
            await lab.service.enqueue(template, 1)


@pytest.mark.parametrize(
    ("option", "value"),
    [("queue", ""), ("key", ""), ("key", "k" * 256), ("key", "a\x00b"), ("description", 5), ("execution_profile", "")],
)
async def test_a_text_that_no_task_can_have_is_refused_where_it_is_written(option: str, value: Any) -> None:
    async with open_lab() as lab:
        make_tasks(lab)
        add: Any = lab.registry.get("add")
        with pytest.raises(InvalidTaskError, match=option.replace("_", " ")):
            add.using(**{option: value})
        with pytest.raises(QueueConfigurationError, match=option.replace("_", " ")):
            lab.task("other", **{option: value})
