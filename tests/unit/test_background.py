"""What QueuedBackgroundTask promises a handler."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar, Response, get
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.exceptions import LitestarException
from litestar.testing import AsyncTestClient
from litestar.types import Message

from litestar_queues import (
    BackendUnavailableError,
    EncodingError,
    InvalidTaskError,
    QueueConfig,
    QueuedBackgroundTask,
    QueueError,
    QueuePlugin,
    TaskArgumentError,
    TaskEvent,
    TaskRecord,
    TaskRegistry,
    UnknownTaskError,
    task,
)
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.records import Matching

pytestmark = pytest.mark.anyio

registry = TaskRegistry()


@task("mail", priority=1, registry=registry)
async def mail(address: str, copies: int = 1) -> None: ...


def application(make: Any, *, backend: Any = "memory", **config: Any) -> tuple[Litestar, QueuePlugin]:
    """An application whose one handler answers with the background task that `make` makes."""

    @get("/")
    async def handler() -> Response[str]:
        return Response("sent", background=make())

    plugin = QueuePlugin(QueueConfig(queue_backend=backend, in_app_worker=False, **config), registry=registry)
    return Litestar([handler], plugins=[plugin], logging_config=None, debug=True), plugin


async def stored(make: Any) -> list[TaskRecord]:
    """The tasks that are stored after the response, the newest first."""
    app, plugin = application(make)
    async with AsyncTestClient(app) as client:
        assert (await client.get("/")).text == "sent"
        return await plugin.service.operations.backend.find(Matching(), 10)


async def request(app: Any, happened: list[str]) -> None:
    """One request; notes each message that the server has sent on."""

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        happened.append(message["type"])

    scope = {
        "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "root_path": "", "query_string": b"",
        "headers": [], "scheme": "http", "server": ("test", 80), "client": ("test", 1), "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await app(scope, receive, send)


async def test_it_is_enqueued_after_the_response_was_sent() -> None:
    happened: list[str] = []

    def tell(event: TaskEvent) -> None:
        happened.append(event.kind.value)

    app, plugin = application(lambda: QueuedBackgroundTask(mail, "ada"), event_sinks=[tell])
    async with app.lifespan():
        await request(app, happened)
        await plugin.service.events.flush()
    assert happened == ["http.response.start", "http.response.body", "enqueue"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: QueuedBackgroundTask(mail, "ada", copies=2, queue="post", key="k"),
        lambda: QueuedBackgroundTask("mail", "ada", copies=2, queue="post", key="k"),
        lambda: QueuedBackgroundTask(mail.call("ada", copies=2), queue="post", key="k"),
        lambda: QueuedBackgroundTask(mail.using(queue="post", key="k").call("ada", copies=2)),
        lambda: QueuedBackgroundTask(mail.using(queue="post", key="k"), "ada", copies=2),
        lambda: QueuedBackgroundTask(mail.using(queue="post"), "ada", copies=2, key="k"),
    ],
    ids=["task", "name", "call", "call with options", "template", "template with options"],
)
async def test_a_task_its_name_or_a_call_of_it_is_stored_with_arguments_and_options(make: Any) -> None:
    (record,) = await stored(make)
    assert (record.name, record.args, record.kwargs) == ("mail", '["ada"]', '{"copies":2}')
    assert (record.queue, record.key, record.priority) == ("post", "k", 1)


async def test_it_takes_its_place_among_other_background_tasks() -> None:
    happened: list[str] = []

    def make() -> BackgroundTasks:
        return BackgroundTasks(
            [
                BackgroundTask(lambda: happened.append("before")),
                QueuedBackgroundTask(mail, "ada"),
                QueuedBackgroundTask(mail, "bob"),
                BackgroundTask(lambda: happened.append("after")),
            ]
        )

    assert [record.args for record in await stored(make)] == ['["bob"]', '["ada"]']
    assert happened == ["before", "after"]


async def test_it_can_be_said_once_for_a_handler_before_any_service_is_open() -> None:
    @get("/", background=QueuedBackgroundTask("mail", "ada"))
    async def handler() -> str:
        return "sent"

    plugin = QueuePlugin(QueueConfig(in_app_worker=False), registry=registry)
    async with AsyncTestClient(Litestar([handler], plugins=[plugin], logging_config=None)) as client:
        for _ in range(2):
            await client.get("/")
        assert (await plugin.service.stats()).totals["pending"] == 2


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: QueuedBackgroundTask(mail), TaskArgumentError),
        (lambda: QueuedBackgroundTask(mail, object()), EncodingError),
        (lambda: QueuedBackgroundTask(mail, "ada", delay=-1), InvalidTaskError),
        (lambda: QueuedBackgroundTask(mail, "ada", execution_backend="elsewhere"), InvalidTaskError),
        (lambda: QueuedBackgroundTask("male", "ada"), UnknownTaskError),
        (lambda: QueuedBackgroundTask(mail.call("ada"), "bob"), TaskArgumentError),
    ],
    ids=["arguments", "not JSON", "option", "execution backend", "unknown", "too many"],
)
async def test_what_is_wrong_with_it_is_the_handlers_to_know_before_the_response(make: Any, error: Any) -> None:
    caught: list[Exception] = []

    def careful() -> QueuedBackgroundTask | None:
        try:
            return make()
        except QueueError as refused:
            caught.append(refused)
            return None

    assert await stored(careful) == []
    assert [type(one) for one in caught] == [error]


def test_what_is_wrong_with_it_is_said_where_no_service_is_open_too() -> None:
    with pytest.raises(TaskArgumentError):
        QueuedBackgroundTask(mail)


async def test_a_store_that_is_away_after_the_response_is_logged_with_the_tasks_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Away(MemoryBackend):
        async def enqueue_many(self, *_: Any, **__: Any) -> Any:
            raise BackendUnavailableError("the database is away")

    sent: list[str] = []
    app, _ = application(lambda: QueuedBackgroundTask(mail, "ada"), backend=Away())
    async with app.lifespan():
        with pytest.raises(LitestarException, match="after response started"):
            await request(app, sent)
    assert sent == ["http.response.start", "http.response.body"]
    assert "task 'mail' was to be enqueued after the response" in caplog.text
    assert "the database is away" in caplog.text
