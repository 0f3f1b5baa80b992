"""What `docs/how-to/schedules.md` shows: its samples, its commands with their output, and its tables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from textwrap import dedent
from zoneinfo import ZoneInfo

import msgspec
import pytest
from page_lab import PAGES, ROOT, WARNINGS, blocks, run_sample

from litestar_queues import QueueConfig, Schedules
from litestar_queues.cli import queues_group
from litestar_queues.cli.schedules import schedules_group
from litestar_queues.schedules.fires import fires
from litestar_queues.schedules.health import EXIT_LATE, EXIT_NEVER
from litestar_queues.schedules.model import Definition, Template
from litestar_queues.schedules.options import ScheduleSettings
from litestar_queues.schedules.spec import EPOCH, ScheduleSpec

PAGE = "docs/how-to/schedules.md"
APP, AT_RUN_TIME, EVENTS = blocks(PAGE, "python")
[PREVIEWS] = blocks(PAGE, "console")


def litestar(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the application of the page."""
    command = [sys.executable, "-m", "litestar", "--app", "app:app", *arguments]
    environment = {**os.environ, "PYTHONWARNINGS": WARNINGS, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def rows(head: str) -> list[list[str]]:
    """The cells of the tables that begin with this head."""
    found = re.findall(rf"^\| {re.escape(head)} \|.*\n\|[-|]+\n((?:^\|.*\n)+)", PAGES[PAGE], flags=re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for table in found for row in table.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("shown", re.split(r"^\$ ", PREVIEWS, flags=re.MULTILINE)[1:], ids=["spring", "autumn"])
def test_the_previews_are_those_of_the_application(folder: Path, shown: str) -> None:
    command, _, table = shown.partition("\n")
    done = litestar(folder, *command.split()[1:])
    assert (done.stdout, done.returncode) == (table, 0), done.stderr


def test_an_operator_looks_after_the_schedules_of_the_application(folder: Path) -> None:
    assert litestar(folder, "queues", "scheduler-health").returncode == EXIT_NEVER
    done = litestar(folder, "queues", "schedules", "sync")
    assert done.stdout.split() == ["shop.report", "shop.report.weekly", "shop.stock"]
    for change in ("pause", "run", "resume", "remove"):
        done = litestar(folder, "queues", "schedules", change, "shop.report")
        assert done.returncode == 0, done.stderr
    done = litestar(
        folder, "queues", "schedules", "create", "fortnight", "shop.report", "--cron", "@weekly", "--args", "[14]"
    )
    assert done.returncode == 0, done.stderr
    listed = msgspec.json.decode(litestar(folder, "queues", "schedules", "--json").stdout)
    assert [one["name"] for one in listed] == ["fortnight", "shop.report.weekly", "shop.stock"]
    done = litestar(folder, "queues", "schedules", "pause", "shop.report")
    assert (done.returncode, "no schedule 'shop.report'" in done.stderr) == (1, True)


def test_the_application_reports_on_each_night_that_passed(tmp_path: Path) -> None:
    nights = """
        import asyncio
        from datetime import timedelta
        from litestar_queues import QueueService
        from litestar_queues.testing import AsyncQueueTester

        async def main() -> None:
            async with QueueService(QueueConfig()) as service, AsyncQueueTester(service) as tester:
                with tester.travel(timedelta(days=3)):
                    drained = await tester.drain(queues=["documents"], raises=True)
                    print(*(one.result for one in drained if one.arguments["days"] == 1), sep="\\n")
                await report.enqueue(5)
                print(*(one.result for one in await tester.drain(raises=True)))

        asyncio.run(main())
    """
    *nightly, by_hand = run_sample(tmp_path, APP + dedent(nights)).stdout.splitlines()
    assert len(nightly) == len(set(nightly)) > 1
    assert all(line.startswith("report of 1 days until ") for line in nightly)
    assert by_hand.startswith("report of 5 days until ")


def test_the_schedules_of_customers(tmp_path: Path) -> None:
    customers = """
        import asyncio
        from litestar_queues import QueueConfig, QueueService, ScheduleNotFoundError
        from litestar_queues.testing import AsyncQueueTester

        async def main() -> None:
            async with QueueService(QueueConfig()) as service, AsyncQueueTester(service) as tester:
                print(await remind_each_morning(service, "ada", "Asia/Tokyo"))
                with tester.travel(24 * 3600):
                    print(*(one.result for one in await tester.drain(raises=True)))
                await remind_on_workdays(service, "ada")
                print((await service.schedules.get("remind-ada")).definition.spec)
                await forget(service, "ada")
                try:
                    await forget(service, "ada")
                except ScheduleNotFoundError as error:
                    print(error)

        asyncio.run(main())
    """
    made, reminded, changed, gone = run_sample(tmp_path, AT_RUN_TIME + dedent(customers)).stdout.splitlines()
    assert made == "remind-ada fires at 22:00 UTC"
    assert reminded == "ada: water the plants"
    assert changed == "0 7 * * mon-fri Asia/Tokyo"
    assert gone.startswith("no schedule 'remind-ada' is stored")


def test_the_sink_warns_of_late_fires(tmp_path: Path) -> None:
    late = """
        import asyncio
        from dataclasses import replace
        from litestar_queues import QueueService, TaskRegistry, task
        from litestar_queues.testing import AsyncQueueTester

        registry, seen = TaskRegistry(), []

        @task("tick", interval=3600, registry=registry)
        async def tick() -> None: ...

        async def main() -> None:
            with_look = replace(config, event_sinks=[*config.event_sinks, seen.append])
            async with QueueService(with_look, registry=registry) as service, AsyncQueueTester(service) as tester:
                with tester.travel(3 * 3600):
                    await tester.drain()
            print([(one.schedule, one.late > 30) for one in seen if one.kind == "fire"])

        asyncio.run(main())
    """
    done = run_sample(tmp_path, EVENTS + dedent(late))
    assert done.stdout == "[('tick', True)]\n"
    assert re.search(r"tick fired \d+ s late", done.stderr)


# Tables


def test_the_page_has_every_option_with_its_default() -> None:
    shown = {name.strip("`"): default.strip("`").strip('"') for name, default, _ in rows("option")}
    spec, definition = ScheduleSpec(interval=1), Definition(template=Template(task="t"), spec=ScheduleSpec(interval=1))
    expected = {"cron": "", "interval": "", "anchor": f"{EPOCH:%Y-%m-%d}, UTC"}
    for name in ScheduleSettings.__struct_fields__:
        value = getattr(spec, name, getattr(definition, name, None))
        expected.setdefault(name, f"{value:g}" if isinstance(value, float) else str(value))
    workers = {one.name: one.default for one in fields(QueueConfig) if one.name.startswith("schedule")}
    expected |= {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in workers.items()}
    assert shown == expected


def test_the_page_has_every_method_and_every_command() -> None:
    methods, commands = "", ""
    for method, command, _ in rows("`service.schedules`"):
        methods, commands = methods + method, commands + command
    public = {name for name in vars(Schedules) if not name.startswith("_")} - {"home"}
    assert set(re.findall(r"`(\w+)\(", methods)) == public
    assert set(re.findall(r"`([a-z]+)", commands)) == set(schedules_group.commands)


def test_the_page_has_every_exit_code_of_the_health() -> None:
    assert [int(code) for code, _ in rows("exit code")] == [0, 2, EXIT_NEVER, EXIT_LATE]
    text = " ".join((queues_group.commands["scheduler-health"].help or "").split())
    assert all(f"{code} " in text for code in (0, 2, EXIT_NEVER, EXIT_LATE))


def test_the_page_has_every_reason() -> None:
    source = "".join(
        (ROOT / "src/litestar_queues/schedules" / f"{name}.py").read_text() for name in ("model", "deciding", "firing")
    )
    named = set(re.findall(r"Skipped\(\s*\"(\w+)\"", source))
    assert {reason.strip("`") for reason, _ in rows("reason")} == named


@pytest.mark.parametrize(
    ("cron", "in_march", "in_october"),
    [
        ("30 2 * * *", ["03:00+0200"], ["02:30+0200"]),
        ("0-59/15 1 * * *", ["01:00+0100", "01:15+0100", "01:30+0100", "01:45+0100"], None),
        ("*/30 2 * * *", [], ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]),
        ("0,30 2 * * *", ["03:00+0200"], ["02:00+0200", "02:30+0200"]),
        ("0 1-4 * * *", ["01:00+0100", "03:00+0200", "04:00+0200"], ["01:00+0200", "02:00+0200", "03:00+0100", "04:00+0100"]),
    ],
)  # fmt: skip
def test_what_a_change_of_the_clock_does(cron: str, in_march: list[str], in_october: list[str] | None) -> None:
    berlin, spec = ZoneInfo("Europe/Berlin"), ScheduleSpec(cron=cron, timezone="Europe/Berlin")
    for month, day, expected in ((3, 29, in_march), (10, 25, in_october)):
        begin, end = datetime(2026, month, day, tzinfo=berlin), datetime(2026, month, day, 23, tzinfo=berlin)
        found = [f"{one.at.astimezone(berlin):%H:%M%z}" for one in fires(spec, begin, end)]
        assert expected is None or found == expected
