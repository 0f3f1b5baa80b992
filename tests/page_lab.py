"""The code of `docs/how-to/databases.md`, and a whole task through what it configures."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from litestar_queues import QueueConfig, QueueService, Worker, task
from litestar_queues.task import TaskRegistry

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "databases.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
BASIC, SHARED, MIGRATED, OWN_FLOW, HEARTBEATS, SNAPSHOT, MONITORED, HOOK, ORACLE = range(9)

registry = TaskRegistry()


@task("page.work", registry=registry)
async def work() -> int:
    return 42


def sample(number: int, url: str = "", given: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a sample defines; `url` stands in for the address that it shows."""
    code = re.sub(r'"postgresql://[^"]*"', repr(url), CODE[number]) if url else CODE[number]
    names = dict(given or {})
    exec(compile(code, f"databases.md, sample {number}", "exec"), names)
    return names


async def runs_a_task(config: QueueConfig) -> None:
    async with QueueService(config, registry=registry) as service:
        worker = Worker(service)
        running = asyncio.get_running_loop().create_task(worker.run())
        done = await (await service.enqueue(work)).wait(30)
        assert done.result == 42
        worker.abort()
        await running
