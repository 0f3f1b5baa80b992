"""What the conformance suite cannot know of this backend: its files, its lock, and its configuration."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from litestar_queues import (
    BackendUnavailableError,
    QueueConfig,
    QueueConfigurationError,
    QueueService,
    State,
    TaskRegistry,
    Worker,
    task,
)
from litestar_queues.records import Held, Matching, NewTask, Want
from queue_in_files import FilesBackend, FilesBackendConfig, from_environment

registry = TaskRegistry()


@task("double", registry=registry)
async def double(number: int) -> int:
    return 2 * number


@asynccontextmanager
async def opened(folder: Path, *, patience: float = 10.0) -> AsyncGenerator[FilesBackend]:
    backend = FilesBackendConfig(folder=folder, patience=patience).create_backend()
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def ids_in(backend: FilesBackend) -> set[str]:
    return {record.id for record in await backend.find(Matching(), 10_000)}


def test_what_one_process_enqueues_a_worker_in_another_runs(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from litestar_queues import QueueConfig, QueueService
from queue_in_files import FilesBackendConfig
from test_files import double, registry

async def main():
    config = QueueConfig(queue_backend=FilesBackendConfig(folder=sys.argv[1]))
    async with QueueService(config, registry=registry) as service:
        print((await service.enqueue(double, 21)).id)

asyncio.run(main())
"""
    path = [str(Path(__file__).parent), *sys.path]
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}", str(tmp_path / "queue")],
        capture_output=True,
        text=True,
        check=True,
    )

    async def work() -> tuple[State, int | None]:
        config = QueueConfig(queue_backend=FilesBackendConfig(folder=tmp_path / "queue"), worker_poll_interval=0.01)
        async with QueueService(config, registry=registry) as service:
            worker = Worker(service)
            running = asyncio.create_task(worker.run())
            result = await service.get(answer.stdout.strip())
            assert result is not None
            await result.wait(30)
            worker.drain()
            await running
            return result.status, result.result

    assert asyncio.run(work()) == (State.COMPLETED, 42)


def test_a_line_without_its_end_is_cut_off_and_all_others_count(tmp_path: Path) -> None:
    async def main() -> set[str]:
        async with opened(tmp_path) as first, opened(tmp_path) as second:
            await first.enqueue_many([NewTask(id="a", name="n")])
            with (tmp_path / "journal").open("ab") as file:
                file.write(b'{"tasks":[{"id":"torn"')  # a writer that was killed
            await second.enqueue_many([NewTask(id="b", name="n")])
            assert await ids_in(first) == {"a", "b"}
        async with opened(tmp_path) as third:
            return await ids_in(third)

    assert asyncio.run(main()) == {"a", "b"}


def test_the_journal_does_not_grow_for_ever_and_open_clients_follow(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as owner, opened(tmp_path) as reader:
            await owner.enqueue_many([NewTask(id="a", name="n")])
            [claimed] = await owner.claim(Want(worker="w", limit=1))
            await owner.lock("l", "me", timedelta(days=3000))
            assert await ids_in(reader) == {"a"}
            for _ in range(3000):
                assert await owner.touch_heartbeats([Held("a", claimed.fence)]) == {"a"}
            assert await reader.get(["a"]) == await owner.get(["a"])
            assert not await reader.lock("l", "you", timedelta(days=3000))
            assert (tmp_path / "journal").stat().st_size < 1_000_000

    asyncio.run(main())


def test_a_lock_that_is_never_given_back_is_an_unavailable_store(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, patience=0.05) as backend:
            with (tmp_path / "lock").open("ab") as other:
                fcntl.flock(other, fcntl.LOCK_EX)
                with pytest.raises(BackendUnavailableError, match=r"locked by another process for 0\.05 s"):
                    await backend.count()
            assert await backend.count() == []

    asyncio.run(main())


def test_a_folder_that_is_gone_or_cannot_be_is_an_unavailable_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def main() -> None:
        with pytest.raises(BackendUnavailableError, match="cannot be opened"):
            async with opened(tmp_path / "file"):
                pass
        async with opened(tmp_path / "queue") as backend:
            (tmp_path / "queue" / "journal").unlink()
            with pytest.raises(BackendUnavailableError, match="cannot be used"):
                await backend.count()
        with pytest.raises(BackendUnavailableError, match="is not open"):
            await backend.count()

    asyncio.run(main())


def test_a_write_that_fails_stores_nothing_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        """A file on a disk that takes ten bytes more."""

        def __init__(self, file: object) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def write(self, data: bytes) -> None:
            self.file.write(data[:10])  # type: ignore[attr-defined]
            self.file.flush()  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")

    async def main() -> set[str]:
        async with opened(tmp_path) as backend:
            await backend.enqueue_many([NewTask(id="a", name="n")])
            assert backend._journal is not None
            monkeypatch.setattr(backend._journal, "_file", Full(backend._journal._file))
            with pytest.raises(BackendUnavailableError, match="No space left"):
                await backend.enqueue_many([NewTask(id="b", name="n")])
            await backend.enqueue_many([NewTask(id="c", name="n")])
            return await ids_in(backend)

    assert asyncio.run(main()) == {"a", "c"}


def test_the_folder_comes_from_the_environment_or_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("QUEUE_FOLDER", raising=False)
    with pytest.raises(QueueConfigurationError, match="QUEUE_FOLDER, which is not set"):
        from_environment()
    monkeypatch.setenv("QUEUE_FOLDER", str(tmp_path))
    assert from_environment().name == "files"
    with pytest.raises(QueueConfigurationError, match="name the folder"):
        FilesBackendConfig(folder="").create_backend()


def test_the_clock_is_this_machines(tmp_path: Path) -> None:
    async def main() -> datetime:
        async with opened(tmp_path) as backend:
            return await backend.now()

    before = datetime.now(UTC)
    assert before <= asyncio.run(main()) <= datetime.now(UTC)
