"""What QueuePlugin promises a Litestar application."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, get, post
from litestar.config.app import AppConfig
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.plugins import InitPlugin
from litestar.testing import AsyncTestClient, TestClient
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.extensions.litestar import SQLSpecPlugin
from waiting import DEADLINE

from litestar_queues import (
    BackendUnavailableError,
    QueueConfig,
    QueueConfigurationError,
    QueueError,
    QueuePlugin,
    QueueService,
    State,
    TaskEvent,
    TaskRegistry,
    Worker,
    task,
)
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.pauses import Backoffs, Pause

pytestmark = pytest.mark.anyio

registry = TaskRegistry()


@task("double", registry=registry)
async def double(number: int) -> int:
    return 2 * number


@task("parent", registry=registry)
async def parent(number: int) -> str:
    return (await double.enqueue(number)).id


@post("/run/{number:int}")
async def run_double(number: FromPath[int], queue_service: NamedDependency[QueueService]) -> dict[str, Any]:
    result = await (await queue_service.enqueue(double, number)).wait(DEADLINE)
    return {"status": result.status, "result": result.result}


@post("/enqueue/{number:int}", status_code=202)
async def enqueue_by_task(number: FromPath[int]) -> str:
    return (await double.enqueue(number)).id


def application(*plugins: Any, handlers: Any = (run_double, enqueue_by_task), **config: Any) -> Litestar:
    return Litestar(list(handlers), plugins=list(plugins), logging_config=None, **config)


async def refusal(app: Litestar) -> BaseException:
    """Why the application does not start; Litestar wraps what a lifespan manager raises into groups."""
    try:
        async with app.lifespan():
            pass
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            (error,) = error.exceptions
        return error
    raise AssertionError("it started")


def queue_plugin(**config: Any) -> QueuePlugin:
    return QueuePlugin(QueueConfig(**config), registry=registry)


def workers_of_this_loop() -> list[str]:
    return [one.get_name() for one in asyncio.all_tasks() if one.get_name() == "litestar-queues-worker"]


async def test_a_handler_gets_the_service_and_the_worker_inside_the_application_runs_its_tasks() -> None:
    async with AsyncTestClient(application(queue_plugin())) as client:
        answer = await client.post("/run/21")
    assert answer.json() == {"status": "completed", "result": 42}


def test_each_run_of_one_application_has_a_service_of_its_own() -> None:
    app = application(queue_plugin())
    for _ in range(2):
        with TestClient(app) as client:
            assert client.post("/run/4").json()["result"] == 8


async def test_the_service_is_in_the_state_and_in_the_plugin_while_the_application_runs() -> None:
    plugin = queue_plugin(dependency_key="tasks")
    app = application(plugin, handlers=())
    with pytest.raises(QueueError, match="does not run"):
        _ = plugin.service
    async with app.lifespan():
        assert app.state.tasks is plugin.service
        assert (await plugin.service.enqueue(double, 1)).status is State.PENDING
    assert "tasks" not in app.state
    with pytest.raises(QueueError, match="does not run"):
        _ = plugin.service


@pytest.mark.filterwarnings("ignore:.*Inferred dependency:litestar.exceptions.LitestarDeprecationWarning")
async def test_handlers_find_the_annotation_that_they_import_for_type_checkers_only() -> None:
    module: dict[str, Any] = {"__name__": __name__}
    exec(
        "from __future__ import annotations\n"
        "from litestar import get\n"
        "@get('/pending')\n"
        "async def pending(queue_service: QueueService) -> int:\n"
        "    return (await queue_service.stats()).totals['pending']\n",
        module,
    )
    async with AsyncTestClient(application(queue_plugin(), handlers=[module["pending"]])) as client:
        assert (await client.get("/pending")).json() == 0


async def test_the_worker_starts_after_the_start_up_hooks_which_may_enqueue() -> None:
    plugin = queue_plugin()
    seen: list[list[str]] = []

    async def hook() -> None:
        await double.enqueue(3)
        await asyncio.sleep(0)  # a worker that runs already would take a step
        seen.append(workers_of_this_loop())

    async with application(plugin, on_startup=[hook]).lifespan():
        assert seen == [[]]
        assert len(workers_of_this_loop()) == 1
    assert workers_of_this_loop() == []


@pytest.mark.parametrize(
    ("wanted", "shared", "runs"), [(None, False, 1), (None, True, 0), (True, True, 1), (False, False, 0)]
)
async def test_a_worker_runs_inside_where_it_is_wanted_or_where_no_other_could(
    tmp_path: Path, wanted: Any, shared: Any, runs: int
) -> None:
    backend = SQLSpecBackendConfig(config=sqlite_config(tmp_path)) if shared else "memory"
    async with application(queue_plugin(queue_backend=backend, in_app_worker=wanted)).lifespan():
        assert len(workers_of_this_loop()) == runs


def sqlite_config(folder: Path) -> AiosqliteConfig:
    return AiosqliteConfig(connection_config={"database": str(folder / "queues.db")})


@pytest.mark.parametrize("queues_first", [True, False])
async def test_a_task_that_runs_at_shutdown_is_settled_before_a_shared_pool_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queues_first: Any
) -> None:
    happened: list[str] = []
    started, leaving = asyncio.Event(), asyncio.Event()
    tasks = TaskRegistry()

    @task("last", registry=tasks)
    async def last() -> str:
        started.set()
        await leaving.wait()
        return "done"

    def tell(event: TaskEvent) -> None:
        happened.append(event.kind.value)

    config, sqlspec = sqlite_config(tmp_path), SQLSpec()
    sqlspec.add_config(config)
    create, close, drain = config.create_pool, config.close_pool, Worker.drain

    async def create_pool() -> Any:
        happened.append("pool opened")
        return await create()

    async def close_pool() -> None:
        happened.append("pool closed")
        await close()

    def drain_and_tell(worker: Worker) -> None:
        drain(worker)
        leaving.set()

    monkeypatch.setattr(config, "create_pool", create_pool)
    monkeypatch.setattr(config, "close_pool", close_pool)
    monkeypatch.setattr(Worker, "drain", drain_and_tell)
    backend = SQLSpecBackendConfig(config=config, sqlspec=sqlspec)
    queues = QueuePlugin(QueueConfig(queue_backend=backend, in_app_worker=True, event_sinks=[tell]), registry=tasks)
    plugins = [queues, SQLSpecPlugin(sqlspec)]
    async with asyncio.timeout(DEADLINE):
        async with application(*(plugins if queues_first else reversed(plugins)), handlers=()).lifespan():
            await queues.service.enqueue(last)
            await started.wait()
    assert happened == ["pool opened", "enqueue", "claim", "complete", "pool closed"]
    assert config.connection_instance is None
    with sqlite3.connect(tmp_path / "queues.db") as db:
        assert db.execute("SELECT state, result FROM litestar_queue_task").fetchall() == [("completed", '"done"')]
    db.close()


async def test_what_does_not_end_at_shutdown_is_given_back_after_the_drain_timeout(tmp_path: Path) -> None:
    started = asyncio.Event()
    tasks = TaskRegistry()

    @task("endless", registry=tasks)
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    backend = SQLSpecBackendConfig(config=sqlite_config(tmp_path))
    config = QueueConfig(queue_backend=backend, in_app_worker=True, worker_drain_timeout=0)
    plugin = QueuePlugin(config, registry=tasks)
    async with asyncio.timeout(DEADLINE), application(plugin, handlers=()).lifespan():
        result = await plugin.service.enqueue(endless)
        await started.wait()
    async with QueueService(QueueConfig(queue_backend=SQLSpecBackendConfig(config=sqlite_config(tmp_path)))) as service:
        found = await service.get(result.id)
    assert found is not None
    assert (found.status, found.attempt) == (State.PENDING, 0)


async def test_a_worker_that_crashes_is_replaced_loudly_while_the_application_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, crashes = Worker.run, iter([True])

    async def run_after_a_crash(worker: Worker) -> Any:
        if next(crashes, False):
            raise RuntimeError("a defect")
        return await run(worker)

    monkeypatch.setattr(Worker, "run", run_after_a_crash)
    monkeypatch.setattr(Backoffs, "after", lambda *_: Pause(0.0))
    async with AsyncTestClient(application(queue_plugin())) as client:
        assert (await client.post("/run/21")).json()["result"] == 42
    (told,) = [one for one in caplog.records if one.levelno == logging.CRITICAL]
    assert "worker inside the application crashed" in told.message
    assert told.exc_info is not None
    assert str(told.exc_info[1]) == "a defect"


async def test_an_application_whose_database_cannot_be_opened_does_not_start_and_names_it(tmp_path: Path) -> None:
    missing = sqlite_config(tmp_path / "nowhere")
    app = application(queue_plugin(queue_backend=SQLSpecBackendConfig(config=missing)))
    error = await refusal(app)
    assert isinstance(error, BackendUnavailableError)
    assert str(tmp_path / "nowhere" / "queues.db") in str(error)


async def test_the_error_of_a_start_that_failed_carries_no_password(caplog: pytest.LogCaptureFixture) -> None:
    password = "hunter2"

    class Away(MemoryBackend):
        async def open(self) -> None:
            raise BackendUnavailableError("db/app: no connection") from OSError(f"postgres://queues:{password}@db/app")

    error = await refusal(application(queue_plugin(queue_backend=Away())))
    assert str(error) == "db/app: no connection"
    assert "db/app: no connection" in caplog.text
    assert password not in "".join(traceback.format_exception(error)) + caplog.text


async def test_tasks_enqueue_into_the_application_that_handles_the_request() -> None:
    one, other = queue_plugin(), queue_plugin()
    async with AsyncTestClient(application(one)) as first, AsyncTestClient(application(other)) as second:
        ids = [(await client.post("/enqueue/1")).text for client in (first, second)]
        assert await one.service.get(ids[0])
        assert await other.service.get(ids[1])
        assert not await one.service.get(ids[1])
        with pytest.raises(QueueError, match="2 queue services are open"):
            await double.enqueue(1)


async def test_what_a_task_enqueues_belongs_to_the_application_whose_worker_runs_it() -> None:
    one, other = queue_plugin(), queue_plugin()
    async with application(one).lifespan(), application(other).lifespan():
        for plugin in (one, other):
            child = (await (await plugin.service.enqueue(parent, 5)).wait(DEADLINE)).result
            assert child is not None
            found = await plugin.service.get(child)
            assert found is not None
            assert (await found.wait(DEADLINE)).result == 10


async def test_one_plugin_serves_one_running_application() -> None:
    plugin = queue_plugin()
    one, other = application(plugin), application(plugin)
    async with one.lifespan():
        assert "make one for each" in str(await refusal(other))
        assert await plugin.service.enqueue(double, 1)
    async with other.lifespan():
        assert await plugin.service.enqueue(double, 1)


def test_two_plugins_in_one_application_are_refused() -> None:
    with pytest.raises(QueueConfigurationError, match="two QueuePlugins"):
        application(queue_plugin(), queue_plugin())


def test_a_dependency_of_the_same_name_is_refused() -> None:
    with pytest.raises(QueueConfigurationError, match=r"QueueConfig\(dependency_key="):
        application(queue_plugin(), dependencies={"queue_service": lambda: None})


async def test_an_application_whose_lifespan_list_was_replaced_does_not_start() -> None:
    class Replacing(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.lifespan = list(app_config.lifespan)
            return app_config

    error = await refusal(application(queue_plugin(), Replacing()))
    assert isinstance(error, QueueConfigurationError)
    assert "AppConfig.lifespan" in str(error)


async def test_the_store_closes_when_a_later_start_up_hook_fails() -> None:
    closed: list[str] = []

    class Closing(MemoryBackend):
        async def close(self) -> None:
            closed.append("closed")

    plugin = queue_plugin(queue_backend=Closing())
    app = application(plugin)

    async def fail() -> None:
        raise ValueError("no")

    app.on_startup.append(fail)
    assert isinstance(await refusal(app), ValueError)
    assert closed == ["closed"]
    assert workers_of_this_loop() == []


async def test_a_plugin_that_is_listed_later_finds_the_queues_open_at_start_up_and_closed_before_it_leaves() -> None:
    plugin = queue_plugin()
    seen: list[str] = []

    def state() -> str:
        try:
            return f"open, {len(plugin.service.registry.names())} tasks"
        except QueueError:
            return "closed"

    @asynccontextmanager
    async def manager(_: Litestar) -> AsyncIterator[None]:
        seen.append(state())
        yield
        seen.append(state())

    class Later(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.lifespan.append(manager)
            app_config.on_startup.append(lambda: seen.append(state()))
            return app_config

    async with application(plugin, Later()).lifespan():
        pass
    assert seen == ["closed", "open, 2 tasks", "closed"]


@get("/plain")
async def plain() -> str:
    return "plain"


async def test_an_application_without_lifespan_says_that_it_does_not_run() -> None:
    client: AsyncTestClient[Litestar] = AsyncTestClient(application(queue_plugin(), handlers=[plain, run_double]))
    answer: Callable[..., Any] = client.post
    assert (await client.get("/plain")).text == "plain"
    assert (await answer("/run/1")).status_code == 500
