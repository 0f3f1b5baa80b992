"""How the server goes about the statements of a worker: the plan of each, at 100 and 1,000 rows, on tables of all kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.adapters import service_on
from bench.floors import PostgresFloor
from litestar_queues.backends.sql.engine import Engine
from litestar_queues.backends.sql.families import POSTGRES, statements_of
from litestar_queues.backends.sql.program import Call, Program, Rows, advance
from litestar_queues.clock import SystemClock
from litestar_queues.lifecycle import Complete, step
from litestar_queues.operations import Move
from litestar_queues.records import TaskRecord, Want

__all__ = ("print_plans",)

TABLE = "bench_plans"
SHAPES: Mapping[str, tuple[int, bool, bool]] = {
    "small, never analysed": (2_000, False, False),
    "small, analysed": (2_000, True, False),
    "large, never analysed": (100_000, False, False),
    "large, analysed": (100_000, True, False),
    "large, bloated, never analysed": (100_000, False, True),
    "large, bloated, analysed": (100_000, True, True),
}
"""Tasks, whether the server has statistics, and whether there are twice as many dead rows as living ones."""

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_NODE = re.compile(r"^\s*(?:->\s*)?(?P<node>[A-Z].*?)\s+\((?:actual|never)")
_TIME = re.compile(r"Execution Time: (?P<ms>[\d.]+) ms")


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _prepared(call: Call) -> tuple[str, str]:
    """The statement with numbered parameters, and their values."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    text = _PARAMETER.sub(number, call.statement.text)
    return text, ", ".join(_literal(call.parameters[name]) for name in names)


async def _explain(floor: PostgresFloor, program: Program[Any]) -> dict[str, list[str]]:
    """The plans of a program's statements, by the names of those; none brings rows, and nothing stays written."""
    plans: dict[str, list[str]] = {}
    steps = program.start()
    call = advance(steps)
    while isinstance(call, Call):
        plans[call.statement.name] = await floor.explain(*_prepared(call))
        call = advance(steps, Rows())
    return plans


def _nodes(plan: list[str]) -> str:
    """The nodes of a plan in a line, the outermost first."""
    return " < ".join(found["node"].replace(TABLE, "") for line in plan if (found := _NODE.match(line)))


def _milliseconds(plan: list[str]) -> float:
    return next(float(found["ms"]) for line in plan if (found := _TIME.search(line)))


async def print_plans(console: Console, url: str, adapter: str) -> dict[str, Any]:
    """The plans in lines; what reads the whole table in one of them says `Seq Scan`."""
    floor = await PostgresFloor.open(url, TABLE)
    engine = POSTGRES.engine(POSTGRES, statements_of(POSTGRES, TABLE), SystemClock(), table=TABLE)
    report: dict[str, Any] = {}
    table = Table("statement", "rows", "table", "ms", "plan", title="plans of prepared statements", show_lines=True)
    lines: dict[tuple[str, int, str], list[tuple[str, float]]] = {}
    for shape, (size, analysed, bloated) in SHAPES.items():
        await floor.execute(f"DROP TABLE IF EXISTS {TABLE}, {TABLE}_lock")
        async with service_on(url, adapter, TABLE) as service:
            await floor.fill("pending", size)
            if bloated:
                await floor.bloat()
            if analysed:
                await floor.analyse()
            running = await service.operations.backend.claim(Want(worker="bench", limit=1_000))
            for rows in (100, 1_000):
                for name, plan in (await _plans(floor, engine, running[:rows], rows)).items():
                    lines.setdefault((name, rows, _nodes(plan)), []).append((shape, _milliseconds(plan)))
                    report[f"{name}, {rows} rows, {shape}"] = plan
    for (name, rows, nodes), shapes in sorted(lines.items()):
        names, times = zip(*shapes, strict=True)
        table.add_row(name, f"{rows:,}", "\n".join(names), "\n".join(f"{ms:.1f}" for ms in times), nodes)
    console.print(table)
    await floor.execute(f"DROP TABLE {TABLE}, {TABLE}_lock")
    await floor.close()
    return report


async def _plans(floor: PostgresFloor, engine: Engine, running: list[TaskRecord], limit: int) -> dict[str, list[str]]:
    moves = [Move(record, Complete("1")) for record in running]
    after = [step(move.task, move.event, move.task.due_at) for move in moves]
    programs: tuple[Program[Any], ...] = (
        engine.claim(Want(worker="bench", limit=limit), None),
        engine.claim(Want(worker="bench", limit=limit, queues=("default", "other")), None),
        engine.commit(after, None),
        engine.touch_heartbeats([record.held for record in running], None),
    )
    plans: dict[str, list[str]] = {}
    for program in programs:
        plans |= await _explain(floor, program)
    return plans
