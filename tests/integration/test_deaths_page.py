"""The sample of `docs/how-to/worker-deaths.md` sets how often each task is recovered."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from litestar_queues import Task

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "worker-deaths.md"


def test_the_sample_limits_the_recoveries_of_its_tasks() -> None:
    (sample,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Task] = {}
    exec(compile(sample, PAGE.name, "exec"), {"__name__": "worker_deaths"}, names)
    now = datetime.now(UTC)
    report = names["report"].call("2026-11").new_task(now)
    payment = names["payment"].call(7).new_task(now)
    assert (report.max_recoveries, payment.max_recoveries) == (10, 0)
