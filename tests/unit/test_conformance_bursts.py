"""The engine of the bursts: real processes, one barrier, answers and failures carried back."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.errors import BackendUnavailableError
from litestar_queues_conformance import harness, patience
from litestar_queues_conformance.bursts import (
    BurstFailed,
    Client,
    ClientRaised,
    Crew,
    Raised,
    _Order,
    burst,
    refuse_errors,
)
from litestar_queues_conformance.harness import Check, NotFoundOut, Store, Violation
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
            dispatch=True,
        )

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        return {}

    async def open(self, config: dict[str, Any]) -> MemoryBackend:
        if "refuse" in config:
            raise ConnectionError(config["refuse"])
        if "hang" in config:
            await asyncio.Event().wait()
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


async def hang(client: Client, given: str) -> None:
    if given == "hang" and client.index == 1:
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
    with pytest.raises(ClientRaised, match=r"(?s)client 0: Traceback.*ConnectionError: no such host"):
        await burst(store, say, ["a"], crew=crew)


@pytest.mark.parametrize("store", ["processes"], indirect=True)
async def test_a_process_that_ends_fails_the_burst_and_the_next_one_has_new_processes(store: Store, crew: Crew) -> None:
    await burst(store, say, ["a"], crew=crew)
    with pytest.raises(
        BurstFailed, match=r"client 1 ended without a word: the slowest client is in round 1 of 2 after \d"
    ):
        await burst(store, end, [None, None], crew=crew)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("burst-")]
    assert await burst(store, say, ["b"], crew=crew) == [["b0", "b1", "b2"]]


@pytest.mark.parametrize("store", ["processes"], indirect=True)
async def test_a_client_that_does_not_answer_in_time_is_killed(store: Store, crew: Crew) -> None:
    await burst(store, say, ["a"], crew=crew)
    with pytest.raises(
        BurstFailed, match=r"no answer in time from the clients 1: the slowest client is in round 2 of 2 after \d"
    ):
        await burst(store, hang, ["go on", "hang"], crew=crew, seconds=1)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("burst-")]


@pytest.mark.parametrize("store", ["tasks"], indirect=True)
async def test_tasks_that_do_not_answer_in_time_are_not_found_out(store: Store, crew: Crew) -> None:
    with pytest.raises(BurstFailed, match="no client has ended a round in time"):
        await burst(store, hang, ["hang"], crew=crew, seconds=0.1)


async def refuse(client: Client, given: None) -> None:
    raise BackendUnavailableError("locked by others")


@pytest.mark.parametrize("store", ["processes"], indirect=True)
async def test_a_store_that_is_not_available_is_a_violation_where_the_machine_is_not_slow(
    store: Store, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    [answers] = await burst(store, refuse, [None], crew=crew)
    monkeypatch.setattr(harness, "slowness_so_far", lambda: 1.0)
    with pytest.raises(Violation, match=r"(?s)KEY-01: an enqueue raised:.*locked by others"):
        refuse_errors(Check(["KEY-01"]), "KEY-01", "an enqueue", answers)
    monkeypatch.setattr(harness, "slowness_so_far", lambda: 9.0)
    with pytest.raises(NotFoundOut, match=r"(?s)9 times slower than usual.*locked by others"):
        refuse_errors(Check(["KEY-01"]), "KEY-01", "an enqueue", answers)


@pytest.mark.parametrize("store", ["processes"], indirect=True)
async def test_a_start_that_takes_too_long_says_how_many_clients_have_reached_the_barrier(
    store: Store, crew: Crew
) -> None:
    store.config["hang"] = True
    crew.close()
    with pytest.raises(BurstFailed, match=r"0 of 3 clients have reached the barrier after \d"):
        crew.run(_Order(store.config, say, ["a"], opens=False, telling=None), start_seconds=0.5)


async def wait_a_little(client: Client, given: None) -> None:
    await asyncio.to_thread(threading.Event().wait, 0.2)


@pytest.mark.parametrize("store", ["processes", "tasks"], indirect=True)
async def test_a_burst_has_time_as_long_as_rounds_end(
    store: Store, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    await burst(store, say, ["a"], crew=crew)
    monkeypatch.setattr(patience, "fair_time", time.monotonic)  # the slower a machine, the longer a round
    watch = patience.Stopwatch()
    answers = await burst(store, wait_a_little, [None] * 20, crew=crew, seconds=3)
    assert len(answers) == 20
    assert watch.seconds > 3
