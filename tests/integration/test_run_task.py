"""Each way in which a process that runs one task ends, with real processes on SQLite."""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
import tomllib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from run_lab import ENTRYPOINT, Start, dispatch, locked, record_of, reserve, starting
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, State, TaskRecord, TaskRegistry, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.lifecycle import Release
from litestar_queues.operations import Move

pytestmark = pytest.mark.anyio

registry = TaskRegistry()


@task("add", registry=registry)
async def add(a: int, b: int) -> int: ...


@task("add_sync", registry=registry)
def add_sync(a: int, b: int) -> int: ...


@task("until_told", registry=registry)
async def until_told(path: str) -> str: ...


@task("hidden_argument", registry=registry)
async def hidden_argument(secret: str) -> int: ...


for name in (
    "fail", "fail_once", "snoozing", "exits", "exits_in_an_asyncio_task", "endless", "endless_thread", "endless_to_thread", "blocking",
    "unknown", "leaves_a_thread",
):  # fmt: skip

    @task(name, registry=registry)
    async def elsewhere() -> Any: ...


ID = "LITESTAR_QUEUES_TASK_ID"
FENCE = "LITESTAR_QUEUES_TASK_FENCE"
PARENT = "projects/p/locations/europe-west1/jobs/tasks"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[QueueService]:
    database = AiosqliteConfig(connection_config={"database": str(tmp_path / "queues.db")})
    config = QueueConfig(queue_backend=SQLSpecBackendConfig(config=database))
    async with QueueService(config, registry=registry) as service:
        yield service


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with starting(tmp_path) as start:
        yield start


def last_line(errors: str) -> str:
    return errors.splitlines()[-1]


# What the environment says


@pytest.mark.parametrize(
    ("environment", "code", "words"),
    [
        ({}, 2, "the variable LITESTAR_QUEUES_TASK_ID is missing or empty"),
        ({ID: ""}, 2, "the variable LITESTAR_QUEUES_TASK_ID is missing or empty"),
        ({ID: "x" * 37}, 3, "the id has 37 characters, and at most 36 are possible"),
        ({ID: "x", FENCE: "one"}, 3, "the variable LITESTAR_QUEUES_TASK_FENCE is 'one': it has to be a whole number"),
        ({ID: "x", FENCE: "-1"}, 3, "the variable LITESTAR_QUEUES_TASK_FENCE is '-1'"),
        ({ID: "x", FENCE: "9" * 30}, 3, "the variable LITESTAR_QUEUES_TASK_FENCE is '9999"),
        ({ID: "x"}, 4, "it is not stored"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": ""}, 8, "the variable LITESTAR_QUEUES_CONFIG_FACTORY is missing"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": "served"}, 8, "write module:callable"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": "nowhere:config"}, 8, "No module named 'nowhere'"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": "served:nowhere"}, 8, "has no attribute 'nowhere'"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": "served:broken"}, 8, "RuntimeError: no such secret"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": "served:leaves"}, 8, "(served:leaves) failed: SystemExit: 0"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": "served:nothing"}, 8, "gives a NoneType: it has to be a QueueConfig"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": "served:without"}, 8, "gives a Litestar: it has to be a QueueConfig"),
        ({ID: "x", "LITESTAR_QUEUES_CONFIG_FACTORY": "served:in_memory"}, 8, "live inside the application's process"),
        ({ID: "x", "LITESTAR_QUEUES_TASK_MODULES": "served, nowhere"}, 8, "the module 'nowhere' cannot be imported"),
        ({ID: "x", "LITESTAR_QUEUES_WAIT_FOR_STORE": "soon"}, 8, "it has to be a number of seconds"),
        ({ID: "x", "CLOUD_RUN_TASK_INDEX": 1}, 0, "this is container 1 of one execution, and container 0 runs the task"),
    ],
)  # fmt: skip
async def test_a_process_that_cannot_begin_names_the_reason(
    start: Start, service: QueueService, environment: dict[str, Any], code: int, words: str
) -> None:
    ended, errors = await (await start(**environment)).ended()
    assert (ended, words in last_line(errors)) == (code, True), errors
    assert f"exit {code} (" in last_line(errors)


async def test_an_argument_that_does_not_exist_is_no_configuration(start: Start) -> None:
    code, errors = await (await start("--env-prefx", "MINE_", **{ID: "x"})).ended()
    assert (code, "--env-prefx" in last_line(errors)) == (8, True), errors


@pytest.mark.parametrize("factory", ["config", "config_later", "plugin", "made", "app"])
async def test_a_factory_may_be_or_return_a_configuration_a_plugin_or_an_application(
    start: Start, service: QueueService, factory: str
) -> None:
    added = await service.enqueue(add, 1, 2)
    process = await start(**{ID: added.id, "LITESTAR_QUEUES_CONFIG_FACTORY": f"served:{factory}"})
    assert (await process.ended())[0] == 0
    assert (await added.refresh()).result == 3


@pytest.mark.parametrize("how", ["argument", "variable"])
async def test_the_variables_may_have_another_prefix(start: Start, service: QueueService, how: str) -> None:
    added = await service.enqueue(add, 1, 2)
    names = {"MINE_TASK_ID": added.id, "MINE_CONFIG_FACTORY": "served:config", "LITESTAR_QUEUES_CONFIG_FACTORY": None}
    arguments = ["--env-prefix", "MINE_"] if how == "argument" else []
    variable = {} if how == "argument" else {"LITESTAR_QUEUES_ENV_PREFIX": "MINE_"}
    code, errors = await (await start(*arguments, **names, **variable)).ended()
    assert code == 0, errors


async def test_the_task_modules_register_their_tasks(start: Start, service: QueueService, tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text(
        "from litestar_queues import task\n@task('unknown')\ndef known() -> int:\n    return 7\n"
    )
    unknown = await service.enqueue("unknown")
    process = await start(**{ID: unknown.id, "LITESTAR_QUEUES_TASK_MODULES": "more"})
    assert (await process.ended())[0] == 0
    assert (await unknown.refresh()).result == 7


# The claim


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
async def test_a_dispatched_task_is_claimed_before_and_after_its_reference_is_stored(
    start: Start, service: QueueService, *, stored: bool
) -> None:
    added = await service.enqueue(add_sync, 1, 2)
    reserved = await reserve(service)
    ref = f"{PARENT}/executions/tasks-abcde"
    if stored:
        assert await dispatch(service, reserved, ref)
    process = await start(
        **{
            ID: added.id,
            FENCE: reserved.fence,
            "LITESTAR_QUEUES_EXECUTION_PARENT": PARENT,
            "CLOUD_RUN_EXECUTION": "tasks-abcde",
        }
    )
    code, errors = await process.ended()
    assert (code, "completed in attempt 1" in last_line(errors)) == (0, True), errors
    record = await record_of(service, added.id)
    assert (record.state, record.attempt, record.result, record.execution_ref) == (State.COMPLETED, 1, "3", ref)
    if not stored:
        assert await dispatch(service, reserved, ref) is None


@pytest.mark.parametrize(("own", "ref"), [({}, "the dispatcher's"), ({"CLOUD_RUN_EXECUTION": "short"}, "short")])
async def test_a_reference_that_the_run_does_not_know_stays(
    start: Start, service: QueueService, own: dict[str, str], ref: str
) -> None:
    added = await service.enqueue(add, 1, 2)
    reserved = await reserve(service)
    assert await dispatch(service, reserved, "the dispatcher's")
    assert (await (await start(**{ID: added.id, FENCE: reserved.fence}, **own)).ended())[0] == 0
    assert (await record_of(service, added.id)).execution_ref == ref


@pytest.mark.parametrize("dispatched", [False, True])
async def test_without_a_fence_a_task_is_taken_as_it_stands(
    start: Start, service: QueueService, *, dispatched: bool
) -> None:
    added = await service.enqueue(add, 1, 2)
    if dispatched:
        await reserve(service)
    assert (await (await start(**{ID: added.id})).ended())[0] == 0


async def test_no_argument_of_a_task_is_in_the_environment(start: Start, service: QueueService) -> None:
    hidden = await service.enqueue(hidden_argument, "a secret")
    assert (await (await start(**{ID: hidden.id})).ended())[0] == 0


async def refused(start: Start, service: QueueService, task_id: str, fence: int | None) -> tuple[int, str]:
    """The end of a run that must change nothing: its code, and its last line."""
    before = await record_of(service, task_id)
    code, errors = await (await start(**{ID: task_id, FENCE: fence})).ended()
    assert await record_of(service, task_id) == before
    return code, last_line(errors)


async def test_an_unknown_task_stays_as_it_is(start: Start, service: QueueService) -> None:
    unknown = await service.enqueue("unknown")
    reserved = await reserve(service)
    code, line = await refused(start, service, unknown.id, reserved.fence)
    assert (code, "no task named 'unknown' is registered" in line) == (5, True), line


@pytest.mark.parametrize("away", [-2, 1], ids=["earlier", "later"])
async def test_a_run_of_another_reservation_changes_nothing(start: Start, service: QueueService, away: int) -> None:
    added = await service.enqueue(add, 1, 2)
    await service.operations.apply([Move(await reserve(service), Release())])
    reserved = await reserve(service)
    code, line = await refused(start, service, added.id, reserved.fence + away)
    assert (code, "this run was started for the reservation under fence" in line) == (6, True), line


async def test_a_run_whose_reservation_was_given_back_changes_nothing(start: Start, service: QueueService) -> None:
    added = await service.enqueue(add, 1, 2)
    reserved = await reserve(service)
    await service.operations.apply([Move(reserved, Release())])
    code, line = await refused(start, service, added.id, reserved.fence)
    assert (code, "it (add) is 'pending' under fence" in line) == (6, True), line


@pytest.mark.parametrize("dispatched", [False, True])
async def test_a_task_that_was_cancelled_before_the_claim_stays_so(
    start: Start, service: QueueService, *, dispatched: bool
) -> None:
    added = await service.enqueue(add, 1, 2)
    reserved = await reserve(service) if dispatched else None
    await service.cancel(added.id)
    code, line = await refused(start, service, added.id, None if reserved is None else reserved.fence)
    assert (code, "was cancelled before this run claimed it" in line) == (7, True), line


@pytest.mark.parametrize(
    ("expired", "words"), [(False, "`expires_at` has not"), (True, "it (add) is 'expired' already")]
)
async def test_a_task_whose_time_is_over_is_not_run(
    start: Start, service: QueueService, words: str, *, expired: bool
) -> None:
    added = await service.enqueue(add, 1, 2, expires_in=0.001)
    assert added.record.expires_at is not None
    while service.clock.now() <= added.record.expires_at:  # noqa: ASYNC110  # a millisecond
        await asyncio.sleep(0)
    if expired:
        assert len(await service.operations.expire_overdue()) == 1
    code, line = await refused(start, service, added.id, None)
    assert (code, words in line) == (6, True), line


async def test_a_task_that_is_not_due_is_not_run(start: Start, service: QueueService) -> None:
    added = await service.enqueue(add, 1, 2, delay=3600)
    code, line = await refused(start, service, added.id, None)
    assert (code, "`due_at` has come" in line) == (6, True), line


async def test_of_two_containers_for_one_reservation_one_runs_the_task(
    start: Start, service: QueueService, tmp_path: Path
) -> None:
    told = await service.enqueue(until_told, str(tmp_path / "told"))
    reserved = await reserve(service)
    both = [await start(**{ID: told.id, FENCE: reserved.fence}) for _ in range(2)]
    ends = [asyncio.create_task(one.process.wait()) for one in both]
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    (loser,) = [one for one in both if one.process.returncode is not None]
    assert loser.process.returncode == 6
    (tmp_path / "told").touch()
    (winner,) = [one for one in both if one is not loser]
    assert (await winner.ended())[0] == 0
    assert (await told.refresh()).attempt == 1
    for end in ends:
        await end


@pytest.mark.parametrize("name", ["add", "fail_once", "fail"])
async def test_a_container_that_is_started_again_changes_nothing(
    start: Start, service: QueueService, name: str
) -> None:
    once = await service.enqueue(name, *((1, 2) if name == "add" else ()), retries=int(name == "fail_once"))
    reserved = await reserve(service)
    variables = {ID: once.id, FENCE: reserved.fence}
    assert (await (await start(**variables)).ended())[0] == (0 if name == "add" else 1)
    before = await record_of(service, once.id)
    code, errors = await (await start(**variables, CLOUD_RUN_TASK_ATTEMPT=1)).ended()
    assert (code, await record_of(service, once.id)) == (6, before)
    assert "set the job's --max-retries to 0" in errors


# The outcome


@pytest.mark.parametrize(
    ("name", "code", "state", "words"),
    [
        ("fail", 1, State.FAILED, "failed in attempt 1 of 1, no attempt follows: ValueError: it is broken"),
        ("fail_once", 1, State.SCHEDULED, "failed in attempt 1 of 2, the next one is due at"),
        ("snoozing", 0, State.SCHEDULED, "asked to be run again at"),
        ("exits", 1, State.FAILED, "SystemExit: 0"),
        ("exits_in_an_asyncio_task", 1, State.FAILED, "SystemExit"),
    ],
)
async def test_the_exit_code_tells_the_outcome(
    start: Start, service: QueueService, name: str, *, code: int, state: State, words: str
) -> None:
    result = await service.enqueue(name, retries=int(name == "fail_once"))
    reserved = await reserve(service)
    ended, errors = await (await start(**{ID: result.id, FENCE: reserved.fence})).ended()
    assert (ended, words in last_line(errors)) == (code, True), errors
    assert (await result.refresh()).status is state


@pytest.mark.parametrize("name", ["endless", "endless_thread", "endless_to_thread"])
async def test_a_task_that_takes_too_long_fails_and_does_not_keep_the_process(
    start: Start, service: QueueService, name: str
) -> None:
    result = await service.enqueue(name, timeout=0.05, retries=0)
    code, errors = await (await start(**{ID: result.id})).ended()
    assert (code, "TimeoutError: attempt 1 took longer than its timeout of 0.05 s" in errors) == (1, True), errors
    assert (await result.refresh()).status is State.FAILED


async def test_a_thread_that_a_task_leaves_behind_does_not_keep_the_process(
    start: Start, service: QueueService
) -> None:
    result = await service.enqueue("leaves_a_thread")
    code, errors = await (await start(**{ID: result.id})).ended()
    assert (code, "the process ends without them" in errors) == (0, True), errors
    assert (await result.refresh()).status is State.COMPLETED


@pytest.mark.parametrize("name", ["endless", "endless_thread", "endless_to_thread"])
async def test_a_task_that_is_cancelled_while_it_runs_is_stopped(
    start: Start, service: QueueService, name: str
) -> None:
    result = await service.enqueue(name)
    process = await start(**{ID: result.id})
    await process.said("endless")
    await service.cancel(result.id)
    code, errors = await process.ended()
    assert (code, "was cancelled while it ran here" in errors) == (7, True), errors
    assert (await result.refresh()).status is State.CANCELLED


async def test_the_outcome_of_a_cancelled_task_is_refused(start: Start, service: QueueService, tmp_path: Path) -> None:
    told = await service.enqueue(until_told, str(tmp_path / "told"))
    process = await start(**{ID: told.id, "HEARTBEAT": 20})
    await process.said("running")
    await service.cancel(told.id)
    (tmp_path / "told").touch()
    code, errors = await process.ended()
    assert (code, "was cancelled before its outcome was stored" in errors) == (7, True), errors
    assert (await told.refresh()).status is State.CANCELLED


# Signals


async def test_a_signal_while_the_application_is_imported_leaves_the_task(start: Start, service: QueueService) -> None:
    added = await service.enqueue(add, 1, 2)
    before = await record_of(service, added.id)
    process = await start(**{ID: added.id, "IMPORT": 1})
    await process.said("importing")
    process.send(signal.SIGTERM)
    assert await process.ended() == (1, "exit 1 (failure): stopped before the claim; the task stays as it was\n")
    assert await record_of(service, added.id) == before


async def test_a_signal_while_the_claim_waits_leaves_the_task(
    start: Start, service: QueueService, tmp_path: Path
) -> None:
    added = await service.enqueue(add, 1, 2)
    before = await record_of(service, added.id)
    lock = locked(tmp_path)
    try:
        process = await start(**{ID: added.id, "SAY": "claim"})
        await process.said("claim")
        process.send(signal.SIGTERM)
        code, errors = await process.ended()
    finally:
        lock.close()
    assert (code, "stopped; if a claim took effect unanswered" in errors) == (1, True), errors
    assert await record_of(service, added.id) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["endless", "endless_thread", "endless_to_thread"])
async def test_a_signal_while_the_task_runs_gives_it_back(
    start: Start, service: QueueService, name: str, number: signal.Signals
) -> None:
    result = await service.enqueue(name)
    reserved = await reserve(service)
    process = await start(**{ID: result.id, FENCE: reserved.fence})
    await process.said("endless")
    process.send(number)
    code, errors = await process.ended()
    assert (code, "was interrupted, and given back" in errors) == (1, True), errors
    record = await record_of(service, result.id)
    assert (record.state, record.attempt) == (State.PENDING, 0)


async def test_a_task_that_must_not_run_twice_fails_at_a_signal(start: Start, service: QueueService) -> None:
    result = await service.enqueue("endless", max_recoveries=0)
    process = await start(**{ID: result.id})
    await process.said("endless")
    process.send(signal.SIGTERM)
    code, errors = await process.ended()
    assert (code, "failed, because it must not run a second time" in errors) == (1, True), errors
    assert (await result.refresh()).status is State.FAILED


async def test_a_signal_ends_a_process_whose_event_loop_is_blocked(start: Start, service: QueueService) -> None:
    result = await service.enqueue("blocking")
    process = await start(**{ID: result.id})
    await process.said("blocking")
    began = asyncio.get_running_loop().time()
    process.send(signal.SIGTERM)
    assert (await process.ended())[0] == 1
    assert asyncio.get_running_loop().time() - began < DEADLINE / 2
    assert (await result.refresh()).status is State.RUNNING  # until stale recovery finds it


async def test_a_container_that_is_killed_is_recovered_by_its_heartbeat(
    start: Start, service: QueueService, tmp_path: Path
) -> None:
    result = await service.enqueue("endless")
    reserved = await reserve(service)
    process = await start(**{ID: result.id, FENCE: reserved.fence, "STALE_AFTER": 0.5, "CLOUD_RUN_EXECUTION": "first"})
    await process.said("endless")
    process.send(signal.SIGKILL)
    assert (await process.ended())[0] == -signal.SIGKILL
    recovered = await recovery(service)
    assert (recovered.id, recovered.state, recovered.attempt, recovered.recoveries) == (result.id, State.PENDING, 0, 1)


async def recovery(service: QueueService) -> TaskRecord:
    """Wait until a worker that serves no task recovers one."""
    recovered: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()

    async def look() -> None:
        while not recovered.done():
            if requeued := (await service.operations.recover_stale(timedelta(seconds=60))).requeued:
                recovered.set_result(requeued[0])
            await asyncio.sleep(0.02)

    async with asyncio.timeout(DEADLINE):
        await look()
    return recovered.result()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_container_that_was_stopped_for_longer_than_its_window_stops_the_task(
    start: Start, service: QueueService, *, cancelled: bool
) -> None:
    result = await service.enqueue("endless")
    process = await start(**{ID: result.id, "STALE_AFTER": 0.5})
    await process.said("endless")
    process.send(signal.SIGTSTP, signal.SIGSTOP)  # Linux lets a process without a terminal go on after the first alone
    if cancelled:
        await service.cancel(result.id)
    else:
        await recovery(service)
    before = await record_of(service, result.id)
    process.send(signal.SIGCONT)
    code, errors = await process.ended()
    assert code == (7 if cancelled else 6), errors
    assert await record_of(service, result.id) == before


# A store that is away


async def test_a_store_that_cannot_be_reached_in_time_is_a_failure(start: Start) -> None:
    process = await start(**{ID: "x", "DATABASE": "later/queues.db", "LITESTAR_QUEUES_WAIT_FOR_STORE": 0.1})
    code, errors = await process.ended()
    assert (code, "the store could not be reached in time" in last_line(errors)) == (1, True), errors


async def test_a_store_that_comes_back_in_time_is_waited_for(
    start: Start, service: QueueService, tmp_path: Path
) -> None:
    added = await service.enqueue(add, 1, 2)
    process = await start(**{ID: added.id, "DATABASE": "later/queues.db"})
    await process.logged("the run waits for its store")
    (tmp_path / "later").symlink_to(tmp_path)
    assert (await process.ended())[0] == 0
    assert (await added.refresh()).status is State.COMPLETED


async def test_a_process_that_waits_for_its_store_can_be_stopped(start: Start) -> None:
    process = await start(**{ID: "x", "DATABASE": "later/queues.db"})
    await process.logged("the run waits for its store")
    process.send(signal.SIGTERM)
    code, errors = await process.ended()
    assert (code, last_line(errors)) == (1, "exit 1 (failure): stopped before the claim; the task stays as it was")


@pytest.mark.parametrize("stopped", [False, True])
async def test_an_outcome_is_kept_while_the_store_refuses_it(
    start: Start, service: QueueService, tmp_path: Path, *, stopped: bool
) -> None:
    told = await service.enqueue(until_told, str(tmp_path / "told"))
    process = await start(**{ID: told.id, "SAY": "commit"})
    await process.said("running")
    lock = locked(tmp_path)
    try:
        (tmp_path / "told").touch()
        await process.said("commit")
        if stopped:
            process.send(signal.SIGTERM)
            code, errors = await process.ended()
            assert (code, "its outcome (completed) could not be stored" in errors) == (1, True), errors
    finally:
        lock.close()
    if not stopped:
        assert (await process.ended())[0] == 0
    assert (await told.refresh()).status is (State.RUNNING if stopped else State.COMPLETED)


# Elsewhere than in a container of its own


FORKS = """
import os, sys
import served
from litestar_queues.execution.cloudrun.entrypoint import main

ends = {}
for task_id in sys.argv[1:]:
    if (pid := os.fork()) == 0:
        code = 99
        try:
            code = main([], {"LITESTAR_QUEUES_TASK_ID": task_id, "LITESTAR_QUEUES_CONFIG_FACTORY": "served:config"})
        finally:
            os._exit(code)
    ends[pid] = None
while None in ends.values():
    pid, status = os.wait()
    ends[pid] = os.waitstatus_to_exitcode(status)
print(*ends.values())
"""


async def test_a_server_that_has_everything_imported_forks_runs(service: QueueService, tmp_path: Path) -> None:
    async with starting(tmp_path, (sys.executable, "forks.py")) as start:
        (tmp_path / "forks.py").write_text(FORKS)
        results = await service.enqueue_many([add_sync.call(n, n) for n in range(20)])
        process = await start(*(result.id for result in results), BARE=1)
        line = await process.said("0")
        code, errors = await process.ended()
    assert (code, line.split()) == (0, ["0"] * 20), errors
    assert [(await result.refresh()).result for result in results] == [2 * n for n in range(20)]
    assert len({result.record.worker for result in results}) == 20


LITESTAR = (sys.executable, "-m", "litestar", "--app", "served:app", "queues", "run-task")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([""], 2, "ID is missing or empty"),
        (["x" * 37], 3, "ID is no task's id"),
        (["x", "--fence", "one"], 3, "--fence is 'one'"),
        (["x"], 4, "it is not stored"),
    ],
)
async def test_the_command_has_the_same_exit_codes(
    service: QueueService, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    async with starting(tmp_path, LITESTAR) as start:
        ended, errors = await (await start(*arguments)).ended()
    assert (ended, words in last_line(errors)) == (code, True), errors


async def test_the_command_runs_a_task_under_its_fence_and_reference(service: QueueService, tmp_path: Path) -> None:
    added = await service.enqueue(add, 1, 2)
    reserved = await reserve(service)
    async with starting(tmp_path, LITESTAR) as start:
        arguments = added.id, "--fence", str(reserved.fence), "--execution-ref", "by hand"
        assert (await (await start(*arguments)).ended())[0] == 0
        assert (await (await start(*arguments)).ended())[0] == 6
    record = await record_of(service, added.id)
    assert (record.state, record.execution_ref) == (State.COMPLETED, "by hand")


async def test_the_command_gives_a_task_back_at_a_signal(service: QueueService, tmp_path: Path) -> None:
    result = await service.enqueue("endless_to_thread")
    async with starting(tmp_path, LITESTAR) as start:
        process = await start(result.id)
        await process.said("endless")
        process.send(signal.SIGTERM)
        assert (await process.ended())[0] == 1
    assert (await result.refresh()).status is State.PENDING


async def test_the_entrypoint_imports_no_package_of_google() -> None:
    code = "import sys, litestar_queues.execution.cloudrun.entrypoint; print(*(one for one in sys.modules if one.startswith(('google', 'grpc'))))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert (process.returncode, output.split()) == (0, [])


def test_the_script_is_the_entrypoint() -> None:
    assert ENTRYPOINT[-1] == "litestar_queues.execution.cloudrun.entrypoint"
    metadata = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, _, function = metadata["project"]["scripts"]["litestar-queues-cloudrun-worker"].partition(":")
    assert module == ENTRYPOINT[-1]
    assert callable(getattr(importlib.import_module(module), function))
