"""What is asked of a server when it is opened, and what an operator should know of how it is set up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError

__all__ = ("Health", "ask_health")

_LEAST = 7
"""The oldest Redis: scripts declare there what they do. Valkey calls itself by a newer version of Redis."""


class Health:
    """What a server says of itself; nothing, where it may not be asked.

    Args:
        info: Its `INFO`.
        settings: Some of its `CONFIG`.
    """

    def __init__(self, info: Mapping[str, str], settings: Mapping[str, str]) -> None:
        self._info = info
        self._settings = settings

    def check(self, place: str) -> None:
        """Refuse a server on which queues cannot be.

        Raises:
            QueueConfigurationError: It is too old.
            BackendUnavailableError: It is a replica.
        """
        version = self._info.get("redis_version", "")
        if version and int(version.partition(".")[0]) < _LEAST:
            raise QueueConfigurationError(
                f"{place}: Redis {version} is too old for a queue: {_LEAST} or newer is needed"
            )
        if self._info.get("role") in ("slave", "replica"):
            primary = f"{self._info.get('master_host', '?')}:{self._info.get('master_port', '?')}"
            raise BackendUnavailableError(
                f"{place}: the server is a replica of {primary}, and takes no writes: name the primary, or give a client of "
                f"its sentinels"
            )

    @property
    def longest(self) -> int | None:
        """Bytes of the longest argument of a command, where the server tells it."""
        told = self._settings.get("proto-max-bulk-len", "")
        return int(told) if told.isdecimal() else None

    @property
    def evicts(self) -> str | None:
        """What is wrong with the policy of eviction."""
        policy = self._info.get("maxmemory_policy", "")
        if not policy.startswith("allkeys"):
            return None
        return (
            f"the server's maxmemory-policy is {policy}: it deletes tasks, acknowledged ones too, when its memory is full. "
            f"Set it to noeviction"
        )

    @property
    def persistence(self) -> str | None:
        """What is lost with the server."""
        appends = self._info.get("aof_enabled")
        if appends is None:
            return None
        if appends == "1":
            if self._settings.get("appendfsync", "everysec") == "always":
                return None
            return (
                "the server writes its log to the disk once a second at most: a crash of the machine can lose the tasks that "
                "were acknowledged last. With appendfsync always it does not"
            )
        if self._settings.get("save"):
            return (
                "the server keeps snapshots alone: what was acknowledged after the last one is lost if it dies. "
                "Set appendonly to yes"
            )
        if "save" in self._settings:
            return "the server keeps nothing on the disk: all tasks are lost if it dies. Set appendonly to yes"
        return "the server keeps no log (appendonly is no): tasks are lost if it dies. Set appendonly to yes"

    @property
    def remarks(self) -> list[str]:
        """All that an operator should know."""
        return [remark for remark in (self.evicts, self.persistence) if remark is not None]


async def ask_health(client: Any, space: str) -> Health:
    """Ask the server that holds a namespace; what it does not tell stays unknown."""
    # One of a cluster is asked that holds the keys.
    node: dict[str, Any] = {}
    if not hasattr(client, "connection_pool"):
        await client.initialize()
        node["target_nodes"] = client.get_node_from_key(space)
    info: dict[str, str] = {}
    settings: dict[str, str] = {}
    with suppress(Exception):
        info = _texts(await client.execute_command("INFO", **node))
    for name in ("save", "appendfsync", "proto-max-bulk-len"):
        with suppress(Exception):
            settings |= _texts(await client.execute_command("CONFIG GET", name, **node))
    return Health(info, settings)


def _texts(answer: Any) -> dict[str, str]:
    """What both libraries make a mapping of."""
    return {str(name): str(value) for name, value in answer.items()}
