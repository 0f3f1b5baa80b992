"""The store: a journal that processes append to, one line for each batch, under a lock of the file system.

A line is written whole or, where its writer was killed, left without its end; the next writer cuts such a line off. So a
batch takes effect as a whole, or not at all.
"""

from __future__ import annotations

import fcntl
import os
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from litestar_queues.records import NamedRecord, TaskRecord

__all__ = ("Change", "Journal")

_GROWN = 1000
"""How many records of the past the journal may hold before it is written anew, beside three for each that is stored."""


class Change(msgspec.Struct):
    """What one batch changes."""

    tasks: list[TaskRecord] = msgspec.field(default_factory=list[TaskRecord])
    deleted: list[str] = msgspec.field(default_factory=list[str])
    locks: dict[str, tuple[str, datetime] | None] = msgspec.field(
        default_factory=dict[str, tuple[str, datetime] | None]
    )
    records: list[NamedRecord] = msgspec.field(default_factory=list[NamedRecord])


class Journal:
    """What the folder holds, as of the last `read`. Everything but `try_lock` needs the lock."""

    def __init__(self, folder: Path) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.keys: dict[str, str] = {}
        """The id of the active task that holds each key."""
        self.locks: dict[str, tuple[str, datetime]] = {}
        self.records: dict[str, NamedRecord] = {}
        self._path = folder / "journal"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock: BinaryIO = (folder / "lock").open("ab")
        self._path.touch()
        self._file: BinaryIO = self._path.open("r+b")
        self._past = 0

    def close(self) -> None:
        self._lock.close()
        self._file.close()

    def try_lock(self) -> bool:
        """Whether the store is this client's alone now."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def read(self) -> None:
        """Take over what others have written since the last time."""
        if os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino:
            self._start_again()
        begin = self._file.tell()
        written = self._file.read()
        whole = written.rfind(b"\n") + 1
        if whole < len(written):  # its writer was killed
            self._file.truncate(begin + whole)
        self._file.seek(begin + whole)
        for line in written[:whole].splitlines():
            self._apply(msgspec.json.decode(line, type=Change))

    def write(self, change: Change) -> None:
        """Store the change, or raise OSError and store nothing of it."""
        try:
            self._file.write(msgspec.json.encode(change) + b"\n")
            self._file.flush()
        except OSError:
            self._start_again()  # what was written of it has no end, and is cut off by the next to read
            raise
        self._apply(change)
        if self._past > _GROWN + 3 * len(self.tasks):
            self._compact()

    def _apply(self, change: Change) -> None:
        for task in change.tasks:
            self._forget(task.id)
            self.tasks[task.id] = task
            if task.active_key is not None:
                self.keys[task.active_key] = task.id
        for id_ in change.deleted:
            self._forget(id_)
        for name, lock in change.locks.items():
            if lock is None:
                self.locks.pop(name, None)
            else:
                self.locks[name] = lock
        self.records |= {record.name: record for record in change.records}
        self._past += len(change.tasks) + len(change.deleted) + len(change.locks) + len(change.records)

    def _forget(self, id_: str) -> None:
        before = self.tasks.pop(id_, None)
        if before is not None and before.active_key is not None:
            del self.keys[before.active_key]

    def _compact(self) -> None:
        """Put a journal of what is stored now in the place of this one."""
        new = self._path.with_suffix(".new")
        stored = Change(list(self.tasks.values()), [], {**self.locks}, list(self.records.values()))
        new.write_bytes(msgspec.json.encode(stored) + b"\n")
        new.replace(self._path)
        self._start_again()
        self.read()

    def _start_again(self) -> None:
        self._file.close()
        self._file = self._path.open("r+b")
        self.tasks, self.keys, self.locks, self.records, self._past = {}, {}, {}, {}, 0
