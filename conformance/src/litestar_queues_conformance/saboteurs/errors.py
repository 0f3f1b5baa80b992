"""ERR: clients that lose their connections, or whose store refuses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.errors import BackendUnavailableError, RefusedError
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget, Saboteur
from litestar_queues_conformance.target import Refusal

Made = Callable[[], Awaitable[Any]]
_CALLS = frozenset(
    (
        *("now", "enqueue_many", "claim", "touch_heartbeats", "commit", "get", "find", "count", "next_due"),
        *("delete", "lock", "unlock", "read_records", "write_records"),
    )
)
_NOTHING: dict[str, Any] = {"claim": [], "commit": set(), "get": {}}


class _Client:
    """A client with a connection, which can be lost."""

    def __init__(self, store: _Faulty) -> None:
        self._store = store
        self.cut = self.met_a_refusal = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in _CALLS:
            return found

        async def call(*arguments: Any, **more: Any) -> Any:
            return await self._store.called(self, name, partial(found, *arguments, **more))

        return call


class _FaultyTarget(InProcessTarget):
    refusals: Sequence[Refusal] = ("away", "read-only")

    def client(self, store: MemoryBackend) -> QueueBackend:
        made = _Client(cast("_Faulty", store))
        cast("_Faulty", store).clients.append(made)
        return cast("QueueBackend", made)

    def _store(self, config: dict[str, Any]) -> _Faulty:
        return cast("_Faulty", self.stores[config["store"]])

    async def cut_connections(self, config: dict[str, Any]) -> int | None:
        if config["store"] not in self.stores:
            return 1  # it has clients, in general
        clients = self._store(config).clients
        for client in clients:
            client.cut = True
        return len(clients)

    @asynccontextmanager
    async def refusable(self, config: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        yield config

    @asynccontextmanager
    async def refusing(self, config: dict[str, Any], how: Refusal) -> AsyncGenerator[None]:
        store = self._store(config)
        store.how = how
        try:
            yield
        finally:
            store.how = None

    @asynccontextmanager
    async def losing(self, config: dict[str, Any], number: int) -> AsyncGenerator[Callable[[], bool]]:
        store = self._store(config)
        store.loses = number == 0  # a call takes one reply
        was_armed = store.loses
        try:
            yield lambda: was_armed and not store.loses
        finally:
            store.loses = False


class _Faulty(MemoryBackend):
    """A store whose clients have connections."""

    target_type: ClassVar[type[InProcessTarget]] = _FaultyTarget
    how: Refusal | None = None
    loses = False

    @property
    def clients(self) -> list[_Client]:
        clients: list[_Client] = self.__dict__.setdefault("_clients", [])
        return clients

    async def called(self, client: _Client, name: str, call: Made) -> Any:
        """What a call of a client's comes to."""
        await asyncio.sleep(0)
        if self.how is not None:
            client.met_a_refusal = True
            return await self.refused(self.how, name, call)
        if client.cut:
            return await self.after_a_cut(client, name, call)
        answer = await call()
        if self.loses:
            self.loses = False
            return await self.reply_lost(call)
        return answer

    async def refused(self, how: Refusal, name: str, call: Made) -> Any:
        del call
        raise BackendUnavailableError(f"{name} was refused: the store is {how}")

    async def after_a_cut(self, client: _Client, name: str, call: Made) -> Any:
        del call
        client.cut = False
        raise BackendUnavailableError("the connection was cut")

    async def reply_lost(self, call: Made) -> Any:
        del call
        raise BackendUnavailableError("the connection was cut, and whether the call took effect is not known")


class RaisesWhatItMeets(_Faulty, Benign):
    """Raises an error after a cut, for a lost reply, and while its store refuses."""


class ConnectsAgain(_Faulty, Benign):
    """Makes a call again whose connection was cut before."""

    async def after_a_cut(self, client: _Client, name: str, call: Made) -> Any:
        client.cut = False
        return await call()


class RaisesTheDriversError(_Faulty, Saboteur):
    """After a cut it raises the error of the connection as it is."""

    guarantee = "ERR-01"

    async def after_a_cut(self, client: _Client, name: str, call: Made) -> Any:
        client.cut = False
        raise ConnectionResetError("peer")


class AnswersNothingAfterACut(_Faulty, Saboteur):
    """After a cut, a claim, a commit and a read return nothing."""

    guarantee = "ERR-01"

    async def after_a_cut(self, client: _Client, name: str, call: Made) -> Any:
        client.cut = name not in _NOTHING
        return _NOTHING[name] if name in _NOTHING else await call()


class StaysCut(_Faulty, Saboteur):
    """A client that lost its connection makes no other."""

    guarantee = "ERR-02"

    async def after_a_cut(self, client: _Client, name: str, call: Made) -> Any:
        raise BackendUnavailableError("the connection was cut")


class RepeatsAWriteAfterACut(_Faulty, Saboteur):
    """A call whose reply was lost is made again, whatever became of the first."""

    guarantee = "ERR-03"

    async def reply_lost(self, call: Made) -> Any:
        return await call()


class ClaimsAgainAfterACut(_Faulty, Saboteur):
    """A claim whose reply was lost is made again, and takes other tasks."""

    guarantee = "ERR-03"

    async def called(self, client: _Client, name: str, call: Made) -> Any:
        if name == "claim" and self.loses:
            self.loses = False
            await call()
        return await super().called(client, name, call)


class AnswersNothingWhenAway(_Faulty, Saboteur):
    """A claim returns no task while the store is away."""

    guarantee = "ERR-04"

    async def refused(self, how: Refusal, name: str, call: Made) -> Any:
        return [] if name == "claim" and how == "away" else await super().refused(how, name, call)


class RefusesForGood(_Faulty, Saboteur):
    """What the store refuses for now it refuses for good, as it says."""

    guarantee = "ERR-05"

    async def refused(self, how: Refusal, name: str, call: Made) -> Any:
        if how == "away":
            return await super().refused(how, name, call)
        raise RefusedError(f"{name} was refused: the store is {how}")


class StoresWhatItRefuses(_Faulty, Saboteur):
    """A commit is stored that it says was refused."""

    guarantee = "ERR-05"

    async def refused(self, how: Refusal, name: str, call: Made) -> Any:
        if name == "commit" and how != "away":
            await call()
        return await super().refused(how, name, call)


class StaysAway(_Faulty, Saboteur):
    """A client that met a refusal refuses for ever."""

    guarantee = "ERR-06"

    async def called(self, client: _Client, name: str, call: Made) -> Any:
        if client.met_a_refusal:
            raise BackendUnavailableError("the store was away")
        return await super().called(client, name, call)
