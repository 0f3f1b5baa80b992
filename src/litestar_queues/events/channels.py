"""Lifecycle events for browsers and other services, over Litestar's channels."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec
from litestar.channels import ChannelsPlugin

from litestar_queues.events.base import TaskEvent

__all__ = ("ChannelsSink",)

_log = logging.getLogger("litestar_queues.events")


class ChannelsSink:
    """Publishes every event as a JSON object: `QueueConfig(event_sinks=[ChannelsSink(channels)])`.

    What happens through the application itself (each enqueue and cancellation, and all that its in-app worker does) is
    published there. What happens through a worker process is published by that process, where the channels' backend can
    do that without the application's lifespan: Litestar's Redis and psycopg backends can.

    Args:
        channels: The plugin that the application is given, too.
        channel: One channel's name, or several.
    """

    def __init__(self, channels: ChannelsPlugin, channel: str | Iterable[str] = "queue_events") -> None:
        self._channels = channels
        self._names = [channel] if isinstance(channel, str) else list(channel)
        self._told = False

    async def __call__(self, event: TaskEvent) -> None:
        """Publish; an error of the channels' backend is the dispatcher's to log."""
        try:
            # Not through the plugin's own queue: that exists inside the application's lifespan alone.
            await self._channels.wait_published(msgspec.json.encode(event), self._names)  # pyright: ignore[reportUnknownMemberType]  # Litestar's own
        except RuntimeError as error:  # how Litestar's backends say that they were not started
            if not self._told:
                _log.warning("events of this process are not published to channels %s: %s", self._names, error)
            self._told = True
