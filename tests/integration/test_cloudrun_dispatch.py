"""Google's own client, against a server that speaks its protocol and starts a process for each execution."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.cloud.run_v2")

from cloudrun import CloudRun, Fault, ForkStarter
from cloudrun.control import BoxProcess
from waiting import DEADLINE

from litestar_queues.errors import BackendError, BackendUnavailableError, MissingDependencyError
from litestar_queues.execution.base import ExecutionBackend, Failed, Outlook, RunState, Started
from litestar_queues.execution.cloudrun import CloudRunExecutionConfig
from litestar_queues.execution.cloudrun import config as config_module
from litestar_queues.pauses import Backoffs
from litestar_queues.records import NewTask, TaskRecord, admit

pytestmark = pytest.mark.anyio

JOB = "projects/p/locations/us-central1/jobs/queue-worker"
TELLS = "import json, os; print(json.dumps(dict(os.environ)))"
WAITS = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(7)); print('waits', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('waits', flush=True)\nwhile True: signal.pause()"
REACHES = """
import asyncio
from cloudrun_hooks import reach
for point in ("before_claim", "after_claim", "after_commit"):
    asyncio.run(reach(point))
    print(point, flush=True)
"""
QUICK = Backoffs(first=0.001, longest=0.01)


def task(number: int = 1, **changes: Any) -> TaskRecord:
    new = NewTask(id=f"task-{number}", name="t", execution_backend="cloudrun", args='["secret argument"]')
    return admit(new, datetime.now(UTC)).evolve(fence=41 + number, **changes)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
async def cloud() -> AsyncIterator[CloudRun]:
    async with asyncio.timeout(DEADLINE), CloudRun() as running:
        yield running


def backend_of(cloud: CloudRun | BoxProcess, **options: Any) -> Any:
    """A backend that dispatches to this box, and does not wait long between two calls."""
    if isinstance(cloud, CloudRun):
        options = {"channel_factory": cloud.channel, **options}
    else:
        import grpc.aio

        address = cloud.address
        options = {"channel_factory": lambda: grpc.aio.insecure_channel(address), **options}
    given = {"project_id": "p", "job_name": "queue-worker", **options}
    backend: Any = CloudRunExecutionConfig(**given).create_execution_backend()
    backend._backoffs = QUICK
    return backend


@pytest.fixture
async def backend(cloud: CloudRun) -> AsyncIterator[Any]:
    made = backend_of(cloud)
    yield made
    await made.close()


# Starting


async def test_a_run_gets_the_id_and_the_fence_and_nothing_else_of_the_task(cloud: CloudRun, backend: Any) -> None:
    [started] = await backend.dispatch([task()])
    [execution] = cloud.executions.values()
    assert started == Started(execution.name)
    assert execution.overrides == {
        "LITESTAR_QUEUES_TASK_ID": "task-1",
        "LITESTAR_QUEUES_TASK_FENCE": "42",
        "LITESTAR_QUEUES_EXECUTION_PARENT": JOB,
    }
    [request] = cloud.requests
    assert request.overrides.task_count == 1
    assert not request.overrides.timeout
    assert "secret argument" not in str(request)


async def test_the_container_sees_the_configured_variables_and_can_name_its_execution() -> None:
    async with CloudRun(python(TELLS)) as cloud:
        backend = backend_of(
            cloud, env_prefix="SHOP_", config_factory="shop.app:config", task_modules=["shop.tasks", "shop.mail"],
            extra_env={"LOG_LEVEL": "debug"}, timeout=90,
        )  # fmt: skip
        [started] = await backend.dispatch([task(2)])
        execution = cloud.execution(started.ref)
        await execution.ended.wait()
        seen = json.loads(execution.log)
        assert {name: value for name, value in seen.items() if name.startswith(("SHOP_", "LOG_", "LITESTAR_"))} == {
            "SHOP_TASK_ID": "task-2",
            "SHOP_TASK_FENCE": "43",
            "SHOP_EXECUTION_PARENT": JOB,
            "SHOP_CONFIG_FACTORY": "shop.app:config",
            "SHOP_TASK_MODULES": "shop.tasks,shop.mail",
            "LOG_LEVEL": "debug",
            "LITESTAR_QUEUES_ENV_PREFIX": "SHOP_",
        }
        assert f"{seen['SHOP_EXECUTION_PARENT']}/executions/{seen['CLOUD_RUN_EXECUTION']}" == started.ref
        assert cloud.requests[0].overrides.timeout.total_seconds() == 90
        assert await backend.status([started.ref]) == {started.ref: RunState.SUCCEEDED}
        await backend.close()


async def test_a_profile_leads_to_its_job_and_a_full_name_to_another_project(cloud: CloudRun) -> None:
    other = "projects/q/locations/europe-west1/jobs/big"
    backend = backend_of(cloud, region="us-east1", profiles={"heavy": "queue-worker-heavy", "other": other})
    tasks = [task(1), task(2, execution_profile="heavy"), task(3, execution_profile="other")]
    started = await backend.dispatch(tasks)
    parents = [one.ref.partition("/executions/")[0] for one in started]
    assert parents == [
        "projects/p/locations/us-east1/jobs/queue-worker",
        "projects/p/locations/us-east1/jobs/queue-worker-heavy",
        other,
    ]
    await backend.close()


async def test_a_profile_that_is_gone_since_the_enqueue_is_refused_and_its_neighbours_run(
    cloud: CloudRun, backend: Any
) -> None:
    gone, started = await backend.dispatch([task(1, execution_profile="gone"), task(2)])
    assert isinstance(gone, Failed)
    assert gone.outlook is Outlook.REFUSED
    assert "'gone'" in gone.reason
    assert started == Started(next(iter(cloud.executions)))


async def test_many_are_started_at_once_and_never_more_than_configured(cloud: CloudRun) -> None:
    backend = backend_of(cloud, max_concurrent_dispatches=4)
    tasks = [task(number) for number in range(40)]
    cloud.plan.rest = Fault(reply="held")
    dispatching = asyncio.ensure_future(backend.dispatch(tasks))
    first = await cloud.started(4)
    await backend.status([one.name for one in first])  # a fifth run would have been started before the reply
    cloud.replies.set()
    started = await dispatching
    assert [cloud.execution(one.ref).overrides["LITESTAR_QUEUES_TASK_ID"] for one in started] == [
        one.id for one in tasks
    ]
    assert cloud.most_under_way == 4
    await backend.close()


async def test_the_end_of_a_run_is_not_waited_for() -> None:
    async with CloudRun(python(WAITS)) as cloud:
        backend = backend_of(cloud)
        [started] = await backend.dispatch([task()])
        await cloud.execution(started.ref).reached("start")
        assert await backend.status([started.ref]) == {started.ref: RunState.ACTIVE}
        await backend.close()


# Failing


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "ABORTED"])
async def test_what_passes_is_tried_again(cloud: CloudRun, backend: Any, status: str) -> None:
    cloud.plan.then(Fault(refuse=status), times=3)
    [started] = await backend.dispatch([task()])
    assert isinstance(started, Started)
    assert cloud.calls["RunJob"] == 4
    assert len(cloud.executions) == 1


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
async def test_what_does_not_pass_in_time_is_for_now(cloud: CloudRun, status: str) -> None:
    backend = backend_of(cloud, request_timeout=0.2, dispatch_timeout=0.2)
    cloud.plan.rest = Fault(refuse=status)
    [failed] = await backend.dispatch([task()])
    assert failed.outlook is Outlook.FOR_NOW
    assert status in failed.reason
    assert cloud.calls["RunJob"] > 1
    await backend.close()


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("PERMISSION_DENIED", "roles/run.developer"),
        ("NOT_FOUND", "job 'queue-worker' (project 'p', region 'us-central1') does not exist: create it"),
        ("INVALID_ARGUMENT", "correct the job, or CloudRunExecutionConfig"),
        ("FAILED_PRECONDITION", "correct the job, or CloudRunExecutionConfig"),
        ("UNAUTHENTICATED", "gcloud auth application-default login"),
    ],
)
async def test_a_refusal_is_not_tried_again_and_says_what_to_do(
    cloud: CloudRun, backend: Any, status: str, advice: str
) -> None:
    cloud.plan.rest = Fault(refuse=status)
    [failed] = await backend.dispatch([task()])
    assert failed.outlook is Outlook.REFUSED
    assert advice in failed.reason
    assert status in failed.reason
    assert cloud.calls["RunJob"] == 1


async def test_a_job_that_does_not_exist_is_refused() -> None:
    async with CloudRun(jobs=["queue-worker"]) as cloud:
        backend = backend_of(cloud, job_name="queue-woker")
        [failed] = await backend.dispatch([task()])
        assert failed.outlook is Outlook.REFUSED
        assert "'queue-woker'" in failed.reason
        await backend.close()


async def test_a_problem_is_logged_once_and_again_after_it_worked_or_became_another(
    cloud: CloudRun, backend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def logged() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.name == "litestar_queues" and one.levelno >= 40]

    async def fails(status: str) -> None:
        cloud.plan.rest = Fault(refuse=status)
        assert all(isinstance(one, Failed) for one in await backend.dispatch([task(n) for n in range(20)]))

    await fails("PERMISSION_DENIED")
    await fails("PERMISSION_DENIED")
    [denied] = logged()
    assert "run.jobs.runWithOverrides" in denied
    await fails("NOT_FOUND")
    assert len(logged()) == 2
    cloud.plan.clear()
    await backend.dispatch([task()])
    await fails("NOT_FOUND")
    assert len(logged()) == 3


async def test_the_values_of_extra_env_are_in_no_error(
    cloud: CloudRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def repeats(request: Any, context: Any) -> None:
        import grpc

        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"this is no good: {request.overrides}")

    cloud.run_job = repeats  # type: ignore[method-assign]
    await cloud.go_away()
    await cloud.come_back()
    backend = backend_of(cloud, extra_env={"TOKEN": "hunter22"})
    [failed] = await backend.dispatch([task()])
    assert "no good" in failed.reason
    assert "hunter22" not in failed.reason + caplog.text
    assert "hunter22" not in repr(
        CloudRunExecutionConfig(project_id="p", job_name="j", extra_env={"TOKEN": "hunter22"})
    )
    await backend.close()


# Replies that do not come


async def test_a_lost_reply_is_unclear_because_the_run_has_started(cloud: CloudRun) -> None:
    backend = backend_of(cloud, request_timeout=0.5, dispatch_timeout=0.5)
    cloud.plan.rest = Fault(reply="lost")
    [failed] = await backend.dispatch([task()])
    assert failed.outlook is Outlook.UNCLEAR
    assert len(cloud.executions) >= 1
    await backend.close()


async def test_a_lost_reply_stays_unclear_when_the_next_call_is_refused(cloud: CloudRun) -> None:
    """Otherwise the task would go to the fallback while its run is on its way."""
    backend = backend_of(cloud, request_timeout=0.5, dispatch_timeout=20)
    cloud.plan.then(Fault(reply="lost"))
    cloud.plan.rest = Fault(refuse="PERMISSION_DENIED")
    [failed] = await backend.dispatch([task()])
    assert failed.outlook is Outlook.UNCLEAR
    await backend.close()


async def test_the_call_after_a_lost_reply_starts_another_run(cloud: CloudRun) -> None:
    """Both have the fence of the one reservation, so that one of them claims, and the other ends."""
    backend = backend_of(cloud, request_timeout=0.5, dispatch_timeout=20)
    cloud.plan.then(Fault(reply="lost"))
    [started] = await backend.dispatch([task()])
    first, second = cloud.executions.values()
    assert started.ref == second.name
    assert first.overrides == second.overrides
    await backend.close()


async def test_an_operation_that_names_no_execution_is_unclear(cloud: CloudRun) -> None:
    backend = backend_of(cloud, request_timeout=0.2, dispatch_timeout=0.2)
    cloud.plan.rest = Fault(reply="nameless")
    [failed] = await backend.dispatch([task()])
    assert failed.outlook is Outlook.UNCLEAR
    await backend.close()


async def test_a_server_that_goes_away_during_the_call_is_unclear() -> None:
    async with CloudRun() as cloud:
        backend = backend_of(cloud, dispatch_timeout=10.0)
        backend._backoffs = Backoffs(first=60, longest=60)  # no second call
        cloud.plan.rest = Fault(reply="lost")
        dispatching = asyncio.ensure_future(backend.dispatch([task()]))
        await cloud.started(1)
        await cloud.go_away()
        [failed] = await dispatching
        assert failed.outlook is Outlook.UNCLEAR
        await backend.close()


async def test_a_server_that_is_away_is_for_now_and_back_it_works(cloud: CloudRun) -> None:
    backend = backend_of(cloud, request_timeout=0.3, dispatch_timeout=0.3)
    await cloud.go_away()
    [failed] = await backend.dispatch([task()])
    assert failed.outlook is Outlook.FOR_NOW
    backend = backend_of(cloud)
    dispatching = asyncio.ensure_future(backend.dispatch([task()]))
    await cloud.come_back()
    [started] = await dispatching
    assert isinstance(started, Started)
    await backend.close()


async def test_who_gets_no_turn_in_time_waits(cloud: CloudRun) -> None:
    backend = backend_of(cloud, request_timeout=0.5, dispatch_timeout=0.5, max_concurrent_dispatches=1)
    cloud.plan.rest = Fault(reply="lost")
    failed = await backend.dispatch([task(1), task(2), task(3)])
    assert sorted(one.outlook for one in failed) == ["for_now", "for_now", "unclear"]
    await backend.close()


async def test_a_close_under_a_dispatch_ends_it_as_unclear(cloud: CloudRun) -> None:
    backend = backend_of(cloud)
    backend._backoffs = Backoffs(first=60, longest=60)
    cloud.plan.rest = Fault(reply="lost")
    dispatching = asyncio.ensure_future(backend.dispatch([task()]))
    await cloud.started(1)
    await backend.close()
    [failed] = await dispatching
    assert failed.outlook is Outlook.UNCLEAR
    await backend.close()


async def test_a_cancelled_dispatch_ends_at_once(cloud: CloudRun, backend: Any) -> None:
    cloud.plan.rest = Fault(reply="lost")
    dispatching = asyncio.ensure_future(backend.dispatch([task()]))
    await cloud.started(1)
    dispatching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dispatching
    assert cloud.calls["RunJob"] == 1
    cloud.plan.clear()
    assert isinstance((await backend.dispatch([task(2)]))[0], Started)


async def test_credentials_that_are_missing_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    backend = CloudRunExecutionConfig(project_id="p", job_name="j").create_execution_backend()
    await backend.open()
    failed = await backend.dispatch([task(1), task(2)])
    for one in failed:
        assert isinstance(one, Failed)
        assert one.outlook is Outlook.REFUSED
        assert "GOOGLE_APPLICATION_CREDENTIALS" in one.reason
    assert await backend.status([f"{JOB}/executions/e"]) == {}
    with pytest.raises(BackendUnavailableError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await backend.cancel(f"{JOB}/executions/e")
    assert len([one for one in caplog.records if one.name == "litestar_queues"]) == 1
    await backend.close()


# What became of runs


@pytest.mark.parametrize(
    ("says", "state"),
    [
        ("succeeded", RunState.SUCCEEDED),
        ("failed", RunState.FAILED),
        ("cancelled", RunState.CANCELLED),
        ("missing", RunState.VANISHED),
        ("running", RunState.ACTIVE),
    ],
)
async def test_the_state_of_a_run_is_what_the_api_says(
    cloud: CloudRun, backend: Any, says: str, state: RunState
) -> None:
    cloud.plan.rest = Fault(says=says, start="never")
    [started] = await backend.dispatch([task()])
    assert await backend.status([started.ref]) == {started.ref: state}


async def test_a_run_that_never_starts_is_active(cloud: CloudRun, backend: Any) -> None:
    cloud.plan.rest = Fault(start="never")
    [started] = await backend.dispatch([task()])
    assert await backend.status([started.ref]) == {started.ref: RunState.ACTIVE}


async def test_an_api_that_fails_means_active_and_is_logged_once(
    cloud: CloudRun, caplog: pytest.LogCaptureFixture
) -> None:
    backend = backend_of(cloud, request_timeout=0.5, dispatch_timeout=5)
    started = await backend.dispatch([task(n) for n in range(5)])
    await cloud.all_ended()
    refs = [one.ref for one in started]
    for status in ("PERMISSION_DENIED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNAUTHENTICATED"):
        cloud.refuse_reads = status
        caplog.clear()
        assert await backend.status(refs) == dict.fromkeys(refs, RunState.ACTIVE)
        assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
    await cloud.go_away()
    assert await backend.status(refs) == dict.fromkeys(refs, RunState.ACTIVE)
    await backend.close()


async def test_many_states_are_asked_for_at_once_and_each_once(cloud: CloudRun, backend: Any) -> None:
    started = await backend.dispatch([task(n) for n in range(50)])
    await cloud.all_ended()
    refs = [one.ref for one in started]
    assert await backend.status([*refs, *refs, "nonsense"]) == dict.fromkeys(refs, RunState.SUCCEEDED)
    assert cloud.calls["GetExecution"] == 50


# Ending runs


async def test_cancelling_ends_the_container_by_sigterm() -> None:
    async with CloudRun(python(WAITS)) as cloud:
        backend = backend_of(cloud)
        [started] = await backend.dispatch([task()])
        execution = cloud.execution(started.ref)
        await written(execution, "waits")
        await backend.cancel(started.ref)
        await execution.ended.wait()
        assert execution.exits == [7]
        assert await backend.status([started.ref]) == {started.ref: RunState.CANCELLED}
        await backend.cancel(started.ref)  # it has ended
        await backend.close()


async def test_a_container_that_ignores_sigterm_is_killed() -> None:
    async with CloudRun(python(DEAF), grace=0.2) as cloud:
        backend = backend_of(cloud)
        [started] = await backend.dispatch([task()])
        execution = cloud.execution(started.ref)
        await written(execution, "waits")
        await backend.cancel(started.ref)
        await execution.ended.wait()
        assert execution.exits == [-9]
        await backend.close()


async def test_cancelling_what_is_not_known_is_harmless(backend: Any) -> None:
    await backend.cancel(f"{JOB}/executions/none")
    await backend.cancel("nonsense")
    await backend.cancel("")


async def test_a_cancellation_that_is_refused_says_so(cloud: CloudRun) -> None:
    backend = backend_of(cloud, request_timeout=0.2, dispatch_timeout=0.2)
    cloud.plan.rest = Fault(start="never")
    [started] = await backend.dispatch([task()])
    cloud.refuse_cancels = "PERMISSION_DENIED"
    with pytest.raises(BackendError, match=r"run\.executions\.cancel") as denied:
        await backend.cancel(started.ref)
    assert not isinstance(denied.value, BackendUnavailableError)
    cloud.refuse_cancels = "UNAVAILABLE"
    with pytest.raises(BackendUnavailableError):
        await backend.cancel(started.ref)
    cloud.refuse_cancels = None
    await backend.cancel(started.ref)
    await backend.close()


# The box keeps its own promises


async def written(execution: Any, text: str) -> None:
    """Wait until the container has written this."""
    while text not in execution.log:
        assert not execution.ended.is_set(), execution.log
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("point", ["before_claim", "after_claim", "after_commit"])
async def test_a_container_is_killed_at_a_point(point: str) -> None:
    async with asyncio.timeout(DEADLINE), CloudRun(python(REACHES)) as cloud:
        cloud.plan.then(Fault(kill_at=point))
        backend = backend_of(cloud)
        killed, goes_on = await backend.dispatch([task(1), task(2)])
        await cloud.all_ended()
        killed, goes_on = sorted((cloud.execution(one.ref) for one in (killed, goes_on)), key=lambda one: one.exits)
        assert killed.exits == [-9]
        assert point not in killed.log
        assert goes_on.exits == [0], goes_on.log
        assert await backend.status([killed.name]) == {killed.name: RunState.FAILED}
        await backend.close()


async def test_a_container_is_held_at_a_point() -> None:
    async with asyncio.timeout(DEADLINE), CloudRun(python(REACHES)) as cloud:
        cloud.plan.then(Fault(hold_at="after_claim", start="held"))
        backend = backend_of(cloud)
        [started] = await backend.dispatch([task()])
        execution = cloud.execution(started.ref)
        assert execution.state == "waiting"
        execution.release("start")
        await execution.reached("after_claim")
        assert "after_claim" not in execution.log
        execution.release("after_claim")
        await execution.ended.wait()
        assert "after_commit" in execution.log
        await backend.close()


async def test_a_container_is_started_again_as_often_as_the_job_has_it() -> None:
    code = (
        "import os; print(os.environ['CLOUD_RUN_TASK_ATTEMPT']); exit(int(os.environ['CLOUD_RUN_TASK_ATTEMPT'] < '2'))"
    )
    async with asyncio.timeout(DEADLINE), CloudRun(python(code), max_retries=3) as cloud:
        backend = backend_of(cloud)
        [started] = await backend.dispatch([task()])
        await cloud.all_ended()
        assert cloud.execution(started.ref).exits == [1, 1, 0]
        assert cloud.execution(started.ref).log.split() == ["0", "1", "2"]
        await backend.close()


async def test_a_container_is_frozen_and_goes_on() -> None:
    code = "import signal; signal.signal(signal.SIGTSTP, lambda *_: print('moves', flush=True)); print('waits', flush=True); signal.pause(); signal.pause()"
    async with asyncio.timeout(DEADLINE), CloudRun(python(code)) as cloud:
        backend = backend_of(cloud)
        [started] = await backend.dispatch([task()])
        execution = cloud.execution(started.ref)
        await written(execution, "waits")

        async def meanwhile() -> None:
            while not is_frozen(execution.pid):  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(0.01)
            assert await backend.status([started.ref]) == {started.ref: RunState.ACTIVE}

        await execution.migrate(meanwhile)
        await written(execution, "moves")
        await backend.close()


def is_frozen(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_forks_are_containers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forked.py").write_text(
        "import os, sys, json\n"
        "def main():\n"
        "    print(os.environ['LITESTAR_QUEUES_TASK_ID'], flush=True)\n"
        "    if os.environ['LITESTAR_QUEUES_TASK_ID'] == 'task-3': os.kill(os.getpid(), 9)\n"
        "    return int(os.environ['LITESTAR_QUEUES_TASK_FENCE']) % 2\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    async with asyncio.timeout(DEADLINE), CloudRun(starter=ForkStarter("forked:main", ["json"])) as cloud:
        backend = backend_of(cloud)
        started = await backend.dispatch([task(n) for n in range(100)])
        await cloud.all_ended()
        assert [cloud.execution(one.ref).exits for one in started] == [
            [-9] if n == 3 else [(41 + n) % 2] for n in range(100)
        ]
        assert cloud.execution(started[7].ref).log == "task-7\n"
        await backend.close()


async def test_a_box_in_a_process_of_its_own() -> None:
    async with asyncio.timeout(DEADLINE), BoxProcess(python(REACHES)) as box:
        backend = backend_of(box)
        await box.plan(Fault(hold_at="after_claim"))
        [started] = await backend.dispatch([task()])
        await box.do("reached", ref=started.ref, point="after_claim")
        await box.do("kill", ref=started.ref)
        await box.do("ended", ref=started.ref)
        [execution] = await box.executions()
        assert (execution["name"], execution["state"], execution["exits"]) == (started.ref, "failed", [-9])
        assert execution["overrides"]["LITESTAR_QUEUES_TASK_ID"] == "task-1"
        await box.do("go_away")
        assert await backend.status([started.ref]) == {started.ref: RunState.ACTIVE}
        await box.do("come_back")
        await backend.close()


# Without Google's packages


@pytest.mark.parametrize(
    "code",
    [
        "import litestar_queues",
        "import litestar_queues.execution.cloudrun",
        "from litestar_queues.execution.cloudrun import CloudRunExecutionConfig as C; C(project_id='p', job_name='j')",
    ],
)
def test_importing_imports_no_package_of_google(code: str) -> None:
    look = (
        "import sys; print([name for name, module in sys.modules.items() if getattr(module, '__file__', None) "
        "and name.split('.')[0] in ('google', 'grpc', 'proto')])"
    )  # without namespaces: older packages of Google make theirs at the start of every Python
    done = subprocess.run([sys.executable, "-c", f"{code}; {look}"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_making_imports_no_client_and_the_first_call_does() -> None:
    code = (
        "import sys\nfrom litestar_queues.execution.cloudrun import CloudRunExecutionConfig as C\n"
        "C(project_id='p', job_name='j').create_execution_backend().check_profile(None)\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'proto')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    config = CloudRunExecutionConfig(project_id="p", job_name="j")
    for find in (missing, lambda _name: None):
        monkeypatch.setattr(config_module, "find_spec", find)
        with pytest.raises(MissingDependencyError, match=r"google-cloud-run.*'cloudrun'"):
            config.create_execution_backend()


def test_what_is_made_is_an_execution_backend() -> None:
    backend = CloudRunExecutionConfig(
        project_id="p", job_name="j", fallback_execution_backend="local"
    ).create_execution_backend()
    assert isinstance(backend, ExecutionBackend)
    assert (backend.name, backend.is_remote, backend.fallback) == ("cloudrun", True, "local")
