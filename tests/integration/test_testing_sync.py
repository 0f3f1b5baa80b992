"""What `QueueTester` promises tests without an event loop."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from shop_lab import (
    chain,
    every_backend,
    flaky,
    forever,
    later,
    make_app,
    make_service,
    order,
    parent,
    refuse,
    stuck,
    welcome,
)

from litestar_queues import InvalidTaskError, QueueError, State, TaskArgumentError, UnknownTaskError, Worker
from litestar_queues.records import Want
from litestar_queues.testing import DrainError, QueueTester

NUMBER = uuid.UUID(int=7)


@pytest.fixture
def tester() -> Any:
    with QueueTester(make_service()) as tester:
        yield tester


@every_backend
def test_a_test_of_an_application_finds_what_a_handler_enqueued_and_runs_it(
    tmp_path: Path, backend: Callable[[Path], Any], queue_tester: QueueTester
) -> None:
    with TestClient(make_app(backend(tmp_path), in_app_worker=True)) as client:
        id_ = client.post("/signup/ada").text
        client.post(f"/order/{NUMBER}")
        first, second = queue_tester.enqueued()
        assert (first.id, first.name, first.arguments, first.state) == (
            id_, "welcome", {"address": "ada", "language": "en"}, State.PENDING,
        )  # fmt: skip
        assert (second.args, second.kwargs, second.queue, second.retries) == ((NUMBER,), {}, "orders", 2)
        assert second.key == f"order-{NUMBER}"
        assert timedelta(seconds=50) < second.delay <= timedelta(seconds=60)
        queue_tester.assert_enqueued(welcome, "ada")
        queue_tester.assert_enqueued(order.using(delay=60, key=f"order-{NUMBER}", queue="orders"), NUMBER)
        queue_tester.refute_enqueued(welcome, "bob")

        assert [task.result for task in queue_tester.drain()] == ["ada:en"]
        (ran,) = drained = queue_tester.drain(with_scheduled=True)
        assert (ran.name, ran.result, drained.attempts, drained.waiting) == ("order", str(NUMBER), 1, ())
        found = queue_tester.get(id_)
        assert found is not None
        assert (found.state, found.result) == (State.COMPLETED, "ada:en")
        assert queue_tester.get("nosuch") is None
        queue_tester.assert_enqueued(welcome, "ada")
        assert queue_tester.enqueued(state=State.PENDING) == []


def test_tasks_are_listed_by_name_queue_and_state(tester: QueueTester) -> None:
    for call in (welcome.call("a"), order.call(NUMBER), welcome.using(queue="mail", delay=60).call("b")):
        tester.enqueue(call)
    assert [task.args for task in tester.enqueued(welcome)] == [("a",), ("b",)]
    assert [task.args for task in tester.enqueued("order")] == [(NUMBER,)]
    assert [task.args for task in tester.enqueued(queue="mail")] == [("b",)]
    assert [task.args for task in tester.enqueued(state=(State.SCHEDULED, State.FAILED))] == [("b",)]
    assert [task.args for task in tester.enqueued(state="scheduled")] == [("b",)]  # type: ignore[arg-type]
    with pytest.raises(UnknownTaskError, match="close to it: welcome"):
        tester.enqueued("welcom")


def test_a_filter_that_could_never_match_is_refused(tester: QueueTester) -> None:
    for state in ("wating", ["wating"], 3):
        with pytest.raises(QueueError, match=r"is no state of a task: the states are pending, "):
            tester.enqueued(state=state)  # type: ignore[arg-type]
    with pytest.raises(QueueError, match="the name of one queue"):
        tester.enqueued(queue=["mail"])  # type: ignore[arg-type]
    for wrong in (welcome.call("a"), len):
        with pytest.raises(TaskArgumentError, match="takes a task or its name, not "):
            tester.enqueued(wrong)  # type: ignore[arg-type]
    with pytest.raises(QueueError, match=r"not the text 'mail': write \['mail'\]"):
        tester.drain(queues="mail")  # a text is a sequence of texts, for type checkers
    with pytest.raises(QueueError, match=r"not the text 'mail': write \['mail'\]"):
        tester.run(lambda: tester.service.stats("mail"))


def test_arguments_are_compared_by_value_with_defaults_filled_in(tester: QueueTester) -> None:
    tester.enqueue(order.call(NUMBER, express=True))
    for args, kwargs in (((NUMBER, True), {}), ((), {"number": NUMBER, "express": True}), ((ANY, True), {})):
        (found,) = tester.assert_enqueued("order", *args, **kwargs)
        assert found.arguments == {"number": NUMBER, "express": True}
    tester.assert_enqueued(order)
    tester.assert_enqueued(order.call(NUMBER, True), count=1)
    tester.enqueue(order.call(uuid.UUID(int=9)))
    tester.assert_enqueued(order.call(uuid.UUID(int=9), False), count=1)
    tester.assert_enqueued(order, uuid.UUID(int=9))
    tester.refute_enqueued(order, NUMBER)
    tester.refute_enqueued(order, uuid.UUID(int=8), True)
    for wrong in ((7,), (NUMBER, 1), (), (NUMBER, True, 3)):
        with pytest.raises(TaskArgumentError):
            tester.refute_enqueued(order.call(*wrong))  # type: ignore[arg-type]


def test_a_failing_assertion_lists_the_nearest_tasks_with_what_differs(tester: QueueTester) -> None:
    tester.enqueue(welcome.using(priority=3).call("bob"))
    tester.enqueue(welcome.call("eve", "de"))
    tester.enqueue(order.call(NUMBER))
    with pytest.raises(AssertionError) as failed:
        tester.assert_enqueued(welcome.using(priority=5), "ada")
    text = str(failed.value).splitlines()
    assert text[0] == "welcome(address='ada', language='en') with priority=5 is not enqueued; enqueued instead:"
    assert text[1] == "  welcome(address='bob', language='en'): pending, queue 'default', priority 3"
    assert [line.strip() for line in text[2:4]] == ["address: 'bob', not 'ada'", "priority: 3, not 5"]
    assert "language: 'de', not 'en'" in str(failed.value)
    assert text[-1].startswith("  order(number=UUID(")
    with pytest.raises(AssertionError, match=r"welcome\(address='bob'.*is enqueued 1 times"):
        tester.refute_enqueued(welcome, "bob")
    with pytest.raises(AssertionError, match="is enqueued 1 times, not 2"):
        tester.assert_enqueued(welcome.call("bob"), count=2)


def test_an_assertion_about_an_empty_queue_says_that_nothing_is_there(tester: QueueTester) -> None:
    tester.refute_enqueued(welcome)
    with pytest.raises(AssertionError, match=r"welcome\(\.\.\.\) is not enqueued; nothing is enqueued"):
        tester.assert_enqueued(welcome)


def test_stated_options_have_to_fit(tester: QueueTester) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    said = {
        "queue": "mail", "priority": 2, "retries": 4, "timeout": 9.0, "key": "k", "delay": 60, "expires_in": 600,
        "metadata": {"by": "ada", "n": 1}, "description": "a mail",
    }  # fmt: skip
    other = {
        "queue": "post", "priority": 0, "retries": 3, "timeout": 8.0, "key": "l", "delay": 90, "expires_in": 700,
        "metadata": {"n": True}, "description": "mail",
    }  # fmt: skip
    tester.enqueue(welcome.using(**said).call("a"))
    tester.assert_enqueued(welcome.using(**said), "a")
    for name, value in said.items():
        tester.assert_enqueued(welcome.using(**{name: value}).call("a"), count=1)
        with pytest.raises(AssertionError, match=f"{name.partition('_')[0]}"):
            tester.assert_enqueued(welcome.using(**{name: other[name]}), "a")
    tester.enqueue(welcome.using(run_after=soon, unique_by="arguments").call("b"))
    tester.assert_enqueued(welcome.using(run_after=soon, unique_by="arguments"), "b")
    tester.refute_enqueued(welcome.using(run_after=soon + timedelta(seconds=1)), "b")
    tester.refute_enqueued(welcome.using(unique_by="task"), "b")


def test_stated_options_have_to_fit_where_they_are_those_of_the_task_too(tester: QueueTester) -> None:
    tester.enqueue(order.using(queue="mail", retries=0).call(NUMBER))
    tester.assert_enqueued(order.call(NUMBER), count=1)
    for stated in (order.using(queue="orders"), order.using(retries=2)):
        tester.refute_enqueued(stated, NUMBER)
        tester.refute_enqueued(stated.call(NUMBER))
        tester.refute_enqueued(tester.service.prepare(stated.call(NUMBER)))


def test_a_drain_runs_what_tasks_enqueue_and_says_what_failed(tester: QueueTester) -> None:
    for call in (chain.call(3), refuse.call(), flaky.call(2)):
        tester.enqueue(call)
    drained = tester.drain()
    assert [task.name for task in drained] == ["chain", "refuse", "flaky", "chain", "chain", "chain"]
    assert ([task.name for task in drained.failed], len(drained.completed)) == (["refuse"], 4)
    assert [(task.name, task.state) for task in drained.waiting] == [("flaky", State.SCHEDULED)]
    assert "6 tasks in 6 attempts: 4 completed, 1 failed, 1 scheduled" in str(drained)
    assert "refuse(): failed, queue 'default', NonRetryableError: no" in str(drained)
    drained = tester.drain(with_scheduled=True)
    assert [(task.name, task.result, task.attempt) for task in drained] == [("flaky", 2, 2)]
    assert not tester.drain(with_scheduled=True)


def test_a_drain_raises_on_failures_where_that_is_wanted(tester: QueueTester) -> None:
    tester.enqueue(flaky.call(9))
    with pytest.raises(DrainError) as failed:
        tester.drain(with_scheduled=True, raises=True)
    assert isinstance(failed.value, AssertionError)
    assert "1 of 1 tasks failed" in str(failed.value)
    assert "attempt 3 is too early" in str(failed.value)
    assert "Traceback" in str(failed.value)


def test_a_drain_of_tasks_without_end_stops_and_names_them(tester: QueueTester) -> None:
    tester.enqueue(forever.call())
    with pytest.raises(DrainError, match=r"did not finish within 20 attempts: forever \(21 times\)"):
        tester.drain(limit=20)
    assert [task.attempt for task in tester.enqueued(state=State.PENDING)] == [0], "the last one was given back"
    assert tester.enqueued(state=State.RUNNING) == []
    tester.enqueue(later.call(60))
    with pytest.raises(DrainError, match="later"):
        tester.drain(with_scheduled=True, limit=20)


def test_a_drain_that_hangs_ends_gives_the_task_back_and_names_it(tester: QueueTester) -> None:
    id_ = tester.enqueue(stuck.call()).id
    with pytest.raises(DrainError, match=rf"running: stuck \(task {id_}\)"):
        tester.drain(timeout=0.05)
    found = tester.get(id_)
    assert found is not None
    assert (found.state, found.attempt) == (State.PENDING, 0)


def test_a_task_that_waits_for_another_has_it_run(tester: QueueTester) -> None:
    tester.enqueue(parent.call())
    assert [(task.name, task.result) for task in tester.drain()] == [("parent", "child:en"), ("welcome", "child:en")]
    tester.enqueue(parent.call(3600))
    assert [task.name for task in tester.drain(with_scheduled=True)] == ["parent", "welcome"]


def test_a_drain_of_some_queues_leaves_the_others(tester: QueueTester) -> None:
    tester.enqueue(welcome.call("a"))
    tester.enqueue(order.call(NUMBER))
    assert [task.name for task in tester.drain(queues=["orders"])] == ["order"]
    assert [task.name for task in tester.drain(with_scheduled=True, queues=["nosuch"])] == []


def test_a_drain_moves_time_only_for_itself(tester: QueueTester) -> None:
    tester.enqueue(welcome.using(delay=86_400).call("a"))
    before = tester.service.clock.now()
    assert len(tester.drain(with_scheduled=True)) == 1
    assert tester.service.clock.now() - before < timedelta(hours=1)
    tester.enqueue(welcome.using(expires_at=before + timedelta(minutes=9)).call("b"))
    assert len(tester.drain()) == 1


@every_backend
def test_time_moves_and_what_was_scheduled_expires_or_goes_stale_follows(
    tmp_path: Path, backend: Callable[[Path], Any]
) -> None:
    with QueueTester(make_service(backend(tmp_path))) as tester:
        tester.enqueue(welcome.using(delay=3600).call("delayed"))
        tester.enqueue(welcome.using(delay=10, expires_in=60).call("expires"))
        lost = tester.enqueue(flaky.call(1)).record
        assert tester.run(lambda: tester.service.operations.claim(Want(worker="gone", limit=1, tasks=(lost.held,))))
        assert not tester.drain()
        with tester.travel(timedelta(hours=1)):
            drained = tester.drain()
            assert [task.name for task in drained.recovered] == ["flaky"]
            assert [task.args for task in drained.expired] == [("expires",)]
            assert {(task.name, task.attempt, task.state) for task in drained} == {
                ("welcome", 1, State.COMPLETED), ("flaky", 1, State.COMPLETED),
            }  # fmt: skip
            assert not tester.drain()
            assert tester.maintain().deleted == frozenset()
            tester.travel(timedelta(days=8))
            assert len(tester.maintain().deleted) == 3
            assert tester.enqueued() == []
        assert abs(tester.service.clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_runs_in_this_process_is_not_taken_for_stale(queue_tester: QueueTester) -> None:
    queue_tester.release_workers()
    with TestClient(make_app(worker_poll_interval=0.01)):
        result = queue_tester.enqueue(stuck.call())
        while queue_tester.enqueued(state=State.RUNNING) == []:
            queue_tester.run(result.refresh)
        queue_tester.travel(3600)
        assert queue_tester.drain().recovered == ()
        assert queue_tester.maintain().recovered == ()
        queue_tester.run(lambda: queue_tester.service.cancel(result.id))


def test_a_task_under_test_enqueues_into_the_running_application(queue_tester: QueueTester) -> None:
    with TestClient(make_app()):
        queue_tester.perform(chain, 1)
        queue_tester.assert_enqueued(chain, 0)


def test_time_can_move_to_a_date_and_goes_on_from_there(tester: QueueTester) -> None:
    noon = datetime(2031, 6, 1, 12, tzinfo=UTC)
    tester.enqueue(welcome.using(run_after=noon + timedelta(days=1)).call("a"))
    tester.travel(noon)
    found = tester.enqueue(welcome.call("b")).record
    assert timedelta(0) <= found.created_at - noon < timedelta(minutes=1)
    tester.travel(3 * 86_400)
    assert len(tester.drain()) == 2
    for wrong in (-1, datetime(2031, 6, 1), 1e12, datetime.max.replace(tzinfo=UTC), None):  # noqa: DTZ001  # naive, on purpose
        with pytest.raises(InvalidTaskError):
            tester.travel(wrong)  # type: ignore[arg-type]


def test_in_inline_mode_tasks_have_run_when_the_handler_answers(queue_tester: QueueTester) -> None:
    with TestClient(make_app()) as client:
        with queue_tester.inline():
            found = queue_tester.get(client.post("/signup/ada").text)
            assert found is not None
            assert (found.state, found.result) == (State.COMPLETED, "ada:en")
        found = queue_tester.get(client.post("/signup/bob").text)
        assert found is not None
        assert found.state is State.PENDING


def test_the_worker_inside_the_application_waits_until_it_is_released(queue_tester: QueueTester) -> None:
    app = make_app(worker_poll_interval=0.01)
    with TestClient(app) as client:
        client.post("/signup/ada")
        (task,) = queue_tester.enqueued()
        queue_tester.release_workers()
        queue_tester.run(lambda: task.handle.wait(60))
        assert task.handle.result == "ada:en"


def test_without_a_tester_the_worker_inside_the_application_works() -> None:
    with TestClient(make_app()) as client:
        tester = QueueTester(client)
        id_ = client.post("/signup/ada").text
        found = tester.get(id_)
        assert found is not None
        tester.run(lambda: found.handle.wait(60))


def test_two_applications_are_told_apart_by_their_clients(queue_tester: QueueTester) -> None:
    with TestClient(make_app()) as one, TestClient(make_app()) as other:
        one.post("/signup/ada")
        QueueTester(one).assert_enqueued(welcome, "ada")
        QueueTester(other.app).refute_enqueued(welcome)
        with pytest.raises(QueueError, match="2 queue services are open") as unclear:
            queue_tester.enqueued()
        assert "QueueTester(client)" in "".join(unclear.value.__notes__)


def test_a_tester_without_a_running_application_says_what_is_missing(queue_tester: QueueTester) -> None:
    with pytest.raises(QueueError, match="no queue service is open") as missing:
        queue_tester.enqueued()
    assert "inside `with TestClient(app)`" in "".join(missing.value.__notes__)
    with pytest.raises(QueueError, match="does not run"):
        QueueTester(TestClient(make_app())).enqueued()
    with pytest.raises(QueueError, match="Litestar is no queue service"):
        QueueTester(Litestar()).enqueued()
    with pytest.raises(QueueError, match="not open: use `with QueueTester"):
        QueueTester(make_service()).enqueued()


def test_what_is_no_async_function_raises_at_once_instead_of_hanging(tester: QueueTester) -> None:
    with pytest.raises(QueueError, match=r"an async function.*not the coroutine of QueueService.stats.*run\(lambda: "):
        tester.run(tester.service.stats())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a coroutine was expected, got 3"):
        tester.run(lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(ZeroDivisionError):
        tester.run(lambda: 1 / 0)  # type: ignore[arg-type, return-value]


def test_a_service_without_an_application_is_opened_and_closed_by_its_tester() -> None:
    service = make_service()
    with QueueTester(service) as tester:
        tester.enqueue(welcome.call("ada"))
        assert service.home is not None
        assert len(tester.drain()) == 1
    assert service.home is None
    assert not [one for one in threading.enumerate() if "portal" in one.name.lower()]


def test_what_a_test_changed_is_undone_at_its_end() -> None:
    service = make_service()
    with QueueTester(service) as tester:
        backend = service.operations.backend
        with QueueTester(service) as inner:
            inner.travel(60)
            inner.inline()
            assert inner.enqueue(welcome.call("ada")).result == "ada:en"
        assert service.operations.backend is backend
        assert service.clock.offset == timedelta(0)
        assert tester.enqueue(welcome.call("ada")).status is State.PENDING


def test_a_change_that_begins_inside_another_ends_with_it(tester: QueueTester) -> None:
    service = tester.service
    with QueueTester(service) as inner:
        with inner.travel(10):
            journey = inner.travel(100)
        assert service.clock.offset == timedelta(0)
        journey.end()
        assert service.clock.offset == timedelta(0)
        with inner.inline(), inner.inline():
            inner.inline()
    assert service.clock.offset == timedelta(0)
    assert tester.enqueue(welcome.call("ada")).status is State.PENDING


def test_a_service_that_was_closed_on_a_journey_is_back_when_it_opens_again() -> None:
    service = make_service()
    for tester in (QueueTester(service), QueueTester(service)):
        with tester:
            assert service.clock.offset == timedelta(0)
            tester.travel(50)


def test_a_worker_that_a_test_starts_itself_is_not_held(tester: QueueTester) -> None:
    result = tester.enqueue(welcome.call("ada"))

    async def work() -> None:
        import asyncio

        worker = Worker(tester.service)
        running = asyncio.get_running_loop().create_task(worker.run())
        await result.wait(60)
        worker.abort()
        await running

    tester.run(work)
    assert result.result == "ada:en"
