"""Whether a backend keeps dispatched tasks, and what it does with a reservation where it does not."""

from __future__ import annotations

from litestar_queues.backends.base import DispatchingBackend
from litestar_queues.clock import SystemClock
from litestar_queues.errors import DispatchNotSupportedError
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Want
from litestar_queues_conformance.harness import Check, Store
from litestar_queues_conformance.moves import REF, WINDOW, pictures

__all__ = ("keeps_dispatched",)


async def keeps_dispatched(store: Store, check: Check, id_: str) -> bool:
    """Whether there is anything to check; that a backend without dispatch refuses it by its error, is checked here."""
    declared = store.target.capabilities.dispatch
    actor = await store.actor()
    has = isinstance(actor, DispatchingBackend) and actor.dispatches
    check.equal(id_, has, declared, "whether it keeps dispatched tasks, as declared,")
    if declared:
        return True
    await store.enqueue(actor)
    before = await pictures(actor)
    operations = QueueOperations(actor, SystemClock())
    wants = [
        Want(worker="d", limit=1, reserve=True, stale_after=WINDOW),
        Want(worker="r", limit=1, tasks=(), execution_ref=REF),
    ]
    for want in wants:
        refused = ""
        try:
            await operations.claim(want)
        except DispatchNotSupportedError as error:
            refused = str(error)
        check(id_, actor.name in refused, f"{want} was not refused by an error that names the backend: {refused!r}")
    check.equal(id_, await pictures(actor), before, "what is stored after a reservation that was refused")
    check.absent(id_, "dispatch")
    return False
