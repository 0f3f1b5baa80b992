"""Calls that a store refuses, or whose connection is lost: what each returns, and what each leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import BackendError
from litestar_queues.lifecycle import Claim, Complete, step
from litestar_queues.records import Count, Enqueued, Held, NamedRecord, Want, admit
from litestar_queues_conformance.compare import difference
from litestar_queues_conformance.harness import T0, NotFoundOut, Store, at, not_found_out
from litestar_queues_conformance.moves import RESULT, running
from litestar_queues_conformance.target import CutsConnections

__all__ = ("Call", "calls", "effect_of", "fault_of", "made", "proven_cut")

Effect = Literal["done", "unchanged", "torn"]
_TTL = timedelta(seconds=30)


async def proven_cut(target: CutsConnections, config: dict[str, Any]) -> None:
    """Cut the connections of a store.

    Raises:
        NotFoundOut: The target does not say that it cut any.
    """
    if not await target.cut_connections(config):
        raise NotFoundOut("cut_connections(...) of the target cut nothing, as far as it says")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the port.

    Attributes:
        name: The method.
        make: Makes the call.
        expected: Its answer; None where any will do.
        effect: What another client finds of it; None where it writes nothing.
    """

    name: str
    make: Callable[[QueueBackend], Awaitable[Any]]
    expected: Any
    effect: Callable[[QueueBackend], Awaitable[Effect]] | None = None
    guarded: bool = False
    """Whether a fence or a version keeps a repetition from taking effect, which then returns nothing; see the port."""


async def calls(store: Store, other: QueueBackend) -> list[Call]:
    """One call of each method, none of which is in the way of another; the enqueue comes first."""
    mark = store.new_id()
    new = store.new_task(metadata='{"m": 1}')
    waiting, kept = await store.enqueue(other), await store.enqueue(other, queue=mark, run_at=at(500))
    beats, ends, done = [await running(store, other) for _ in range(3)]
    ended = step(ends, Complete(RESULT), at(5))
    over = step(done, Complete(RESULT), at(1))
    await other.commit([over])
    ours = NamedRecord(f"{mark} written", 1, '{"v": 1}')
    theirs = NamedRecord(f"{mark} read", 1, '{"v": 2}')
    await other.write_records([theirs])
    claimed = step(waiting, Claim("worker-a"), at(1))
    want = Want(worker="worker-a", limit=1, tasks=(waiting.held,))

    async def of(by: QueueBackend, id_: str, before: Any, after: Any) -> Effect:
        found = (await by.get([id_])).get(id_)
        return (
            "done" if difference(found, after) is None else "unchanged" if difference(found, before) is None else "torn"
        )

    async def locked(by: QueueBackend) -> Effect:
        return "unchanged" if await by.lock(mark, "another", _TTL, now=at(1)) else "done"

    async def written(by: QueueBackend) -> Effect:
        found = (await by.read_records(ours.name)).get(ours.name)
        return "unchanged" if found is None else "done" if found == ours else "torn"

    return [
        Call(
            name="enqueue_many",
            make=lambda by: by.enqueue_many([new], now=T0),
            expected=[Enqueued(admit(new, T0), True)],
            effect=lambda by: of(by, new.id, None, admit(new, T0)),
        ),
        Call(
            name="claim",
            make=lambda by: by.claim(want, now=at(1)),
            expected=[claimed],
            effect=lambda by: of(by, waiting.id, waiting, claimed),
        ),
        Call(
            name="touch_heartbeats",
            make=lambda by: by.touch_heartbeats([Held(beats.id, beats.fence)], now=at(5)),
            expected={beats.id},
            effect=lambda by: of(by, beats.id, beats, beats.evolve(heartbeat_at=at(5))),
        ),
        Call(
            name="commit",
            make=lambda by: by.commit([ended]),
            guarded=True,
            expected={ends.id},
            effect=lambda by: of(by, ends.id, ends, ended),
        ),
        Call(
            name="delete",
            make=lambda by: by.delete([over.held]),
            guarded=True,
            expected={over.id},
            effect=lambda by: of(by, over.id, over, None),
        ),
        Call(name="lock", make=lambda by: by.lock(mark, "us", _TTL, now=T0), expected=True, effect=locked),
        Call(
            name="write_records",
            guarded=True,
            make=lambda by: by.write_records([ours]),
            expected={ours.name},
            effect=written,
        ),
        Call(name="get", make=lambda by: by.get([kept.id]), expected={kept.id: kept}),
        Call(name="count", make=lambda by: by.count((mark,)), expected=[Count(mark, kept.state, 1)]),
        Call(name="next_due", make=lambda by: by.next_due((mark,)), expected=at(500)),
        Call(name="read_records", make=lambda by: by.read_records(theirs.name), expected={theirs.name: theirs}),
        Call(name="now", make=lambda by: by.now(), expected=None),
    ]


async def made(client: QueueBackend, these: Sequence[Call]) -> list[Any]:
    """The answers to calls that are made at once; an error in the place of the answer that it took."""
    answers = await asyncio.gather(*(call.make(client) for call in these), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
            raise answer
    return answers


async def effect_of(call: Call, other: QueueBackend) -> Effect | None:
    """What another client finds of the call; None where it writes nothing."""
    return None if call.effect is None else await call.effect(other)


async def fault_of(
    call: Call, answer: Any, other: QueueBackend, error: type[BackendError], *, stores: bool, repeats: bool = False
) -> str | None:
    """What is wrong with an answer and with what the call left; None where nothing is.

    Args:
        call: The call.
        answer: What it returned or raised.
        other: A client that reads what is stored.
        error: What it may raise.
        stores: Whether a call that raised may have taken effect.
        repeats: Whether the client may have made a guarded call again.

    Raises:
        NotFoundOut: The error says nothing about the backend.
    """
    effect = await effect_of(call, other)
    if isinstance(answer, BaseException):
        if not isinstance(answer, error):
            if (reason := not_found_out(answer)) is not None:
                raise reason
            return f"{call.name} raised {type(answer).__module__}.{type(answer).__qualname__}, no {error.__name__}: {answer}"
        if not str(answer).strip():
            return f"{call.name} raised {type(answer).__name__} without a word"
        if effect == "torn" or (effect == "done" and not stores):
            return f"{call.name} raised {type(answer).__name__}, and left what it writes {effect}"
        return None
    if repeats and call.guarded and effect == "done" and answer == set():
        return None
    if call.expected is not None and (found := difference(answer, call.expected)) is not None:
        return f"the answer of {call.name}, whose effect is {effect}: {found}"
    return (
        f"{call.name} returned its answer, and left what it writes {effect}" if effect not in (None, "done") else None
    )
