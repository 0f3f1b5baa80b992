"""Faults of a store on a server, by way of a proxy: the server is shared, and nobody else notices."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar

from litestar_queues_conformance.target import Refusal
from litestar_queues_matrix.proxy import Proxy, proxy_to, through

__all__ = ("BehindAProxy",)

_PROXIES: dict[int, Proxy] = {}
"""The proxies of this process, by their ports."""


class BehindAProxy:
    """For targets whose configs have a `url`: the hooks `refusable`, `refusing` and `losing`."""

    __slots__ = ()
    refusals: ClassVar[Sequence[Refusal]] = ("away",)

    @asynccontextmanager
    async def refusable(self, config: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Give a config whose clients go by a proxy; see `Refuses`."""
        async with proxy_to(config["url"]) as proxy:
            _PROXIES[proxy.port] = proxy
            try:
                yield {
                    **config,
                    "url": through(config["url"], proxy.port),
                    "proxy": proxy.port,
                    "direct": config["url"],
                }
            finally:
                del _PROXIES[proxy.port]

    def refusing(self, config: dict[str, Any], how: Refusal) -> AbstractAsyncContextManager[None]:
        """Refuse in this way; see `Refuses`."""
        return self._away(config) if how == "away" else self.refused(config, how)

    def refused(self, config: dict[str, Any], how: Refusal) -> AbstractAsyncContextManager[None]:
        """Refuse in a way of the server's own."""
        raise LookupError(f"{config['direct']} cannot be {how}")

    def cut_proxied(self, config: dict[str, Any]) -> int | None:
        """Cut what goes by the proxy, for servers that cannot tell the connections of one store; None without a proxy."""
        return len(_PROXIES[config["proxy"]].end_all()) if "proxy" in config else None

    @asynccontextmanager
    async def _away(self, config: dict[str, Any]) -> AsyncGenerator[None]:
        with _PROXIES[config["proxy"]].nobody_there():
            yield

    @asynccontextmanager
    async def losing(self, config: dict[str, Any], number: int) -> AsyncGenerator[Callable[[], bool]]:
        """Lose a reply; see `LosesReplies`."""
        proxy = _PROXIES[config["proxy"]]
        before = proxy.dropped
        proxy.drop(number)
        try:
            yield lambda: proxy.dropped > before
        finally:
            proxy.disarm()
