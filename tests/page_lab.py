"""The pages that users read, and whole tasks through what they configure."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from litestar_queues import QueueConfig, QueueService, Worker, task
from litestar_queues.task import TaskRegistry

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "conformance" / "README.md",
        ROOT / "matrix" / "README.md",
        ROOT / "docs" / "reference" / "glossary.md",
        *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    )
}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """The command lines of a block of the console."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


DATABASES = "docs/how-to/databases.md"
PAGE = PAGES[DATABASES]
CODE = blocks(DATABASES, "python")
BASIC, SHARED, MIGRATED, OWN_FLOW, HEARTBEATS, SNAPSHOT, MONITORED, HOOK, ORACLE = range(9)

registry = TaskRegistry()


@task("page.work", registry=registry)
async def work() -> int:
    return 42


def sample(number: int, url: str = "", given: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a sample of `databases.md` defines; `url` replaces the address that it shows."""
    names = dict(given or {})
    exec(compile(addressed(CODE[number], url), f"databases.md, sample {number}", "exec"), names)
    return names


def addressed(code: str, url: str) -> str:
    """The code with another address of PostgreSQL."""
    return re.sub(r'"postgresql://[^"]*"', repr(url), code) if url else code


async def runs_a_task(config: QueueConfig) -> None:
    async with QueueService(config, registry=registry) as service:
        worker = Worker(service)
        running = asyncio.get_running_loop().create_task(worker.run())
        done = await (await service.enqueue(work)).wait(30)
        assert done.result == 42
        worker.abort()
        await running


_OTHERS = "ignore:The declarative_mixin decorator was used:DeprecationWarning"
"""Litestar imports Advanced Alchemy where it is installed, whose own import warns on SQLAlchemy 2.1."""
STRICT = ("-W", "error", "-W", _OTHERS)
WARNINGS = f"error,{_OTHERS}"
"""The same as a value of PYTHONWARNINGS."""


def run_sample(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a sample in a process of its own, where every warning but one is an error; returns what it wrote."""
    done = subprocess.run(
        [sys.executable, *STRICT, "-c", f"import sys\nsys.path[:0] = [{str(ROOT / 'tests')!r}, '.']\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
