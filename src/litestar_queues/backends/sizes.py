"""How much a store takes at once: batches in parts, and what is too large refused with its size and the limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from litestar_queues.errors import TooLargeError

__all__ = ("MIB", "Sizes", "in_parts", "told_size", "too_large")

T = TypeVar("T")

MIB = 1 << 20
_ROOM = 16 << 10
"""Bytes that the rest of a statement, or of a command, may take beside its batch."""
_LEAST = 1 << 10


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one statement, or one command, of a store takes.

    Attributes:
        part: Bytes beyond which a batch is split.
        most: Bytes beyond which nothing is sent.
        called: What the limit is called.
        told: Whether the server tells its own limit.
        escaped: Whether drivers write a text into the statement, and double what its quotes need.
    """

    part: int
    most: int
    called: str
    told: bool = False
    escaped: bool = False

    def limited(self, limit: int) -> Sizes:
        """The same where the server takes so many bytes."""
        most = max(limit - _ROOM, limit // 2, _LEAST)
        return replace(self, most=most, part=min(self.part, most))

    def of_text(self, text: str) -> int:
        """Bytes that a text takes on the way."""
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return size + (text.count('"') + text.count("\\") + text.count("'") if self.escaped else 0)


def in_parts(
    items: Sequence[T], size_of: Callable[[Sequence[T]], int], sizes: Sizes, refusal: Callable[[T, int], Exception]
) -> list[Sequence[T]]:
    """The items in order, in parts none of which is larger than `part` unless it is a single item.

    Raises:
        Exception: An item is larger than `most`; it is what `refusal` makes of the item and its size.
    """
    size = size_of(items)
    if size <= sizes.part:
        return [items]
    if len(items) > 1:
        half = len(items) // 2
        return [part for some in (items[:half], items[half:]) for part in in_parts(some, size_of, sizes, refusal)]
    if size > sizes.most:
        raise refusal(items[0], size)
    return [items]


def told_size(size: int) -> str:
    """A size in words."""
    return f"{size / MIB:.1f} MiB" if size >= MIB else f"{size / 1024:.1f} KiB"


def too_large(what: str, size: int, sizes: Sizes, *, takes: str = "takes", task_id: str | None = None) -> TooLargeError:
    """The error for what is larger than the store takes."""
    return TooLargeError(
        f"{what} {takes} {told_size(size)} on the way to the store, and it takes at most {told_size(sizes.most)} "
        f"({sizes.called}); nothing was stored",
        size=size,
        limit=sizes.most,
        task_id=task_id,
    )
