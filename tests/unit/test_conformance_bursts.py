"""The engine of the bursts: real processes, one barrier, answers and failures carried back."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_conformance.bursts import BurstFailed, Client, Crew, Raised, burst
from litestar_queues_conformance.harness import Store
from litestar_queues_conformance.target import Capabilities

pytestmark = pytest.mark.anyio


class StubTarget:
    """Stores of which each process has its own, though it says otherwise: nothing here needs a shared one."""

    distribution = "litestar-queues"

    def __init__(self, *, multi_process: bool) -> None:
        self.capabilities = Capabilities(
            multi_process=multi_process,
            durable=False,
            server_clock=False,
            notifications=False,
            transactional=False,
            columns=False,
        )

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        return {}

    async def open(self, config: dict[str, Any]) -> MemoryBackend:
        if "refuse" in config:
            raise ConnectionError(config["refuse"])
        return MemoryBackend()

    async def reset(self, config: dict[str, Any]) -> None: ...

    async def server_version(self, config: dict[str, Any]) -> str:
        return "none"


processes = StubTarget(multi_process=True)
tasks = StubTarget(multi_process=False)


@pytest.fixture(params=["processes", "tasks"])
def store(request: pytest.FixtureRequest) -> Store:
    return Store(f"{__name__}:{request.param}", globals()[request.param], os.environ, Random(1))


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    crew = Crew(f"{__name__}:processes", 3)
    yield crew
    crew.close()
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("burst-")]


async def say(client: Client, given: str) -> str:
    return f"{given}{client.index}"


async def fail_in_the_middle(client: Client, given: int) -> int:
    if client.index == given:
        raise KeyError(f"round {given}")
    return given


async def end(client: Client, given: None) -> None:
    if client.index == 1:
        os._exit(3)


async def hang(client: Client, given: None) -> None:
    if client.index == 1:
        await asyncio.Event().wait()


async def test_every_client_answers_every_round_in_the_order_of_the_clients(store: Store, crew: Crew) -> None:
    answers = await burst(store, say, ["a", "b"], crew=crew)
    assert answers == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]


async def test_what_a_script_raises_is_its_answer_and_the_burst_goes_on(store: Store, crew: Crew) -> None:
    answers = await burst(store, fail_in_the_middle, [0, 9, 2], crew=crew)
    assert answers[1] == [9, 9, 9]
    for answer in (answers[0][0], answers[2][2]):
        assert isinstance(answer, Raised)
        assert "fail_in_the_middle" in answer.traceback
        assert "KeyError: 'round" in answer.traceback


@pytest.mark.parametrize("store", ["processes"], indirect=True)
async def test_a_client_that_cannot_open_the_store_fails_the_burst_with_its_traceback(store: Store, crew: Crew) -> None:
    store.config["refuse"] = "no such host"
    with pytest.raises(BurstFailed, match=r"(?s)client 0: Traceback.*ConnectionError: no such host"):
        await burst(store, say, ["a"], crew=crew)


@pytest.mark.parametrize("store", ["processes"], indirect=True)
async def test_a_process_that_ends_fails_the_burst_and_the_next_one_has_new_processes(store: Store, crew: Crew) -> None:
    await burst(store, say, ["a"], crew=crew)
    with pytest.raises(BurstFailed, match="client 1 ended without a word"):
        await burst(store, end, [None, None], crew=crew, seconds=20)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("burst-")]
    assert await burst(store, say, ["b"], crew=crew) == [["b0", "b1", "b2"]]


@pytest.mark.parametrize("store", ["processes"], indirect=True)
async def test_a_client_that_does_not_answer_in_time_is_killed(store: Store, crew: Crew) -> None:
    await burst(store, say, ["a"], crew=crew)
    with pytest.raises(BurstFailed, match="no answer in time"):
        await burst(store, hang, [None], crew=crew, seconds=1)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("burst-")]
