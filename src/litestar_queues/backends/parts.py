"""Batches in parts that a store takes, and the refusal of what is too large by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TypeVar

from litestar_queues.backends.sizes import Sizes, in_parts, too_large
from litestar_queues.columns import names
from litestar_queues.errors import TooLargeError
from litestar_queues.records import Held, NewTask, TaskRecord

__all__ = ("Parts",)

T = TypeVar("T")

_PER_CHARACTER = 8
"""Bytes that a character takes at most: a quote inside JSON inside JSON inside a statement takes four, a control character
seven."""
_PER_ROW = 2048
"""Bytes that all the rest of a row takes at most: names, times, texts of bounded length."""

_new_names = names(lambda one: one.enqueued and one.kind in ("json", "text"))
_changed_names = names(lambda one: one.committed and one.kind in ("json", "text"))
_of_new = attrgetter(*_new_names)
_of_changed = attrgetter(*_changed_names)
_CALLED = {"args": "arguments", "kwargs": "arguments"}


class Parts:
    """Splits the batches of one store.

    Args:
        sizes: How much a statement takes; set anew when the server tells another limit.
        new: Bytes that a batch of new tasks takes on the way.
        changed: The same of changed ones.
        held: The same of heartbeats.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        new: Callable[[Sequence[NewTask], datetime | None], int],
        changed: Callable[[Sequence[TaskRecord]], int],
        held: Callable[[Sequence[Held]], int],
    ) -> None:
        self.sizes = sizes
        self._new = new
        self._changed = changed
        self._held = held

    def fits(self, tasks: Sequence[NewTask]) -> bool:
        """Whether one statement takes new tasks for sure; the answer costs no look at their texts."""
        return _at_most(map(_of_new, tasks)) <= self.sizes.part

    def of_new(self, tasks: Sequence[NewTask], now: datetime | None) -> list[Sequence[NewTask]]:
        """New tasks in parts, in their order.

        Raises:
            TooLargeError: A task is too large for one statement; the error names it.
        """
        if self.fits(tasks):
            return [tasks]
        return in_parts(tasks, lambda some: self._new(some, now), self.sizes, self._refused_new)

    def check(self, tasks: Sequence[NewTask]) -> None:
        """Make sure that each of the tasks can be stored by itself.

        Raises:
            TooLargeError: A task is too large for one statement; the error names it.
        """
        for task in tasks:
            if not self.fits([task]):
                self.of_new([task], None)

    def whole_new(self, tasks: Sequence[NewTask]) -> None:
        """Make sure that one command takes all of the tasks, where nothing else makes a batch atomic.

        Raises:
            TooLargeError: A task is too large, which is named, or all of them together are.
        """
        self._whole(self.of_new(tasks, None), lambda: self._new(tasks, None))

    def whole_changed(self, records: Sequence[TaskRecord]) -> None:
        """The same for changed tasks."""
        self._whole(self.of_changed(records), lambda: self._changed(records))

    def whole_held(self, held: Sequence[Held]) -> None:
        """The same for heartbeats."""
        self._whole(self.of_held(held), lambda: self._held(held))

    def _whole(self, parts: Sequence[Sequence[object]], size: Callable[[], int]) -> None:
        if len(parts) > 1:
            raise too_large(f"the batch of {sum(map(len, parts))} tasks", size(), self.sizes)

    def of_changed(self, records: Sequence[TaskRecord]) -> list[Sequence[TaskRecord]]:
        """Changed tasks in parts.

        Raises:
            TooLargeError: The texts of a task are too large for one statement; the error names the task.
        """
        if not records:
            return []
        if _at_most(map(_of_changed, records)) <= self.sizes.part:
            return [records]
        # In the order of ids, in which statements lock their rows, so that two transactions wait for each other, never both.
        ordered = sorted(records, key=attrgetter("id"))
        return in_parts(ordered, self._changed, self.sizes, self._refused_changed)

    def of_held(self, held: Sequence[Held]) -> list[Sequence[Held]]:
        """Heartbeats in parts.

        Raises:
            TooLargeError: The progress of a task is too large for one statement; the error names the task.
        """
        if _at_most((one.progress,) for one in held) <= self.sizes.part:
            return [held]
        return in_parts(
            held,
            self._held,
            self.sizes,
            lambda one, size: too_large(f"the progress of task {one.id}", size, self.sizes, task_id=one.id),
        )

    def _refused_new(self, task: NewTask, size: int) -> TooLargeError:
        largest = _largest(_new_names, _of_new(task))
        called = _CALLED.get(largest, largest)
        what = f"the {called} of task {task.name} ({task.id})"
        return too_large(what, size, self.sizes, takes="take" if called == "arguments" else "takes", task_id=task.id)

    def _refused_changed(self, task: TaskRecord, size: int) -> TooLargeError:
        what = f"the {_largest(_changed_names, _of_changed(task))} of task {task.name} ({task.id})"
        return too_large(what, size, self.sizes, task_id=task.id)


def _at_most(rows: Iterable[Sequence[str | None]]) -> int:
    return sum(_PER_ROW + _PER_CHARACTER * sum(len(text) for text in texts if text) for texts in rows)


def _largest(fields: Sequence[str], texts: Sequence[str | None]) -> str:
    return max(zip(fields, texts, strict=True), key=lambda one: len(one[1] or ""))[0]
