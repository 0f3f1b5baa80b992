from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from queue_lab import Lab
from test_dispatching import Elsewhere

from litestar_queues import (
    MissingDependencyError,
    QueueConfig,
    QueueConfigurationError,
    QueuedBackgroundTask,
    QueueService,
    TaskRegistry,
    register_execution_backend,
    task,
)
from litestar_queues.errors import InvalidTaskError
from litestar_queues.execution import registry
from litestar_queues.execution.registry import ExecutionBackends

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_stays_registered() -> Iterator[None]:
    before = dict(registry._REGISTERED)
    yield
    registry._REGISTERED.clear()
    registry._REGISTERED.update(before)


class Named(Elsewhere):
    def __init__(self, name: str = "mine") -> None:
        super().__init__()
        self.name = name


class Config:
    """The config of an execution backend."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def create_execution_backend(self) -> Any:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


def test_a_registered_execution_backend_is_known_to_every_configuration() -> None:
    register_execution_backend("mine", Named)
    QueueConfig(execution_backend="mine")
    backends = ExecutionBackends("local")
    assert backends.names == ("local", "immediate", "mine")
    assert (backends.run_by_workers, backends.remote) == (("local", "immediate"), ("mine",))
    assert backends.get("mine") is backends.get("mine")
    backends.check("mine", "large")


@pytest.mark.parametrize(
    ("name", "factory", "said"),
    [
        ("local", Named, "'local' exists already"),
        ("cloudrun", Named, "'cloudrun' exists already"),
        ("", Named, "is empty"),
        ("x" * 51, Named, "at most 50"),
        ("mine", Named(), "called without arguments, not a Named"),
    ],
)
def test_what_cannot_be_registered_is_refused_with_the_reason(name: str, factory: Any, said: str) -> None:
    with pytest.raises(QueueConfigurationError, match=said):
        register_execution_backend(name, factory)


def test_a_name_is_registered_once() -> None:
    register_execution_backend("mine", Named)
    with pytest.raises(QueueConfigurationError, match="'mine' exists already"):
        register_execution_backend("mine", Named)


def test_a_factory_whose_backend_has_another_name_is_refused() -> None:
    register_execution_backend("mine", lambda: Named("yours"))
    with pytest.raises(QueueConfigurationError, match="one that is called 'yours'"):
        ExecutionBackends("local").make()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lokal", "did you mean 'local'"),
        ("cloudrun", r"not configured: pass QueueConfig\(execution_backend=.*CloudRunExecutionConfig"),
        (Named, r"got a class: write Named\(...\)"),
        (7, "not int"),
        ((), "execution_backend is empty"),
        (["local", "lokal"], "unknown execution backend 'lokal'"),
    ],
)
def test_a_configuration_names_what_is_wrong_with_an_execution_backend(given: Any, said: str) -> None:
    with pytest.raises(QueueConfigurationError, match=said):
        QueueConfig(execution_backend=given)


def test_an_incomplete_execution_backend_is_refused_and_what_it_lacks_is_named() -> None:
    class Incomplete:
        name, is_remote, fallback = "x", True, None

        async def open(self) -> None: ...

        async def close(self) -> None: ...

        def check_profile(self, profile: str | None) -> None: ...

        async def dispatch(self, tasks: Any) -> Any: ...

    with pytest.raises(QueueConfigurationError, match=r"Incomplete lacks status, cancel"):
        QueueConfig(execution_backend=Incomplete())  # type: ignore[arg-type]
    with pytest.raises(
        QueueConfigurationError, match=r"Config.create_execution_backend\(\) returned.*lacks status, cancel"
    ):
        ExecutionBackends(Config(Incomplete())).make()


def test_a_config_makes_its_execution_backend_once() -> None:
    mine = Named()
    backends = ExecutionBackends(["local", Config(mine)])
    backends.make()
    assert backends.get("mine") is mine
    assert backends.names == ("local", "immediate", "mine")


def test_two_execution_backends_of_one_name_are_refused() -> None:
    with pytest.raises(QueueConfigurationError, match="two execution backends are called 'mine'"):
        ExecutionBackends([Named(), Named()]).make()
    with pytest.raises(QueueConfigurationError, match="two execution backends are called 'local'"):
        ExecutionBackends(Named("local")).make()


def test_the_errors_of_a_config_reach_the_user_as_configuration_errors() -> None:
    with pytest.raises(MissingDependencyError, match="extra 'cloudrun'"):
        ExecutionBackends(Config(MissingDependencyError("google-cloud-run", "cloudrun"))).make()
    with pytest.raises(QueueConfigurationError, match="raised ValueError: no project"):
        ExecutionBackends(Config(ValueError("no project"))).make()


async def test_a_background_task_can_be_made_before_the_configuration_is_known() -> None:
    mine = TaskRegistry()

    @task("render", execution_backend="elsewhere", registry=mine)
    async def render() -> None: ...

    QueuedBackgroundTask(render)
    with pytest.raises(InvalidTaskError, match="unknown execution backend 'elsewhere'"):
        QueueService(registry=mine).prepare(render)


async def test_execution_backends_that_were_opened_are_closed_with_the_service() -> None:
    used, idle = Named("used"), Named("idle")
    lab = Lab(execution_backend=["local", used, idle])
    async with lab.service:
        await lab.service.execution.opened("used")
        await lab.service.execution.opened("used")
    assert (used.opened, used.closed, idle.opened, idle.closed) == (1, 1, 0, 0)


async def test_an_execution_backend_that_does_not_close_keeps_no_store_open(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Named):
        async def close(self) -> None:
            raise OSError("stuck")

    lab = Lab(execution_backend=Stuck())
    async with lab.service:
        await lab.service.execution.opened("mine")
    assert lab.backend.of("close")
    assert "'mine' could not be closed" in caplog.text
