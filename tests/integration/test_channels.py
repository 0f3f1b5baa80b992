"""Lifecycle events over Litestar's channels."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from litestar import Litestar
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.testing import TestClient
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueuePlugin, QueueService, TaskRegistry, Worker, task
from litestar_queues.events.channels import ChannelsSink

registry = TaskRegistry()


@task("double", registry=registry)
async def double(number: int) -> int:
    return 2 * number


def application(
    channels: ChannelsPlugin, *, queues_first: Any, tasks: TaskRegistry = registry
) -> tuple[Litestar, QueuePlugin]:
    queues = QueuePlugin(QueueConfig(event_sinks=[ChannelsSink(channels)]), registry=tasks)
    plugins = [queues, channels] if queues_first else [channels, queues]
    return Litestar([], plugins=plugins, logging_config=None), queues


@pytest.mark.anyio
@pytest.mark.parametrize("queues_first", [True, False])
async def test_every_transition_is_published_in_order(queues_first: Any) -> None:
    channels = ChannelsPlugin(MemoryChannelsBackend(history=10), channels=["queue_events"])
    app, queues = application(channels, queues_first=queues_first)
    heard: list[dict[str, Any]] = []
    async with asyncio.timeout(DEADLINE), app.lifespan(), channels.start_subscription("queue_events") as subscriber:
        result = await queues.service.enqueue(double, 4, key="k", queue="sums")
        async for message in subscriber.iter_events():
            heard.append(json.loads(message))
            if len(heard) == 3:
                break
    assert [one["kind"] for one in heard] == ["enqueue", "claim", "complete"]
    assert heard[0] == {
        "kind": "enqueue", "at": heard[0]["at"], "task_id": result.id, "task": "double", "queue": "sums",
        "state": "pending", "attempt": 0, "fence": 0, "key": "k", "execution_backend": "local",
    }  # fmt: skip
    assert heard[2]["state_before"] == "running"


@pytest.mark.anyio
@pytest.mark.parametrize("queues_first", [True, False])
async def test_what_happens_while_the_application_shuts_down_is_published_too(
    monkeypatch: pytest.MonkeyPatch, queues_first: Any
) -> None:
    started, leaving = asyncio.Event(), asyncio.Event()
    tasks = TaskRegistry()
    drain = Worker.drain

    @task("last", registry=tasks)
    async def last() -> None:
        started.set()
        await leaving.wait()

    def drain_and_tell(worker: Worker) -> None:
        drain(worker)
        leaving.set()

    monkeypatch.setattr(Worker, "drain", drain_and_tell)
    backend = MemoryChannelsBackend(history=10)
    app, queues = application(
        ChannelsPlugin(backend, channels=["queue_events"]), queues_first=queues_first, tasks=tasks
    )
    async with asyncio.timeout(DEADLINE), app.lifespan():
        await queues.service.enqueue(last)
        await started.wait()
    published = [json.loads(message)["kind"] for message in await backend.get_history("queue_events")]
    assert published == ["enqueue", "claim", "complete"]


def test_a_browser_hears_of_tasks_over_a_websocket() -> None:
    channels = ChannelsPlugin(MemoryChannelsBackend(), channels=["queue_events"], create_ws_route_handlers=True)
    app, queues = application(channels, queues_first=True)
    with TestClient(app) as client, client.websocket_connect("/queue_events") as socket:
        client.blocking_portal.call(queues.service.enqueue, double, 1)
        assert [socket.receive_json(timeout=DEADLINE)["kind"] for _ in range(3)] == ["enqueue", "claim", "complete"]


@pytest.mark.anyio
async def test_a_process_without_the_applications_channels_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    channels = ChannelsPlugin(MemoryChannelsBackend(), channels=["queue_events"])
    config = QueueConfig(event_sinks=[ChannelsSink(channels)])
    async with QueueService(config, registry=registry) as service:
        for number in range(3):
            await service.enqueue(double, number)
    (told,) = [one.message for one in caplog.records if one.name == "litestar_queues.events"]
    assert "not published to channels ['queue_events']" in told
