"""SCM-09: what outlives the processes of all clients."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.records import Enqueued, NewTask, Stale, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import InProcessTarget, Saboteur

_FEW = 100
"""Of more tasks than these no file is written, so that large cases do not take minutes."""


class _DurableTarget(InProcessTarget):
    capabilities = replace(InProcessTarget.capabilities, durable=True)


class _FileTarget(InProcessTarget):
    """Stores whose tasks are written to a file, too, which one process at a time may open."""

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile(prefix="saboteur-", delete=False) as file:
            return {**super().config(env), "file": file.name}

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        client = await super().open(config)
        store = self.stores[config["store"]]
        if isinstance(store, _InAFile) and store.file is None:
            store.load(Path(config["file"]))
        return client

    async def reset(self, config: dict[str, Any]) -> None:
        store = self.stores.get(config["store"])
        if isinstance(store, _InAFile) and store.file is not None:
            store.file.close()
        await super().reset(config)
        Path(config["file"]).unlink(missing_ok=True)  # noqa: ASYNC240  # of a few bytes


class _DurableFileTarget(_FileTarget):
    capabilities = _DurableTarget.capabilities


class _InAFile(MemoryBackend):
    file: BinaryIO | None = None

    def load(self, path: Path) -> None:
        import fcntl  # noqa: PLC0415  # which not every system has

        file = path.open("r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BackendUnavailableError("another process has opened this store") from None
        self.file = file
        with suppress(msgspec.DecodeError):  # nobody has written it
            for record in msgspec.json.decode(file.read(), type=list[TaskRecord]):
                self.put(record)

    def save(self) -> None:
        if self.file is not None and len(self.tasks) < _FEW:
            self.file.seek(0)
            self.file.truncate()
            self.file.write(msgspec.json.encode(list(self.tasks.values())))
            self.file.flush()


class SaysItIsDurable(Saboteur):
    """Tasks, locks and records live in the process, and the target declares `durable`."""

    guarantee = "SCM-09"
    target_type: ClassVar[type[InProcessTarget]] = _DurableTarget


class KeepsAFileUnsaid(_InAFile, Saboteur):
    """What was enqueued is read again by the next process, and the target declares `durable` absent."""

    guarantee = "SCM-09"
    target_type: ClassVar[type[InProcessTarget]] = _FileTarget

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        answers = await super().enqueue_many(tasks, now=now)
        self.save()
        return answers


class KeepsTasksAlone(_InAFile, Saboteur):
    """The next process reads all tasks as they were, and neither locks nor named records."""

    guarantee = "SCM-09"
    target_type: ClassVar[type[InProcessTarget]] = _DurableFileTarget

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        answers = await super().enqueue_many(tasks, now=now)
        self.save()
        return answers

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed = await super().claim(want, now=now)
        self.save()
        return claimed

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        committed = await super().commit(tasks, stale=stale)
        self.save()
        return committed
