"""The nightly report: what it reports on, when it runs, and how an operator runs it."""

from datetime import UTC, datetime, timedelta

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from litestar_queues import TaskTemplate
from litestar_queues.testing import QueueTester, perform
from shop.tasks import report


def fired(at: str) -> TaskTemplate[..., str]:
    """The report as a schedule enqueues it."""
    return report.using(metadata={"litestar_queues.schedule": "shop.report", "litestar_queues.fire": at})


@pytest.mark.anyio
async def test_a_report_is_about_the_day_before_its_fire() -> None:
    assert (await perform(fired("2026-03-29T01:00+00:00"))).value == "report of 1 days until 2026-03-28"
    new_year = await perform(fired("2026-12-31T23:30+00:00"), days=7)
    assert new_year.value == "report of 7 days until 2026-12-31", "the day in Berlin counts"


def test_the_report_runs_at_three_in_summer_and_in_winter(
    client: TestClient[Litestar], queue_tester: QueueTester
) -> None:
    schedules = queue_tester.service.schedules
    queue_tester.run(schedules.sync)
    assert [one.name for one in queue_tester.run(schedules.list)] == ["shop.report", "shop.report.weekly"]
    autumn = datetime(2026, 10, 23, 12, tzinfo=UTC)
    fires = queue_tester.run(lambda: schedules.preview("shop.report", 4, after=autumn))
    assert [f"{one.local:%d %H:%M %z}" for one in fires] == [
        "24 03:00 +0200",
        "25 03:00 +0100",
        "26 03:00 +0100",
        "27 03:00 +0100",
    ]


def test_nights_without_workers_are_reported_on_later(client: TestClient[Litestar], queue_tester: QueueTester) -> None:
    with queue_tester.travel(timedelta(days=3)):
        drained = queue_tester.drain(queues=["documents"], raises=True)
        daily = [str(one.result) for one in drained if one.arguments == {"days": 1}]
    assert len(daily) == len(set(daily)) > 1


def test_an_operator_runs_the_report_now(client: TestClient[Litestar], queue_tester: QueueTester) -> None:
    schedules = queue_tester.service.schedules
    queue_tester.run(schedules.sync)
    queue_tester.run(lambda: schedules.run_now("shop.report.weekly"))
    queue_tester.assert_enqueued(report.using(queue="documents").call(7), count=1)
    (done,) = queue_tester.drain(raises=True)
    assert str(done.result).startswith("report of 7 days until ")
    stored = queue_tester.run(lambda: schedules.get("shop.report.weekly"))
    assert stored is not None
    assert stored.last_status == "completed"
