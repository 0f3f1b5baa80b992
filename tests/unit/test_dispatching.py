from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from queue_lab import Lab, WatchedBackend, within

from litestar_queues import QueueConfigurationError, State, TaskRecord
from litestar_queues.errors import BackendError, DispatchNotSupportedError, InvalidTaskError
from litestar_queues.execution.base import Failed, Outlook, RunState, Started, same_run
from litestar_queues.lifecycle import Cancel, Claim, Complete
from litestar_queues.operations import Move
from litestar_queues.records import Want
from litestar_queues.worker import dispatcher as dispatcher_module
from litestar_queues.worker import worker as worker_module
from litestar_queues.worker.hold import Hold
from litestar_queues.worker.reconciler import Reconciler

pytestmark = pytest.mark.anyio

Answer = Started | Failed


class Elsewhere:
    """An execution backend whose service the test plays."""

    name = "elsewhere"
    is_remote = True

    def __init__(self) -> None:
        self.fallback: str | None = None
        self.profiles: tuple[str | None, ...] = (None, "large")
        self.dispatched: list[TaskRecord] = []
        self.calls: list[int] = []
        self.answer: Callable[[TaskRecord], Answer] = lambda record: Started(f"runs/{record.id}")
        self.gate: asyncio.Event | None = None
        self.states: dict[str, RunState] = {}
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.refuses_to_end = False
        self.stir = asyncio.Event()
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    def check_profile(self, profile: str | None) -> None:
        if profile not in self.profiles:
            raise InvalidTaskError(f"no profile {profile!r}: the known one is 'large'")

    async def dispatch(self, tasks: Sequence[TaskRecord]) -> list[Answer]:
        self.dispatched += tasks
        self.calls.append(len(tasks))
        self.stir.set()
        if self.gate is not None:
            await self.gate.wait()
        return [self.answer(task) for task in tasks]

    async def status(self, refs: Collection[str]) -> Mapping[str, RunState]:
        self.asked += refs
        if "raise" in self.states:
            raise OSError("nobody there")
        return {ref: self.states[ref] for ref in refs if ref in self.states}

    async def cancel(self, ref: str) -> None:
        self.ended.append(ref)
        self.stir.set()
        if self.refuses_to_end:
            raise BackendError("not today")


class Stage(Lab):
    def __init__(self, **config: Any) -> None:
        self.elsewhere = Elsewhere()
        given = {"execution_backend": self.elsewhere, "dispatch_check_interval": 30.0}
        super().__init__(**{**given, **config})
        self.backend.process_local = False
        self.elsewhere.stir = self.backend.stir
        self.task("render", retries=1)(lambda: None)

    async def enqueue(self, count: int = 1, **options: Any) -> list[str]:
        task = self.registry.get("render").using(**options)
        return [one.id for one in await self.service.enqueue_many([task.call() for _ in range(count)])]

    async def in_state(self, state: State, *ids: str) -> None:
        await self.until(lambda: all(self.backend.inner.tasks[id_].state is state for id_ in ids))

    async def with_ref(self, id_: str) -> TaskRecord:
        await self.until(lambda: self.backend.inner.tasks[id_].execution_ref is not None)
        return await self.stored(id_)

    async def claimed(self, id_: str, ref: str | None = None, age: int = 0) -> TaskRecord | None:
        """What the run does first: claim its task."""
        record = await self.stored(id_)
        want = Want(worker="run", limit=1, tasks=(record.held,), stale_after=60, execution_ref=ref)
        claimed = await self.service.operations.claim(want)
        return claimed[0] if claimed else None

    async def later(self, seconds: float) -> None:
        """Let time pass, for the store and everybody else."""
        inner = self.backend.inner
        before = inner.clock

        class Clock:
            def now(self) -> Any:
                return before.now() + timedelta(seconds=seconds)

        inner.clock = Clock()
        await self.service.clock.sync(inner)

    async def reconcile(self, name: str = "r") -> None:
        await Reconciler(self.service, owner=name, interval=timedelta(seconds=10), hold=Hold()).look()


@asynccontextmanager
async def staged(**config: Any) -> AsyncIterator[Stage]:
    stage = Stage(**config)
    async with stage.service:
        yield stage


# Dispatch


async def test_a_task_is_dispatched_once_and_its_reference_is_stored() -> None:
    async with staged() as stage:
        (id_,) = await stage.enqueue()
        async with stage.worker():
            record = await stage.with_ref(id_)
        assert (record.state, record.execution_ref, record.attempt) == (State.DISPATCHED, f"runs/{id_}", 0)
        assert record.stale_after == 30
        (reserved,) = stage.elsewhere.dispatched
        assert (reserved.id, reserved.fence, reserved.worker) == (id_, record.fence - 1, "w1")
        assert [e.execution_ref for e in stage.told("dispatch")] == [f"runs/{id_}"]
        assert stage.told("claim") == []


async def test_local_tasks_are_run_by_the_worker_beside_remote_ones() -> None:
    async with staged() as stage:
        (remote,) = await stage.enqueue()
        here = await stage.service.enqueue("render", execution_backend="local")
        async with stage.worker():
            assert (await within(here.wait())).status is State.COMPLETED
            await stage.with_ref(remote)
        assert [one.id for one in stage.elsewhere.dispatched] == [remote]


async def test_a_run_that_claims_before_its_reference_is_stored_keeps_its_claim_and_goes_on() -> None:
    async with staged() as stage:
        stage.elsewhere.gate = asyncio.Event()
        (id_,) = await stage.enqueue()
        async with stage.worker() as running:
            await stage.until(lambda: stage.elsewhere.dispatched)
            claimed = await stage.claimed(id_, f"runs/{id_}")
            assert claimed is not None
            assert (claimed.attempt, claimed.execution_ref) == (1, f"runs/{id_}")
            stage.elsewhere.gate.set()
            await running.drain()
        assert await stage.stored(id_) == claimed
        assert stage.elsewhere.ended == []
        assert stage.told("fence_loss") == []  # the run was rightly faster


async def test_a_run_that_knows_the_last_part_of_its_name_is_the_same_run() -> None:
    assert same_run("projects/p/executions/e1", "e1")
    assert same_run("e1", "projects/p/executions/e1")
    assert same_run("projects/p/executions/e1", "projects/1234/executions/e1")
    assert not same_run("projects/p/executions/e11", "e1")
    assert not same_run("host:1:2", "host:1:3")


@pytest.mark.parametrize("fate", ["cancelled", "claimed by another run", "deleted"])
async def test_a_run_whose_task_is_gone_when_its_reference_arrives_is_ended(fate: str) -> None:
    async with staged() as stage:
        stage.elsewhere.gate = asyncio.Event()
        (id_,) = await stage.enqueue()
        async with stage.worker() as running:
            await stage.until(lambda: stage.elsewhere.dispatched)
            if fate == "claimed by another run":
                assert await stage.claimed(id_, "runs/other")
            else:
                await stage.service.cancel(id_)
            if fate == "deleted":
                await stage.service.operations.delete_finished(timedelta(0))
            before = stage.backend.inner.tasks.get(id_)
            stage.elsewhere.gate.set()
            await stage.until(lambda: stage.elsewhere.ended)
            await running.drain()
        assert stage.elsewhere.ended == [f"runs/{id_}"]
        assert stage.backend.inner.tasks.get(id_) == before


async def test_a_run_that_cannot_be_ended_harms_nobody() -> None:
    async with staged() as stage:
        stage.elsewhere.gate, stage.elsewhere.refuses_to_end = asyncio.Event(), True
        (id_,) = await stage.enqueue()
        async with stage.worker() as running:
            await stage.until(lambda: stage.elsewhere.dispatched)
            await stage.service.cancel(id_)
            stage.elsewhere.gate.set()
            await stage.until(lambda: stage.elsewhere.ended)
            (other,) = await stage.enqueue()
            await stage.with_ref(other)
            await running.drain()


async def test_a_reference_is_stored_as_soon_as_the_store_takes_it() -> None:
    async with staged() as stage:
        stage.elsewhere.gate = asyncio.Event()
        (id_,) = await stage.enqueue()
        async with stage.worker():
            await stage.until(lambda: stage.elsewhere.dispatched)
            stage.backend.away.add("commit")
            stage.elsewhere.gate.set()
            await stage.until(lambda: stage.backend.of("commit"))
            stage.backend.away.clear()
            assert (await stage.with_ref(id_)).execution_ref == f"runs/{id_}"


async def test_a_reply_about_a_stored_reference_that_is_lost_ends_no_run() -> None:
    async with staged() as stage:
        stage.backend.deaf.append("commit")
        (id_,) = await stage.enqueue()
        async with stage.worker() as running:
            await stage.until(lambda: len(stage.backend.of("commit")) > 1)
            await running.drain()
        assert (await stage.stored(id_)).execution_ref == f"runs/{id_}"
        assert stage.elsewhere.ended == []


async def test_a_refused_task_goes_to_the_fallback_and_says_why() -> None:
    async with staged() as stage:
        stage.elsewhere.fallback = "local"
        stage.elsewhere.answer = lambda _: Failed("the job is not there", Outlook.REFUSED)
        result = await stage.service.enqueue("render")
        async with stage.worker():
            assert (await within(result.wait())).status is State.COMPLETED
        record = await stage.stored(result.id)
        assert (record.execution_backend, record.attempt, record.execution_ref) == ("local", 1, None)
        assert record.history is not None
        assert "the job is not there" in record.history
        (event,) = stage.told("divert")
        assert (event.state, event.execution_backend) == (State.PENDING, "local")


async def test_a_fallback_that_is_not_known_is_refused_before_anything_is_dispatched() -> None:
    async with staged() as stage:
        stage.elsewhere.fallback = "lokal"
        with pytest.raises(QueueConfigurationError, match=r"fallback of the execution backend 'elsewhere'.*'local'"):
            async with stage.worker():
                pass


async def test_a_refusal_is_said_once_and_the_tasks_of_its_profile_wait(caplog: pytest.LogCaptureFixture) -> None:
    async with staged() as stage:
        stage.elsewhere.answer = lambda r: (
            Failed("no permission", Outlook.REFUSED) if r.execution_profile else Started(f"runs/{r.id}")
        )
        ids = await stage.enqueue(20, execution_profile="large")
        (other,) = await stage.enqueue()
        async with stage.worker():
            await stage.with_ref(other)
            await stage.in_state(State.SCHEDULED, *ids)
        assert caplog.text.count("no permission") == 1
        record = await stage.stored(ids[0])
        assert (record.attempt, record.recoveries, record.worker, record.heartbeat_at) == (0, 0, None, None)


async def test_tasks_of_a_refused_profile_are_dispatched_once_it_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "_REFUSED", dispatcher_module.Backoffs(first=0.02, longest=0.02))
    monkeypatch.setattr(dispatcher_module, "_NEXT", 0.01)
    async with staged() as stage:
        stage.elsewhere.answer = lambda _: Failed("no permission", Outlook.REFUSED)
        ids = await stage.enqueue(3)
        async with stage.worker():
            await stage.until(lambda: len(stage.elsewhere.calls) > 3)
            assert stage.elsewhere.calls[:4] == [3, 1, 1, 1]  # one of them tries whether it is mended
            stage.elsewhere.answer = lambda record: Started(f"runs/{record.id}")
            for id_ in ids:
                await stage.with_ref(id_)


async def test_while_a_service_takes_nothing_its_tasks_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "_AWAY", dispatcher_module.Backoffs(first=0.02, longest=0.02))
    async with staged() as stage:
        away = True
        stage.elsewhere.answer = lambda r: Failed("quota", Outlook.FOR_NOW) if away else Started(f"runs/{r.id}")
        ids = await stage.enqueue(5)
        before = {id_: (await stage.stored(id_)).due_at for id_ in ids}
        async with stage.worker():
            await stage.until(lambda: len(stage.told("release")) >= 5 + 2)
            later = [one.id for one in stage.elsewhere.dispatched[5:]]
            assert len(set(later)) == 1  # one task tries whether it is over
            away = False
            for id_ in ids:
                assert (await stage.with_ref(id_)).due_at == before[id_]


@pytest.mark.parametrize("how", ["says so", "raises", "answers too little", "hangs"])
async def test_a_reservation_stays_where_a_run_may_have_been_started(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timeout = 0.05 if how == "hangs" else 30
    async with staged(dispatch_timeout=timeout) as stage:
        if how == "says so":
            stage.elsewhere.answer = lambda _: Failed("the reply was lost", Outlook.UNCLEAR)
        elif how == "raises":
            stage.elsewhere.answer = lambda _: 1 / 0  # type: ignore[return-value,arg-type]
        elif how == "hangs":
            stage.elsewhere.gate = asyncio.Event()
        else:

            async def dispatch(tasks: Sequence[TaskRecord]) -> list[Answer]:
                stage.elsewhere.dispatched += tasks
                return []

            monkeypatch.setattr(stage.elsewhere, "dispatch", dispatch)
        (id_,) = await stage.enqueue()
        async with stage.worker() as running:
            await stage.in_state(State.DISPATCHED, id_)
            await running.drain()
        record = await stage.stored(id_)
        assert (record.state, record.execution_ref, record.stale_after) == (State.DISPATCHED, None, 2 * timeout)
        assert await stage.claimed(id_, "runs/lost") is not None


@pytest.mark.parametrize("how", ["drain", "abort"])
async def test_a_worker_that_leaves_stores_the_references_of_what_it_started(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "drain":  # the drain timeout counts, as for tasks that run
        monkeypatch.setattr(worker_module, "_LAST_WRITE", 0.0)
    async with staged() as stage:
        stage.elsewhere.gate = asyncio.Event()
        (id_,) = await stage.enqueue()
        async with stage.worker() as running:
            await stage.until(lambda: stage.elsewhere.dispatched)
            getattr(running.worker, how)()
            await stage.enqueue()
            asyncio.get_running_loop().call_later(0.1, stage.elsewhere.gate.set)
            await within(running.run)
        assert (await stage.stored(id_)).execution_ref == f"runs/{id_}"
        assert len(stage.elsewhere.dispatched) == 1  # nothing new after the signal


async def test_two_workers_never_start_a_run_each_for_one_reservation() -> None:
    async with staged() as stage:
        ids = await stage.enqueue(300)
        async with stage.worker(name="w1"), stage.worker(name="w2"):
            for id_ in ids:
                await stage.with_ref(id_)
        assert sorted(one.id for one in stage.elsewhere.dispatched) == sorted(ids)


# Reconciling


async def dispatched(stage: Stage) -> str:
    (id_,) = await stage.enqueue()
    async with stage.worker():
        await stage.with_ref(id_)
    return id_


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.VANISHED])
async def test_a_run_that_ended_without_a_claim_gives_its_task_back(state: RunState) -> None:
    async with staged() as stage:
        id_ = await dispatched(stage)
        stage.elsewhere.states[f"runs/{id_}"] = state
        await stage.reconcile()
        assert (await stage.stored(id_)).state is State.DISPATCHED  # it was heard of a moment ago
        await stage.later(31)
        await stage.reconcile()
        record = await stage.stored(id_)
        assert (record.state, record.attempt, record.recoveries) == (State.PENDING, 0, 1)
        assert record.error is not None
        assert f"runs/{id_}" in record.error
    assert stage.elsewhere.ended == []  # it has ended already


async def test_a_job_that_never_claims_comes_to_an_end() -> None:
    async with staged(max_recoveries=2) as stage:
        (id_,) = await stage.enqueue()
        stage.elsewhere.states[f"runs/{id_}"] = RunState.FAILED
        for _ in range(3):
            async with stage.worker():
                await stage.in_state(State.DISPATCHED, id_)
                await stage.with_ref(id_)
            await stage.later(31)
            await stage.reconcile()
        record = await stage.stored(id_)
        assert (record.state, record.recoveries) == (State.FAILED, 2)
        assert record.error is not None
        assert "max_recoveries" in record.error


@pytest.mark.parametrize("state", [RunState.ACTIVE, None, "raise"])
async def test_a_run_of_which_nothing_bad_is_known_keeps_its_task(state: Any) -> None:
    async with staged() as stage:
        id_ = await dispatched(stage)
        if state is not None:
            stage.elsewhere.states["raise" if state == "raise" else f"runs/{id_}"] = state
        before = await stage.stored(id_)
        await stage.later(31)
        await stage.reconcile()
        after = await stage.stored(id_)
        assert (after.state, after.fence) == (State.DISPATCHED, before.fence)
        assert stage.elsewhere.asked == [f"runs/{id_}"]
        await stage.reconcile()
        assert stage.elsewhere.asked == [f"runs/{id_}"]  # it was heard of
        assert after.heartbeat_at is not None
        assert before.heartbeat_at is not None
        assert after.heartbeat_at > before.heartbeat_at


async def test_a_reservation_that_ran_out_is_free() -> None:
    async with staged() as stage:
        stage.elsewhere.answer = lambda _: Failed("the reply was lost", Outlook.UNCLEAR)
        (id_,) = await stage.enqueue()
        async with stage.worker():
            await stage.in_state(State.DISPATCHED, id_)
        reserved = await stage.stored(id_)
        await stage.later(59)
        await stage.reconcile()
        assert await stage.stored(id_) == reserved
        await stage.later(2)
        await stage.reconcile()
        record = await stage.stored(id_)
        assert (record.state, record.recoveries, record.fence) == (State.PENDING, 1, reserved.fence + 1)
        assert stage.elsewhere.asked == []
        late = Want(worker="run", limit=1, tasks=(reserved.held,), stale_after=60)
        assert await stage.service.operations.claim(late) == []


async def test_a_reconciler_that_died_holds_the_next_one_up_for_three_looks() -> None:
    async with staged() as stage:
        (id_,) = await stage.enqueue()
        await stage.reconcile("dies")
        await stage.service.operations.claim(
            Want(worker="d", limit=1, execution_backends=("elsewhere",), stale_after=5.0, reserve=True)
        )
        await stage.later(20)
        await stage.reconcile("next")
        assert (await stage.stored(id_)).state is State.DISPATCHED
        await stage.later(11)
        await stage.reconcile("next")
        assert (await stage.stored(id_)).state is State.PENDING


async def test_one_reconciler_works_at_a_time() -> None:
    async with staged() as stage:
        id_ = await dispatched(stage)
        await stage.later(31)
        assert await stage.backend.inner.lock("dispatch:elsewhere", "somebody", timedelta(seconds=60))
        await stage.reconcile()
        assert stage.elsewhere.asked == []
        await stage.backend.inner.unlock("dispatch:elsewhere", "somebody")
        await stage.reconcile()
        assert stage.elsewhere.asked == [f"runs/{id_}"]


async def test_a_task_that_is_claimed_while_its_run_is_looked_up_stays_with_its_run() -> None:
    async with staged() as stage:
        id_ = await dispatched(stage)
        await stage.later(31)
        claimed: list[TaskRecord | None] = []

        async def status(refs: Collection[str]) -> Mapping[str, RunState]:
            claimed.append(await stage.claimed(id_))
            return dict.fromkeys(refs, RunState.SUCCEEDED)  # a service may be ahead of its own runs

        stage.elsewhere.status = status  # type: ignore[method-assign]
        await stage.reconcile()
        assert await stage.stored(id_) == claimed[0]


# Cancelling, expiry, recovery


async def test_cancelling_a_task_ends_its_run() -> None:
    async with staged() as stage:
        id_ = await dispatched(stage)
        assert (await stage.service.cancel(id_)).status is State.CANCELLED
        await stage.until(lambda: stage.elsewhere.ended)
        running = await dispatched(stage)
        await stage.claimed(running)
        await stage.service.cancel(running)
        await stage.until(lambda: len(stage.elsewhere.ended) == 2)
        assert stage.elsewhere.ended == [f"runs/{id_}", f"runs/{running}"]


async def test_a_service_that_closes_ends_the_runs_of_cancelled_tasks_first() -> None:
    stage = Stage()
    async with stage.service:
        id_ = await dispatched(stage)
        await stage.service.cancel(id_)
    assert stage.elsewhere.ended == [f"runs/{id_}"]
    assert (stage.elsewhere.opened, stage.elsewhere.closed) == (1, 1)


async def test_a_task_that_expires_while_it_is_dispatched_has_its_run_ended() -> None:
    async with staged() as stage:
        (id_,) = await stage.enqueue(expires_in=120)
        async with stage.worker():
            await stage.with_ref(id_)
        await stage.later(121)
        assert [one.id for one in await stage.service.operations.expire_overdue()] == [id_]
        await stage.until(lambda: stage.elsewhere.ended)
        assert (await stage.stored(id_)).state is State.EXPIRED


async def test_a_run_that_went_silent_is_ended_when_its_task_is_recovered() -> None:
    async with staged() as stage:
        id_ = await dispatched(stage)
        await stage.claimed(id_)
        await stage.later(61)
        recovered = await stage.service.operations.recover_stale(timedelta(seconds=60))
        assert [one.id for one in recovered.requeued] == [id_]
        await stage.until(lambda: stage.elsewhere.ended)
        async with stage.worker():
            again = await stage.with_ref(id_)
            await stage.in_state(State.DISPATCHED, id_)
        assert again.attempt == 0


async def test_what_ends_well_ends_no_run() -> None:
    async with staged() as stage:
        id_ = await dispatched(stage)
        claimed = await stage.claimed(id_)
        assert claimed is not None
        await stage.service.operations.apply([Move(claimed, Complete("1"))])
        assert (await stage.stored(id_)).execution_ref == f"runs/{id_}"
    assert stage.elsewhere.ended == []


# Configuration


async def test_what_cannot_be_dispatched_is_refused_at_enqueue() -> None:
    async with staged() as stage:
        with pytest.raises(InvalidTaskError, match=r"'render' cannot be enqueued: no profile 'huge'.*'large'"):
            await stage.enqueue(execution_profile="huge")
        with pytest.raises(InvalidTaskError, match=r"unknown execution backend 'elswhere'.*did you mean 'elsewhere'"):
            await stage.enqueue(execution_backend="elswhere")
        with pytest.raises(
            InvalidTaskError, match=r"'cloudrun' is not configured.*CloudRunExecutionConfig.*extra 'cloudrun'"
        ):
            await stage.enqueue(execution_backend="cloudrun")
        assert stage.backend.inner.tasks == {}


async def test_a_queue_backend_without_dispatch_refuses_remote_tasks_with_the_typed_error() -> None:
    class Plain(WatchedBackend):
        name = "plain"
        dispatches = False

    async with staged(backend=Plain()) as stage:
        with pytest.raises(DispatchNotSupportedError, match="plain cannot keep tasks that run elsewhere"):
            await stage.enqueue()
        with pytest.raises(DispatchNotSupportedError):
            async with stage.worker():
                pass
        assert (await stage.service.enqueue("render", execution_backend="local")).is_new


async def test_where_no_other_process_sees_the_tasks_none_is_dispatched(caplog: pytest.LogCaptureFixture) -> None:
    async with staged() as stage:
        stage.backend.process_local = True
        (id_,) = await stage.enqueue()
        here = await stage.service.enqueue("render", execution_backend="local")
        async with stage.worker():
            assert (await within(here.wait())).status is State.COMPLETED
        assert (await stage.stored(id_)).state is State.PENDING
        assert "tasks for 'elsewhere' wait: the queue backend watched keeps them inside this process" in caplog.text


async def test_the_first_of_several_execution_backends_is_that_of_tasks_that_name_none() -> None:
    elsewhere = Elsewhere()
    stage = Stage(execution_backend=("local", elsewhere))
    async with stage.service:
        here, there = await stage.enqueue(), await stage.enqueue(execution_backend="elsewhere")
        assert (await stage.stored(here[0])).execution_backend == "local"
        assert (await stage.stored(there[0])).execution_backend == "elsewhere"


async def test_a_claim_by_queue_never_takes_a_dispatched_task() -> None:
    async with staged() as stage:
        id_ = await dispatched(stage)
        assert await stage.service.operations.claim(Want(worker="w", limit=9)) == []
        record = await stage.stored(id_)
        assert record.evolve() == record
        cancelled = (await stage.service.operations.apply([Move(record, Cancel())])).stored[0]
        assert cancelled.execution_ref == f"runs/{id_}"
        assert Claim("w").execution_ref is None


async def test_a_service_that_takes_some_of_a_batch_is_not_asked_again_at_once() -> None:
    async with staged() as stage:
        stage.elsewhere.answer = lambda r: Failed("quota", Outlook.FOR_NOW) if r.priority else Started(f"runs/{r.id}")
        put_off = await stage.enqueue(2, priority=5)
        (last,) = await stage.enqueue()
        async with stage.worker():
            await stage.with_ref(last)
            await stage.in_state(State.PENDING, *put_off)
        assert len(stage.elsewhere.dispatched) == 3


async def test_a_slow_call_holds_up_no_other_one() -> None:
    async with staged() as stage:
        gate = asyncio.Event()
        real = stage.elsewhere.dispatch

        async def dispatch(tasks: Sequence[TaskRecord]) -> list[Answer]:
            answers = await real(tasks)
            if any(one.priority for one in tasks):
                await gate.wait()
            return answers

        stage.elsewhere.dispatch = dispatch  # type: ignore[method-assign]
        slow = await stage.enqueue(25, priority=1)
        fast = await stage.enqueue(25)
        async with stage.worker():
            for id_ in fast:
                await stage.with_ref(id_)
            assert (await stage.stored(slow[0])).execution_ref is None
            gate.set()
            await stage.with_ref(slow[0])
