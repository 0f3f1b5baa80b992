"""What `docs/how-to/notifications.md` shows works when it is pasted."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from page_lab import blocks, runs_a_task

pytestmark = pytest.mark.anyio

[CODE] = blocks("docs/how-to/notifications.md", "python")


async def test_a_queue_with_a_table_of_events_runs_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(CODE, "notifications.md", "exec"), names)
    await runs_a_task(names["config"])
    connection = sqlite3.connect("queue.db")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert {"queue_events", "litestar_queue_task"} <= tables
