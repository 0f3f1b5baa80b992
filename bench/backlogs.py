"""What a claim costs beside a backlog: tasks that are pending, scheduled, another queue's, or finished."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.adapters import service_on
from bench.common import noop, percentile
from bench.floors import KINDS, floor_of
from litestar_queues import QueueService
from litestar_queues.records import Want

__all__ = ("claim_costs",)

_ROUNDS, _BATCH = 40, 10
CLAIMS: Mapping[str, tuple[str, ...] | None] = {
    "one queue": ("default",),
    "two, one empty": ("default", "empty"),
    "any queue": None,
}


async def claim_costs(console: Console, url: str, adapter: str, sizes: list[int]) -> dict[str, Any]:
    """Milliseconds of a claim of 10, the lower quartile; the sizes take turns, claim by claim."""
    costs = Table(
        "backlog",
        "statistics",
        "claim",
        *(f"{size:,}" for size in sizes),
        *(f"{size:,} / {sizes[0]:,}" for size in sizes[1:]),
        title=f"{adapter}: a claim of {_BATCH}, ms (lower quartile of {_ROUNDS})",
    )
    report: dict[str, Any] = {}
    for kind in KINDS:
        tables = {size: f"bench_backlog_{size}" for size in sizes}
        services = {size: service_on(url, adapter, table) for size, table in tables.items()}
        floors = {size: await floor_of(url, table) for size, table in tables.items()}
        for size, service in services.items():
            await floors[size].drop(tables[size])
            await service.open()
            await floors[size].fill(kind, size)
        for known in ("never", "analysed") if floors[sizes[0]].learns else ("none",):
            if known == "analysed":
                for floor in floors.values():
                    await floor.analyse()
            for claim, queues in CLAIMS.items():
                if kind == "in another queue" and queues is None:
                    continue
                times = await _take_turns(services, kind, queues)
                ratios = [times[size] / times[sizes[0]] for size in sizes]
                report[f"{kind}, {known}, {claim}"] = {str(size): round(ms, 3) for size, ms in times.items()}
                costs.add_row(
                    kind, known, claim, *(f"{times[size]:.2f}" for size in sizes), *(f"{one:.2f}" for one in ratios[1:])
                )
        for size in sizes:
            await services[size].close()
            await floors[size].drop(tables[size])
            await floors[size].close()
    console.print(costs)
    return report


async def _take_turns(services: dict[int, QueueService], kind: str, queues: tuple[str, ...] | None) -> dict[int, float]:
    times: dict[int, list[float]] = {size: [] for size in services}
    for _ in range(_ROUNDS):
        for size, service in services.items():
            await service.enqueue_many([noop.call(number) for number in range(_BATCH)])
            began = time.perf_counter()
            claimed = await service.operations.backend.claim(Want(worker="bench", limit=_BATCH, queues=queues))
            times[size].append((time.perf_counter() - began) * 1000)
            if len(claimed) != _BATCH:
                raise RuntimeError(f"a claim of {_BATCH} beside {size} tasks {kind} gave {len(claimed)}")
    return {size: percentile(values, 0.25) for size, values in times.items()}
