from __future__ import annotations

import asyncio
import copy
import pickle
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from queue_lab import Lab, WatchedBackend, open_lab, within

from litestar_queues import (
    BackendUnavailableError,
    EncodingError,
    KeyHeldError,
    MissingDependencyError,
    QueueConfig,
    QueueConfigurationError,
    QueueError,
    QueueService,
    State,
    TaskArgumentError,
    TaskError,
    TaskFailedError,
    TaskNotFinishedError,
    TaskNotFoundError,
    TaskRegistry,
    TaskResult,
    TaskStateError,
    WaitTimeoutError,
    current_task,
    non_retryable,
    register_queue_backend,
    snooze,
)
from litestar_queues.backends.memory import MemoryBackend, MemoryBackendConfig
from litestar_queues.clock import StoreClock
from litestar_queues.lifecycle import IllegalTransition
from litestar_queues.records import NewTask, Want, admit

pytestmark = pytest.mark.anyio


def with_add(lab: Lab) -> Any:
    @lab.task("add")
    def add(a: int, b: int = 1) -> int:
        return a + b

    return add


async def finish(lab: Lab, task_id: str, result: str = "5") -> None:
    """Do what a worker in another process would do: this service does not hear of it."""
    inner = lab.backend.inner
    (task,) = await inner.claim(Want(worker="w", limit=1, tasks=((await inner.get([task_id]))[task_id].held,)))
    done = task.evolve(state=State.COMPLETED, fence=2, result=result, finished_at=await inner.now(), heartbeat_at=None)
    assert await inner.commit([done])


async def test_a_task_is_enqueued_by_object_name_call_and_itself() -> None:
    async with open_lab() as lab:
        add = with_add(lab)
        results = [
            await lab.service.enqueue(add, 1, b=2),
            await lab.service.enqueue("add", 1, b=2),
            await lab.service.enqueue(add.call(1, b=2)),
            await lab.service.enqueue(add.using(priority=3).call(1, b=2)),
            await add.enqueue(1, b=2),
            await add.using(queue="mail").enqueue(1, b=2),
        ]
        records = [await lab.stored(result.id) for result in results]
        assert {(r.name, r.args, r.kwargs, r.state) for r in records} == {("add", "[1]", '{"b":2}', State.PENDING)}
        assert ([r.priority for r in records], records[5].queue) == ([0, 0, 0, 3, 0, 0], "mail")
        assert len({r.id for r in records}) == 6
        assert all(result.is_new and result.status is State.PENDING for result in results)
        assert [r.id for r in records] == sorted(r.id for r in records), "ids grow with time"


async def test_enqueue_many_stores_everything_in_one_write_and_answers_in_order() -> None:
    async with open_lab() as lab:
        add = with_add(lab)
        results = await lab.service.enqueue_many([add.using(key="k" if n % 2 else None).call(n) for n in range(4)])
        assert [r.is_new for r in results] == [True, True, True, False]
        assert results[3].id == results[1].id
        assert [(await lab.stored(r.id)).args for r in results] == ["[0]", "[1]", "[2]", "[1]"]
        assert len(lab.backend.of("enqueue_many")) == 1
        assert await lab.service.enqueue_many([]) == []


async def test_nothing_of_a_batch_is_stored_where_the_store_is_away() -> None:
    async with open_lab() as lab:
        add = with_add(lab)
        lab.backend.away.add("enqueue_many")
        with pytest.raises(BackendUnavailableError):
            await lab.service.enqueue_many([add.call(1), add.call(2)])
        assert await lab.backend.inner.count() == []
        assert lab.events == []


async def test_the_active_holder_of_a_key_is_the_answer() -> None:
    async with open_lab() as lab:
        add = with_add(lab)
        first = await lab.service.enqueue(add, 1, key="k")
        second = await lab.service.enqueue(add, 2, key="k", priority=9)
        assert (second.id, second.is_new, second.record) == (first.id, False, first.record)
        await lab.service.cancel(first.id)
        third = await lab.service.enqueue(add, 2, key="k")
        assert (third.is_new, third.id != first.id) == (True, True)


async def test_a_task_is_found_by_its_id_or_not_at_all() -> None:
    async with open_lab() as lab:
        first = await lab.service.enqueue(with_add(lab), 1)
        found = await lab.service.get(first.id)
        assert found is not None
        assert (found.id, found.record, found.is_new) == (first.id, first.record, False)
        assert await lab.service.get("nosuch") is None
        assert repr(found) == f"<TaskResult {first.id} 'add' pending>"


async def test_cancel_and_retry_answer_with_the_task_as_it_is_then() -> None:
    async with open_lab() as lab:
        first = await lab.service.enqueue(with_add(lab), 1, key="k")
        cancelled = await lab.service.cancel(first.id)
        assert (cancelled.status, cancelled.is_finished, first.status) == (State.CANCELLED, True, State.PENDING)
        assert (await first.refresh()).status is State.CANCELLED
        assert (await lab.service.retry(first.id)).status is State.PENDING
        with pytest.raises(TaskStateError):
            await lab.service.retry(first.id)
        await lab.service.cancel(first.id)
        await lab.service.enqueue("add", 2, key="k")
        with pytest.raises(KeyHeldError):
            await lab.service.retry(first.id)
        for change in (lab.service.cancel, lab.service.retry):
            with pytest.raises(TaskNotFoundError):
                await change("nosuch")


async def test_stats_count_every_state_of_every_queue_asked_for() -> None:
    async with open_lab() as lab:
        add = with_add(lab)
        for queue, delay in (("b", 0), ("a", 0), ("a", 60)):
            await lab.service.enqueue(add, 1, queue=queue, delay=delay)
        stats = await lab.service.stats()
        assert list(stats.queues) == ["a", "b"]
        assert stats.queues["a"] == {s: int(s in (State.PENDING, State.SCHEDULED)) for s in State}
        assert (stats.totals[State.PENDING], stats.totals[State.SCHEDULED], stats.totals[State.FAILED]) == (2, 1, 0)
        assert (await lab.service.stats(["b", "c"])).totals[State.PENDING] == 1


class Box(msgspec.Struct):
    id: uuid.UUID
    at: datetime


BOX = Box(uuid.UUID(int=5), datetime(2030, 1, 1, tzinfo=UTC))


async def test_a_result_is_read_as_the_return_annotation_has_it() -> None:
    async with open_lab(execution_backend="immediate") as lab:

        @lab.task("pack")
        def pack(box: Box) -> list[Box]:
            return [box]

        result = await lab.service.enqueue(pack, BOX)
        assert (result.result, result.error, result.attempt) == ([BOX], None, 1)
        elsewhere: TaskResult[Any] = TaskResult(QueueService(registry=TaskRegistry()), result.record)
        assert elsewhere.result == [{"id": str(BOX.id), "at": "2030-01-01T00:00:00Z"}]
        assert result.to_dict()["result"] == elsewhere.result
        assert result.to_dict()["args"] == elsewhere.result
        assert result.to_dict()["error"] is None


async def test_a_result_that_does_not_fit_its_annotation_is_a_typed_error() -> None:
    async with open_lab(execution_backend="immediate") as lab:

        @lab.task("lie")
        def lie() -> int:
            return "no number"  # type: ignore[return-value]

        result = await lab.service.enqueue(lie)
        assert result.status is State.COMPLETED
        with pytest.raises(
            EncodingError, match=r"does not fit the return annotation of 'lie': Expected `int`, got `str`"
        ):
            _ = result.result
        assert result.record.result == '"no number"'


async def test_an_error_is_read_back_whole() -> None:
    async with open_lab(execution_backend="immediate") as lab:

        @lab.task("break")
        def breaks() -> None:
            raise ValueError("why")

        result = await lab.service.enqueue(breaks)
        assert isinstance(result.error, TaskError)
        assert (result.status, str(result.error), result.result) == (State.FAILED, "ValueError: why", None)
        assert 'raise ValueError("why")' in (result.error.traceback or "")


async def test_waiting_ends_when_another_process_ends_the_task() -> None:
    async with open_lab() as lab:
        result = await lab.service.enqueue(with_add(lab), 1)
        waiting = asyncio.ensure_future(result.wait(5))
        await lab.until(lambda: lab.backend.of("get"))
        await finish(lab, result.id)
        assert await within(waiting) is result
        assert (result.status, result.result) == (State.COMPLETED, 5)


async def test_waiting_for_what_is_finished_asks_nobody() -> None:
    async with open_lab() as lab:
        result = await lab.service.cancel((await lab.service.enqueue(with_add(lab), 1)).id)
        lab.backend.calls.clear()
        assert await result.wait(0) is result
        assert lab.backend.calls == []


async def test_whoever_waits_hears_at_once_of_an_end_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litestar_queues.service._FIRST_LOOK", 1000.0)
    async with open_lab() as lab:
        result = await lab.service.enqueue(with_add(lab), 1)
        waiters = [asyncio.ensure_future(result.wait()) for _ in range(3)]
        await lab.until(lambda: len(lab.backend.of("get")) == 3)
        await lab.service.cancel(result.id)
        for waiter in waiters:
            assert (await within(waiter)).status is State.CANCELLED
        assert lab.service._waiting == {}


async def test_a_wait_that_takes_too_long_says_so_and_changes_nothing() -> None:
    async with open_lab() as lab:
        result = await lab.service.enqueue(with_add(lab), 1, queue="mail")
        with pytest.raises(WaitTimeoutError) as late:
            await within(result.wait(0.01))
        assert isinstance(late.value, TimeoutError)
        assert f"task {result.id} (add) was still pending after 0.01 s" in str(late.value)
        assert "a worker serves the queue 'mail'" in str(late.value)
        assert ((await lab.stored(result.id)).state, lab.service._waiting) == (State.PENDING, {})


async def test_waiting_for_a_deleted_task_is_an_error() -> None:
    async with open_lab() as lab:
        result = await lab.service.enqueue(with_add(lab), 1)
        cancelled = await lab.service.cancel(result.id)
        await lab.backend.inner.delete([cancelled.record.held])
        with pytest.raises(TaskNotFoundError, match="is not stored any more: retention has deleted it"):
            await within(result.wait())


async def test_an_immediate_task_has_run_when_enqueue_returns() -> None:
    async with open_lab(execution_backend="immediate") as lab:
        results = await lab.service.enqueue_many([with_add(lab).call(1), lab.registry.get("add").call(2, 3)])
        assert [(r.status, r.result, r.attempt) for r in results] == [(State.COMPLETED, 2, 1), (State.COMPLETED, 5, 1)]
        assert results[0].record.worker == "immediate"


async def test_one_task_can_be_immediate_where_others_are_not() -> None:
    async with open_lab() as lab:
        add = with_add(lab)
        assert (await lab.service.enqueue(add, 1, execution_backend="immediate")).result == 2
        assert (await lab.service.enqueue(add, 1)).status is State.PENDING


async def test_an_immediate_task_is_retried_at_once_until_its_budget_is_spent() -> None:
    async with open_lab(execution_backend="immediate") as lab:
        attempts: list[int] = []

        @lab.task("flaky", retries=3)
        def flaky(good: int) -> str:
            attempts.append(current_task().attempt)
            if current_task().attempt < good:
                raise ValueError
            return "done"

        result = await within(lab.service.enqueue(flaky, 3))
        assert (result.status, result.result, attempts) == (State.COMPLETED, "done", [1, 2, 3])
        attempts.clear()
        result = await within(lab.service.enqueue(flaky, 9))
        assert (result.status, attempts) == (State.FAILED, [1, 2, 3, 4])


async def test_an_immediate_task_that_must_not_be_retried_is_not() -> None:
    async with open_lab(execution_backend="immediate") as lab:
        lab.task("pay", retries=3)(lambda: non_retryable("card refused"))
        result = await within(lab.service.enqueue("pay"))
        assert (result.status, result.attempt) == (State.FAILED, 1)


async def test_an_immediate_task_that_is_delayed_or_snoozed_waits_for_a_worker() -> None:
    async with open_lab(execution_backend="immediate") as lab:
        assert (await lab.service.enqueue(with_add(lab), 1, delay=60)).status is State.SCHEDULED
        for delay, state in ((60, State.SCHEDULED), (0, State.PENDING)):
            lab.task(f"later{delay}")(lambda delay=delay: snooze(delay))
            result = await within(lab.service.enqueue(f"later{delay}"))
            assert (result.status, result.attempt) == (state, 0)


async def test_an_immediate_task_whose_key_is_held_does_not_run() -> None:
    async with open_lab() as lab:
        add = with_add(lab)
        first = await lab.service.enqueue(add, 1, key="k")
        second = await lab.service.enqueue(add, 2, key="k", execution_backend="immediate")
        assert (second.id, second.status) == (first.id, State.PENDING)


async def test_an_immediate_task_whose_caller_is_cancelled_is_given_back() -> None:
    async with open_lab(execution_backend="immediate") as lab:
        begun = asyncio.Event()

        @lab.task("hang", retries=0)
        async def hang() -> None:
            begun.set()
            await asyncio.Event().wait()

        enqueue = asyncio.ensure_future(lab.service.enqueue(hang))
        await within(begun.wait())
        enqueue.cancel()
        with pytest.raises(asyncio.CancelledError):
            await enqueue
        (record,) = lab.backend.inner.tasks.values()
        assert (record.state, record.attempt, record.heartbeat_at) == (State.PENDING, 0, None)


async def test_an_immediate_task_that_takes_long_keeps_its_heartbeat_and_its_progress() -> None:
    async with open_lab(execution_backend="immediate", worker_heartbeat_interval=0.01) as lab:

        @lab.task("long")
        async def long() -> None:
            current_task().progress(0.5, "half")
            lab.backend.away.add("touch_heartbeats")
            await lab.until(lambda: lab.backend.of("touch_heartbeats"))
            lab.backend.away.clear()
            await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) > 2)

        result = await within(lab.service.enqueue(long))
        beats = len(lab.backend.of("touch_heartbeats"))
        assert result.status is State.COMPLETED
        assert result.progress is not None
        assert (result.progress.done, result.progress.message) == (0.5, "half")
        assert beats > 2


async def test_a_service_has_to_be_open_and_says_so() -> None:
    service = QueueService(QueueConfig())
    for use in (service.enqueue("x"), service.get("x"), service.stats()):
        with pytest.raises(QueueError):
            await use
    with pytest.raises(QueueError, match="this queue service is not open: use `async with QueueService"):
        _ = service.operations


async def test_opening_and_closing_twice_is_harmless() -> None:
    backend = WatchedBackend()
    service = QueueService(QueueConfig(queue_backend=backend))
    await service.open()
    await service.open()
    assert len(backend.of("open")) == 1
    await service.close()
    await service.close()
    assert len(backend.of("close")) == 1


async def test_a_store_that_fails_while_it_is_opened_is_closed_again() -> None:
    backend = WatchedBackend()
    backend.away.add("now")
    service = QueueService(QueueConfig(queue_backend=backend))
    with pytest.raises(BackendUnavailableError):
        await service.open()
    assert len(backend.of("close")) == 1
    backend.away.clear()
    async with service:
        assert service.operations.backend is backend


async def test_a_store_is_made_from_a_name_a_config_or_is_given() -> None:
    backend = MemoryBackend()
    for given in ("memory", MemoryBackendConfig(), backend):
        async with QueueService(QueueConfig(queue_backend=given)) as service:
            assert isinstance(service.operations.backend, MemoryBackend)
            assert (service.operations.backend is backend) is (given is backend)


def test_a_third_partys_backend_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litestar_queues.backends.registry._FACTORIES", {"memory": MemoryBackend})
    register_queue_backend("mine", MemoryBackend)
    assert isinstance(QueueConfig(queue_backend="mine").create_backend(), MemoryBackend)
    for taken in ("mine", "memory", "sqlspec"):
        with pytest.raises(QueueConfigurationError, match="exists already"):
            register_queue_backend(taken, MemoryBackend)


async def test_time_is_the_stores_however_wrong_this_machines_clock_is() -> None:
    backend = MemoryBackend()
    wrong = await backend.now() + timedelta(days=400)

    async def now() -> datetime:
        return wrong

    backend.now = now  # type: ignore[method-assign]
    clock = StoreClock()
    with pytest.raises(RuntimeError, match="never read: call sync"):
        clock.now()
    await clock.sync(backend)
    assert timedelta(0) <= clock.now() - wrong < timedelta(seconds=5)
    assert clock.now() <= clock.now()


async def test_a_value_is_what_the_function_returned() -> None:
    async with open_lab(execution_backend="immediate") as lab:
        add = with_add(lab)

        @lab.task("nothing")
        def nothing() -> None: ...

        assert (await lab.service.enqueue(add, 1, b=2)).value() == 3
        done = await lab.service.enqueue(nothing)
        assert (done.value(), await done.wait(raises=True)) == (None, done)


async def test_no_value_is_taken_for_none() -> None:
    async with open_lab() as lab:
        add = with_add(lab)
        pending = await lab.service.enqueue(add, 1)
        with pytest.raises(TaskNotFinishedError, match=rf"task {pending.id} \(add\) has no result yet, it was pending"):
            pending.value()
        running = await lab.service.enqueue(add, 1)
        await lab.backend.inner.claim(Want(worker="w", limit=1, tasks=(running.record.held,)))
        with pytest.raises(TaskNotFinishedError, match=r"it was running when last looked at: await result.wait"):
            (await running.refresh()).value()
        cancelled = await lab.service.cancel(pending.id)
        with pytest.raises(TaskFailedError, match=rf"task {pending.id} \(add\) has no result, it is cancelled$"):
            cancelled.value()
        with pytest.raises(TaskFailedError) as caught:
            await within(pending.wait(raises=True))
        failed = caught.value
        assert (failed.status, failed.error, failed.task_id, failed.task_name) == (
            State.CANCELLED, None, pending.id, "add",
        )  # fmt: skip
        assert pending.status is State.CANCELLED


async def test_a_failure_is_raised_with_what_was_stored_of_it() -> None:
    async with open_lab(execution_backend="immediate") as lab:

        @lab.task("break")
        def breaks() -> None:
            raise ValueError("why")

        result = await lab.service.enqueue(breaks)
        assert await result.wait() is result, "nothing is raised unless it is asked for"
        for call in (result.value, result._raise_if_failed):
            with pytest.raises(
                TaskFailedError, match="it is failed; the error of its last attempt: ValueError: why"
            ) as caught:
                call()
            assert caught.value.error == result.error
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.error, again.status) == (str(caught.value), caught.value.error, State.FAILED)
        await lab.service.retry(result.id)
        assert (await result.refresh()).status is State.PENDING
        with pytest.raises(TaskNotFinishedError):
            result.value()


async def test_sync_immediate_tasks_inside_each_other_need_no_thread_to_be_free() -> None:
    async with open_lab(execution_backend="immediate", worker_max_threads=1) as lab:

        @lab.task("count")
        def count(down: int) -> int:
            if down == 0:
                return 0
            return 1 + int(current_task().run_async(lambda: lab.service.enqueue(count, down - 1)).value())

        @lab.task("forever")
        def forever() -> None:
            results.append(current_task().run_async(lambda: lab.service.enqueue(forever)))

        results: list[TaskResult[Any]] = []
        assert (await within(lab.service.enqueue(count, 5))).value() == 5
        await within(lab.service.enqueue(forever))
        assert str(results[0].error) == (
            "RecursionError: 100 sync tasks run inside each other: does an immediate task enqueue itself?"
        )


async def test_every_error_is_pickled_and_copied_with_its_text_and_attributes() -> None:
    record = admit(NewTask(id="t1", name="n"), datetime(2030, 1, 1, tzinfo=UTC))
    errors: list[Exception] = [
        MissingDependencyError("pyarrow", "arrow"),
        IllegalTransition(record, "complete", "it is 'pending'"),
        TaskFailedError("n", "t1", State.CANCELLED),
    ]
    for error in errors:
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


async def test_an_expired_task_has_no_value() -> None:
    async with open_lab() as lab:
        result = await lab.service.enqueue(with_add(lab), 1)
        result._record = msgspec.structs.replace(result.record, state=State.EXPIRED)
        with pytest.raises(TaskFailedError, match=r"it is expired$"):
            result.value()


async def test_a_value_that_does_not_fit_or_is_deleted_is_not_guessed() -> None:
    async with open_lab(execution_backend="immediate") as lab:

        @lab.task("lie")
        def lie() -> int:
            return None  # type: ignore[return-value]

        result = await lab.service.enqueue(lie)
        with pytest.raises(EncodingError, match="does not fit the return annotation of 'lie'"):
            result.value()
        kept = await lab.service.enqueue(with_add(lab), 1)
        await lab.backend.inner.delete([kept.record.held])
        assert kept.value() == 2, "what was read stays read"
        with pytest.raises(TaskNotFoundError):
            await kept.refresh()


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        (lambda add: [add], "takes calls of tasks, task.call(...), not <SyncTask 'add'> without arguments"),
        (lambda add: [add.call(1), add.using(delay=3)], "not <TaskTemplate 'add' using delay=3> without arguments"),
        (lambda add: add.call(1), "takes several calls, such as a list, not one"),
        (lambda _: ["add"], "not str"),
        (lambda _: [lambda: 3], "not function: put @task on the function"),
    ],
    ids=["a task", "a template", "one call", "a name", "a function"],
)
async def test_enqueue_many_takes_calls_alone(calls: Any, words: str) -> None:
    async with open_lab() as lab:
        with pytest.raises(TaskArgumentError) as refused:
            await lab.service.enqueue_many(calls(with_add(lab)))
        assert words in str(refused.value)
        assert await lab.backend.inner.count() == []


async def test_a_task_that_was_called_instead_of_enqueued_is_pointed_out() -> None:
    async with open_lab() as lab:

        @lab.task("send")
        async def send(address: str) -> None: ...

        coroutine: Any = send("ada")
        with pytest.raises(
            TaskArgumentError, match="not a coroutine: the function was called here; pass the task, and its"
        ):
            await lab.service.enqueue(coroutine)


async def test_a_parameter_named_session_is_not_mistaken_for_the_option() -> None:
    async with open_lab() as lab:

        @lab.task("uses")
        def uses(session: str = "") -> None: ...

        for form in (uses, uses.using(delay=3), "uses"):
            with pytest.raises(
                TaskArgumentError, match="session is a parameter of task 'uses' and an option of enqueue"
            ):
                await lab.service.enqueue(form, session="a")


async def test_a_key_that_another_functions_task_holds_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with open_lab() as lab:
        add = with_add(lab)

        @lab.task("other")
        def other() -> str:
            return ""

        first = await lab.service.enqueue(add.using(key="k"), 1)
        assert (await lab.service.enqueue(add.using(key="k"), 2)).id == first.id
        assert caplog.messages == [], "a key is there to keep a function's own tasks apart"
        assert not (await lab.service.enqueue(other.using(key="k"))).is_new
        (message,) = caplog.messages
        assert all(part in message for part in ("'other'", "'k'", first.id, "'add'"))
