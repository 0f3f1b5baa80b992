"""How fast the queue is on a server, beside a bare driver that does the same writes to a table like the queue's.

Subject and floor alternate in one run, several rounds each; what is printed are medians and their ratios. Absolute
figures say something of the machine, ratios something of the code.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.adapters import adapters_of, service_on
from bench.backlogs import claim_costs
from bench.common import drain, noop, percentile
from bench.cpu import Cpu, ServerProcesses
from bench.floors import Floor, floor_of
from bench.plans import print_plans
from bench.proxy import CountingProxy
from litestar_queues import QueueService, Worker, task
from litestar_queues_matrix.servers import Server, ServerUnavailable, start

__all__ = ("PARTS", "main")

PARTS = ("rates", "pickup", "trips", "backlogs", "plans")
QUEUE, FLOOR = "bench_queue", "bench_floor"
_NAMES = {"postgres": "postgresql"}
_started: list[float] = []
_start_seen = asyncio.Event()


@task("bench.stamp")
async def stamp() -> None:
    """Say when it started."""
    _started.append(time.perf_counter())
    _start_seen.set()


@dataclass(frozen=True, slots=True)
class Taken:
    """What some tasks took, per second and in microseconds of CPU per task."""

    rate: float
    ours: float
    server: float | None


async def take(tasks: int, processes: ServerProcesses, work: Callable[[], Awaitable[object]]) -> Taken:
    """Measure."""
    before, began = processes.read(), time.perf_counter()
    await work()
    seconds, spent = time.perf_counter() - began, processes.read().since(before)
    return Taken(tasks / seconds, *_per_task(spent, tasks))


def _per_task(spent: Cpu, tasks: int) -> tuple[float, float | None]:
    return spent.ours / tasks * 1e6, None if spent.server is None else spent.server / tasks * 1e6


Pairs = dict[str, list[tuple[Taken, Taken]]]


async def make_tables(url: str, adapter: str) -> Floor:
    """Both tables anew, the floor's with a task in it."""
    floor = await floor_of(url, FLOOR)
    await floor.drop(QUEUE, FLOOR)
    async with service_on(url, adapter, FLOOR) as service:
        await service.enqueue(noop, 1)
    await floor.refresh()
    return floor


async def enqueue_batches(service: QueueService, tasks: int) -> None:
    """In writes of 1,000."""
    for first in range(0, tasks, 1000):
        await service.enqueue_many([noop.call(first + number) for number in range(1000)])


async def one_round(url: str, adapter: str, tasks: int, found: Pairs) -> None:
    """Each measure once."""
    processes = ServerProcesses(url)
    floor = await make_tables(url, adapter)
    singles = max(tasks // 10, 100)

    async def singly(service: QueueService) -> None:
        for number in range(singles):
            await service.enqueue(noop.call(number))

    async def compare(
        name: str, tasks: int, ours: Callable[[], Awaitable[object]], bare: Callable[[], Awaitable[object]]
    ) -> None:
        pair = (await take(tasks, processes, ours), await take(tasks, processes, bare))
        found.setdefault(name, []).append(pair)

    async with service_on(url, adapter, QUEUE) as service:
        await service.stats()  # connects
        await compare("enqueue, one by one", singles, lambda: singly(service), lambda: floor.enqueue_singly(singles))
        await compare(
            "enqueue_many of 1,000",
            tasks,
            lambda: enqueue_batches(service, tasks),
            lambda: floor.enqueue_in_batches(tasks, 1000),
        )
        total = tasks + singles
        await compare("drain, concurrency 10", total, lambda: drain(service, total, 10), lambda: floor.drain(10))
        await enqueue_batches(service, tasks)
        await floor.enqueue_in_batches(tasks, 1000)
        await compare("drain, concurrency 100", tasks, lambda: drain(service, tasks, 100), lambda: floor.drain(100))
    await floor.close()


async def rates(console: Console, url: str, adapter: str, tasks: int, rounds: int) -> dict[str, Any]:
    """Rates beside the floor."""
    found: Pairs = {}
    for _ in range(rounds):
        await one_round(url, adapter, tasks, found)
    floor = await floor_of(url, FLOOR)
    table = Table(
        "",
        "queue, tasks/s",
        f"{floor.name}, tasks/s",
        "ratio",
        "CPU per task, us: ours + server",
        "bare: ours + server",
        title=f"{adapter}: rates, {rounds} rounds of {tasks:,}",
    )
    await floor.close()
    report: dict[str, Any] = {}
    for name, pairs in found.items():
        ours, bare = _medians([one for one, _ in pairs]), _medians([other for _, other in pairs])
        ratio = statistics.median(one.rate / other.rate for one, other in pairs)
        report[name] = {"queue": round(ours.rate), "floor": round(bare.rate), "ratio": round(ratio, 3)}
        table.add_row(name, f"{ours.rate:,.0f}", f"{bare.rate:,.0f}", f"{ratio:.2f}", _cpu(ours), _cpu(bare))
    console.print(table)
    return report


def _medians(taken: list[Taken]) -> Taken:
    servers = [one.server for one in taken if one.server is not None]
    return Taken(
        statistics.median(one.rate for one in taken),
        statistics.median(one.ours for one in taken),
        statistics.median(servers) if servers else None,
    )


def _cpu(taken: Taken) -> str:
    return f"{taken.ours:.0f} + {'?' if taken.server is None else f'{taken.server:.0f}'}"


async def pickup(console: Console, url: str, adapter: str, times: int = 200) -> dict[str, Any]:
    """From the enqueue, by a service that knows nothing of the worker's, to the start of the function."""
    floor = await make_tables(url, adapter)
    table = Table("", "p50, ms", "p99, ms", title=f"{adapter}: idle pickup, enqueue to start")
    latencies: list[float] = []
    async with service_on(url, adapter, QUEUE) as serving, service_on(url, adapter, QUEUE) as enqueuing:
        worker = Worker(serving)
        running = asyncio.create_task(worker.run())
        await worker.started.wait()
        for _ in range(times):
            await asyncio.sleep(random.uniform(0.02, 0.08))  # noqa: S311  # spread
            _started.clear()
            _start_seen.clear()
            began = time.perf_counter()
            await enqueuing.enqueue(stamp)
            await _start_seen.wait()
            latencies.append(_started[0] - began)
        worker.drain()
        await running
        kind = "polling" if serving.operations.backend.wakeups is None else "wakeups"
    rows = {f"the queue, by {kind}": latencies}
    if (bare := await floor.notice(times)) is not None:
        rows["a bare notification"] = bare
    await floor.close()
    report: dict[str, Any] = {}
    for name, values in rows.items():
        p50, p99 = percentile(values, 0.5) * 1000, percentile(values, 0.99) * 1000
        report[name] = {"p50": round(p50, 2), "p99": round(p99, 2)}
        table.add_row(name, f"{p50:.1f}", f"{p99:.1f}")
    console.print(table)
    return report


async def trips(console: Console, url: str, adapter: str, tasks: int) -> dict[str, Any]:
    """Round trips, counted between the driver and the server."""
    floor = await make_tables(url, adapter)
    table = Table("", "round trips", "per task", title=f"{adapter}: round trips, counted on the wire")
    report: dict[str, Any] = {}
    async with CountingProxy(url) as proxy, service_on(proxy.url, adapter, QUEUE) as service:
        await service.enqueue(noop.call(0))
        await drain(service, 1)

        async def count(name: str, tasks: int, work: Callable[[], Awaitable[object]]) -> None:
            before = proxy.round_trips
            await work()
            made = proxy.round_trips - before
            report[name] = {"round trips": made, "per task": round(made / tasks, 4)}
            table.add_row(name, f"{made:,}", f"{made / tasks:.4f}")

        async def singly() -> None:
            for number in range(100):
                await service.enqueue(noop.call(number))

        await count("enqueue, one by one, 100 times", 100, singly)
        await drain(service, 100)
        for concurrency in (10, 100):
            await count(f"enqueue_many of 1,000, {tasks // 1000} times", tasks, lambda: enqueue_batches(service, tasks))
            draining = partial(drain, service, tasks, concurrency)
            await count(f"drain of {tasks:,}, concurrency {concurrency}", tasks, draining)
    await floor.close()
    console.print(table)
    return report


async def measure(console: Console, server: Server, args: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for."""
    known = adapters_of(server.url)
    adapters: list[str] = args.adapter or known[:1]
    if not known or set(adapters) - set(known):
        raise SystemExit(f"{server.row.name} is reached by {', '.join(known) or 'no adapter yet'}")
    parts = set(args.only or PARTS)
    gc.collect()
    gc.freeze()  # as a worker's process does
    tasks: int = args.tasks or 5_000
    default = [1_000, 100_000, 1_000_000] if server.url.startswith("postgresql") else [1_000, 100_000]
    backlogs: list[int] = default if args.backlogs is None else args.backlogs
    report: dict[str, Any] = {"server": server.version(), "tasks": tasks, "rounds": args.rounds}
    console.print(server.version())
    for adapter in adapters:
        figures: dict[str, Any] = {}
        report[adapter] = figures
        if "rates" in parts:
            figures["rates"] = await rates(console, server.url, adapter, tasks, args.rounds)
        if "pickup" in parts:
            figures["pickup"] = await pickup(console, server.url, adapter)
        if "trips" in parts:
            figures["round trips"] = await trips(console, server.url, adapter, tasks)
    if "backlogs" in parts and backlogs:
        report["backlogs"] = await claim_costs(console, server.url, adapters[0], backlogs)
    if "plans" in parts and server.url.startswith("postgresql"):
        report["plans"] = await print_plans(console, server.url, adapters[0])
    return report


async def main(args: argparse.Namespace) -> int:
    """Start the server, measure, print, stop it."""
    console = Console(width=160)
    asked: str = args.server
    name = _NAMES.get(asked, asked)
    try:
        server = await asyncio.to_thread(start, name)
    except ServerUnavailable as error:
        console.print(f"{name}: {error}")
        return 2
    try:
        report = await measure(console, server, args)
    finally:
        await asyncio.to_thread(server.stop)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0
