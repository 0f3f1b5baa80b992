"""What every suspect is: a target like the one that it is made from, but for the backend that it opens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, ClassVar, Self

from litestar_queues_conformance.moments import Time
from litestar_queues_conformance.target import Capabilities, Refusal
from litestar_queues_matrix.servers import Product

__all__ = ("SuspectTarget",)


class SuspectTarget:
    """A target of its own: `--backend=module:Class@server`."""

    areas: ClassVar[tuple[str, ...]]
    """Areas of guarantees in which it may be noticed; its own is among them."""
    time: ClassVar[Time] = "given"
    """The mode of time in which its guarantee has to catch it, at least."""
    harmless_on: ClassVar[Mapping[Product, str]] = {}
    """Servers on which it would be no defect, each with the reason."""

    base: Any
    """The target that it is made from, on its server."""

    def __init__(self, server: str | None = None) -> None:
        raise NotImplementedError

    @classmethod
    def target_name(cls, server: str) -> str:
        """What `--backend` takes."""
        return f"{cls.__module__}:{cls.__qualname__}@{server}"

    @property
    def distribution(self) -> str:
        return str(self.base.distribution)

    @property
    def capabilities(self) -> Capabilities:
        found: Capabilities = self.base.capabilities
        return found

    def on(self, server: str) -> Self:
        return type(self)(server)

    def unavailable(self, env: Mapping[str, str]) -> str | None:
        found: str | None = self.base.unavailable(env)
        return found

    @contextmanager
    def serve(self, env: Mapping[str, str]) -> Generator[dict[str, str]]:
        with self.base.serve(env) as variables:
            yield variables

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = self.base.config(env)
        return found

    async def reset(self, config: dict[str, Any]) -> None:
        await self.base.reset(config)

    async def set_fence(self, config: dict[str, Any], id_: str, fence: int) -> None:
        await self.base.set_fence(config, id_, fence)

    async def cut_connections(self, config: dict[str, Any]) -> int | None:
        cut: int | None = await self.base.cut_connections(config)
        return cut

    @property
    def refusals(self) -> Sequence[Refusal]:
        found: Sequence[Refusal] = self.base.refusals
        return found

    def refusable(self, config: dict[str, Any]) -> AbstractAsyncContextManager[dict[str, Any]]:
        found: AbstractAsyncContextManager[dict[str, Any]] = self.base.refusable(config)
        return found

    def refusing(self, config: dict[str, Any], how: Refusal) -> AbstractAsyncContextManager[None]:
        found: AbstractAsyncContextManager[None] = self.base.refusing(config, how)
        return found

    def losing(self, config: dict[str, Any], number: int) -> AbstractAsyncContextManager[Callable[[], bool]]:
        found: AbstractAsyncContextManager[Callable[[], bool]] = self.base.losing(config, number)
        return found

    async def server_version(self, config: dict[str, Any]) -> str:
        return str(await self.base.server_version(config))
