"""The worker process of a soak: it polls, runs small tasks and enqueues, and reports what it holds, a line each time.

`python soak/worker.py NAME CONFIG SECONDS`: the target, the store as JSON, and the seconds between two reports.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from pathlib import Path
from typing import Any

CHAINS = 10
"""Tasks that are there at any time; each enqueues the next."""
PAUSE = 0.02


def held() -> dict[str, int]:
    """What this process holds, by the operating system and by Python."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    gc.collect()
    return {
        "rss": int(status["VmRSS"].split()[0]),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": int(status["Threads"]),
        "objects": len(gc.get_objects()),
    }


async def main(name: str, config: dict[str, Any], seconds: float) -> None:
    """Work until the parent ends this process."""
    from litestar_queues import QueueConfig, QueueService, task  # noqa: PLC0415  # the path is set only now
    from litestar_queues.task import TaskRegistry  # noqa: PLC0415
    from litestar_queues.worker import Worker  # noqa: PLC0415
    from soak.places import backend_config  # noqa: PLC0415

    registry = TaskRegistry()
    done = 0
    queue = QueueConfig(queue_backend=backend_config(name, config), worker_poll_interval=0.05, maintenance_interval=5)
    service = QueueService(queue, registry=registry)

    @task("soak.small", registry=registry)
    async def small(number: int) -> int:
        nonlocal done
        done += 1
        await asyncio.sleep(PAUSE)
        await service.enqueue(small, number + 1)
        return number

    async with service:
        for number in range(CHAINS):
            await service.enqueue(small, number)
        working = asyncio.create_task(Worker(service).run())
        while not working.done():
            await asyncio.sleep(seconds)
            sys.stdout.write(json.dumps({**held(), "tasks": done}) + "\n")
            sys.stdout.flush()
        await working


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])))
