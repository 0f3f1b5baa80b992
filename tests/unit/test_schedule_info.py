"""What machines read of a schedule."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from litestar_queues import ScheduleInfo, ScheduleSpec, Skipped
from litestar_queues.schedules.model import Definition, Template


def test_defaults_are_there_for_machines() -> None:
    """A script that looks for `overlap` finds it whether or not somebody gave it."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    info = ScheduleInfo(
        name="nightly", task="report", queue="default", from_code=True, paused_at=None, removed_at=None, next_fire=at,
        definition=Definition(template=Template(task="report"), spec=ScheduleSpec(cron="@daily")), last=None,
        last_status=None, waiting=0, skipped=(Skipped("missed", at, at),), enqueued=0,
    )  # fmt: skip
    found = msgspec.json.decode(msgspec.json.encode(info.to_dict()))
    assert (found["when"], found["next_fire"]) == ("@daily UTC", "2030-01-01T00:00:00Z")
    assert (found["catch_up"], found["overlap"], found["misfire_grace"]) == ("once", "skip", 60.0)
    assert (found["spec"]["interval"], found["spec"]["jitter"], found["template"]["priority"]) == (None, 0.0, 0)
    assert (found["skipped"][0]["fires"], found["skipped"][0]["detail"]) == (1, None)
