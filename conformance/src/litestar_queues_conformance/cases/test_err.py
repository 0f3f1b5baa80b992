"""ERR: what callers get where the store refuses them, or loses their connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import BackendError, BackendUnavailableError
from litestar_queues.lifecycle import State
from litestar_queues.records import Matching, Want
from litestar_queues_conformance.harness import T0, Check, NotFoundOut, Store, at, guarantee
from litestar_queues_conformance.hearing import AGAIN
from litestar_queues_conformance.moves import ids
from litestar_queues_conformance.patience import TURN, Deadline
from litestar_queues_conformance.refusals import calls, effect_of, fault_of, made, proven_cut
from litestar_queues_conformance.target import CutsConnections, LosesReplies, NoConnections, Refusal, Refuses

_ROUNDS = 3
_REPLIES = 12
"""Calls of the port take fewer replies of a server than so many, once it has prepared their statements."""
_LONG = 300.0
_AGAIN = 60.0
"""Fair seconds in which a client works again: a pool waits longer before each try to connect, up to half a minute."""


def _in_process(store: Store, actor: QueueBackend) -> bool:
    """Whether the store cannot be away from its clients."""
    declared = store.target.capabilities
    return actor.process_local and not declared.multi_process and not declared.durable


async def _works_again(id_: str, client: QueueBackend, store: Store, check: Check, error: type[BackendError]) -> None:
    """Check that the client takes a write before so much time and so many tries have passed, and says until then why not."""
    deadline, tries = Deadline(_AGAIN), int(AGAIN / TURN)
    last: BaseException | None = None
    while tries > 0 or deadline.left > 0:
        task = store.new_task()
        try:
            [answer] = await client.enqueue_many([task], now=T0)
        except Exception as raised:  # noqa: BLE001  # judged by the check
            check(id_, isinstance(raised, error), f"a later call raised {type(raised).__qualname__}: {raised}")
            last = raised
            tries -= 1
            await asyncio.sleep(0 if deadline.left <= 0 else TURN)
            continue
        check(id_, answer.is_new, "a later call did not store its task")
        check.equal(id_, list(await client.get([task.id])), [task.id], "what a later call stored")
        return
    check(id_, False, f"the client does not work again: {last!r}")


@guarantee("ERR-01", time="given", deadline=_LONG)  # `calls` needs to know what is stored to the microsecond
async def test_a_call_on_a_cut_connection_is_answered_in_full_or_raises(store: Store, check: Check) -> None:
    target = store.target
    if not isinstance(target, CutsConnections):
        check.unknown("ERR-01", "the target cannot cut connections, and so it was not found out")
        return
    if isinstance(target, NoConnections) and await target.cut_connections(store.config) == 0:
        check("ERR-01", True, "the store is reached without a connection that could be cut")
        return
    async with _cuttable(store) as (client, config):
        for turn in range(_ROUNDS):
            these = await calls(store, await store.actor())
            await client.get([store.new_id()])
            if turn == 0:
                await proven_cut(target, config)
                answers = await made(client, these)
            else:
                answers, _ = await asyncio.gather(made(client, these), proven_cut(target, config))
            other = await store.actor()  # the cut was one of earlier clients' connections, too
            for call, answer in zip(these, answers, strict=True):
                fault = await fault_of(call, answer, other, BackendError, stores=True)
                check("ERR-01", fault is None, f"after a cut, {fault}")


@asynccontextmanager
async def _cuttable(store: Store) -> AsyncGenerator[tuple[QueueBackend, dict[str, Any]]]:
    """A client, and the config by which its connections are cut."""
    target = store.target
    if not isinstance(target, Refuses):
        yield await store.actor(), store.config
        return
    await store.actor()  # which makes the schema
    async with target.refusable(store.config) as config:
        client = await target.open(config)
        try:
            yield client, config
        finally:
            await client.close()


@guarantee("ERR-02", time="given", deadline=_LONG)
async def test_a_client_works_again_after_its_connections_were_cut(store: Store, check: Check) -> None:
    target = store.target
    if not isinstance(target, CutsConnections):
        check.unknown("ERR-02", "the target cannot cut connections, and so it was not found out")
        return
    if isinstance(target, NoConnections) and await target.cut_connections(store.config) == 0:
        check("ERR-02", True, "the store is reached without a connection that could be cut")
        return
    async with _cuttable(store) as (client, config):
        for _ in range(_ROUNDS):
            await client.get([store.new_id()])
            await proven_cut(target, config)
            await _works_again("ERR-02", client, store, check, BackendError)


@guarantee("ERR-03", time="given", deadline=_LONG)
async def test_what_a_lost_reply_was_about_is_done_once(store: Store, check: Check) -> None:
    other = await store.actor()
    target = store.target
    if isinstance(target, NoConnections) and not isinstance(target, LosesReplies):
        check("ERR-03", True, "the store is reached without a connection that could lose a reply")
        return
    if not isinstance(target, LosesReplies) or not isinstance(target, Refuses):
        check.unknown("ERR-03", "the target cannot lose replies, and so it was not found out")
        return
    lost_any = False
    async with target.refusable(store.config) as config:
        client = await target.open(config)
        try:
            await made(client, await calls(store, other))  # what is prepared but once
            losses = _Losses(store, check, client, other, partial(target.losing, config))
            for number in range(_REPLIES):
                lost = [await losses.of_calls(number), await losses.of_a_claim(number)]
                lost_any = lost_any or any(lost)
                if not any(lost):
                    break
        finally:
            await client.close()
    if not lost_any:
        raise NotFoundOut("losing(...) of the target lost no reply")


@dataclass(frozen=True, slots=True)
class _Losses:
    """Calls of which a reply is lost, and what another client finds of them."""

    store: Store
    check: Check
    client: QueueBackend
    other: QueueBackend
    losing: Callable[[int], AbstractAsyncContextManager[Callable[[], bool]]]

    async def of_calls(self, number: int) -> bool:
        """Lose a reply of each call, one after another; whether any was lost."""
        lost_any = False
        for call in await calls(self.store, self.other):
            async with self.losing(number) as lost:
                [answer] = await made(self.client, [call])
                lost_any = lost() or lost_any
            fault = await fault_of(call, answer, self.other, BackendError, stores=True, repeats=lost())
            self.check("ERR-03", fault is None, f"where reply {number} is lost, {fault}")
        return lost_any

    async def of_a_claim(self, number: int) -> bool:
        """Lose a reply of a claim that could take another task the second time; whether one was lost."""
        queue = self.store.new_id()
        await self.other.enqueue_many(self.store.new_tasks(3, queue=queue), now=T0)
        claimed: list[str] | None = None
        async with self.losing(number) as lost:
            try:
                claimed = ids(await self.client.claim(Want(worker="w", limit=1, queues=(queue,)), now=at(1)))
            except Exception as error:  # noqa: BLE001  # judged by the check
                what = f"a claim raised {type(error).__qualname__}: {error}"
                self.check("ERR-03", isinstance(error, BackendError), what)
            lost_any = lost()
        taken = ids(await self.other.find(Matching(states=(State.RUNNING,), queues=(queue,)), 9))
        what = f"where reply {number} of a claim of one task is lost, it returned {claimed} and took {taken}"
        self.check("ERR-03", taken == claimed or (claimed is None and len(taken) <= 1), what)
        return lost_any


async def _refused(store: Store, check: Check, id_: str, hows: Sequence[Refusal], *, stores: bool) -> None:
    """Make every call while the store refuses in each of these ways."""
    other = await store.actor()
    target = store.target
    if isinstance(target, Refuses) and not target.refusals and _in_process(store, other):
        check(id_, True, "the store lives in the process, and cannot refuse")
        return
    ways: list[Refusal] = [how for how in hows if isinstance(target, Refuses) and how in target.refusals]
    if not isinstance(target, Refuses) or not ways:
        check.unknown(id_, f"the target cannot have its store {' or '.join(hows)}, and so it was not found out")
        return
    async with target.refusable(store.config) as config:
        for how in ways:
            client = await target.open(config)
            try:
                these = await calls(store, other)
                async with target.refusing(config, how):
                    answers = await made(client, these)
                other = await store.actor()
                if not isinstance(answers[0], BaseException) and await effect_of(these[0], other) == "done":
                    raise NotFoundOut(f"refusing(..., {how!r}) of the target refuses nothing: a task was stored")
                for call, answer in zip(these, answers, strict=True):
                    fault = await fault_of(call, answer, other, BackendUnavailableError, stores=stores)
                    check(id_, fault is None, f"while its store is {how}, {fault}")
            finally:
                await client.close()


@guarantee("ERR-04", time="given", deadline=_LONG)
async def test_a_call_says_that_its_store_is_away(store: Store, check: Check) -> None:
    await _refused(store, check, "ERR-04", ("away",), stores=True)


@guarantee("ERR-05", time="given", deadline=_LONG)
async def test_a_call_says_that_its_store_refuses_for_now(store: Store, check: Check) -> None:
    await _refused(store, check, "ERR-05", ("read-only", "full", "rebuilt"), stores=False)


@guarantee("ERR-06", time="given", deadline=_LONG)
async def test_a_client_works_again_once_its_store_takes_calls(store: Store, check: Check) -> None:
    other = await store.actor()
    target = store.target
    if not isinstance(target, Refuses):
        check.unknown("ERR-06", "the target cannot have its store refuse, and so it was not found out")
        return
    if not target.refusals and _in_process(store, other):
        check("ERR-06", True, "the store lives in the process, and cannot refuse")
        return
    if not target.refusals:
        check.unknown("ERR-06", "the target names no way in which its store can refuse")
        return
    async with target.refusable(store.config) as config:
        for how in target.refusals:
            client = await target.open(config)
            try:
                task = store.new_task()
                async with target.refusing(config, how):
                    try:
                        await client.enqueue_many([task], now=T0)
                    except Exception:  # noqa: BLE001  # ERR-04 and ERR-05 are about that
                        refused = True
                    else:
                        refused = False
                if not refused:
                    raise NotFoundOut(f"refusing(..., {how!r}) of the target refuses nothing, as far as a call says")
                await _works_again("ERR-06", client, store, check, BackendUnavailableError)
            finally:
                await client.close()
