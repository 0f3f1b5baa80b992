"""What the configurations of SQL backends have in common, and check alike."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

from litestar_queues.errors import QueueConfigurationError

__all__ = ("channel_name", "check_timeouts", "refuses_notifications")

_LONGEST_CHANNEL = 63
"""PostgreSQL refuses a longer channel."""


def check_timeouts(lock_timeout: float, answer_timeout: float | None, migration_timeout: float) -> None:
    """Refuse times that are none.

    Raises:
        QueueConfigurationError: One of the options is too small; names it.
    """
    if lock_timeout <= 0:
        raise QueueConfigurationError(f"lock_timeout must be a positive number of seconds, not {lock_timeout}")
    if answer_timeout is not None and answer_timeout <= 0:
        raise QueueConfigurationError(
            f"answer_timeout must be a positive number of seconds, or None, not {answer_timeout}"
        )
    if migration_timeout < 0:
        raise QueueConfigurationError(f"migration_timeout is a number of seconds from 0, not {migration_timeout}")


def refuses_notifications(notifications: bool | None, given: Collection[str]) -> bool:  # noqa: FBT001  # the option itself
    """Whether notifications are switched off.

    Raises:
        QueueConfigurationError: They are, and the options `given` are about them.
    """
    if notifications is False and given:
        raise QueueConfigurationError(
            f"notifications=False contradicts {' and '.join(given)}: leave out either the one or the other"
        )
    return notifications is False


def channel_name(channel: str | None, table: str, *, folded: bool = True) -> str:
    """The channel of a configuration, or one that is named after its table.

    Args:
        channel: The configured name, if there is one.
        table: The table's name.
        folded: Whether the database takes a name without quotes for one in lower case, as PostgreSQL does.

    Raises:
        QueueConfigurationError: The name cannot be a channel's.
    """
    if channel is None:
        channel = f"{table.replace('.', '_')}_wakeup"
        if len(channel) > _LONGEST_CHANNEL:
            channel = f"{channel[:46]}_{blake2b(channel.encode(), digest_size=8).hexdigest()}"
    elif not (channel.isascii() and channel.isidentifier() and len(channel) <= _LONGEST_CHANNEL):
        raise QueueConfigurationError(
            f"the notification channel {channel!r} cannot be used: it takes letters, digits and underscores, no digit "
            f"first, and at most {_LONGEST_CHANNEL} characters"
        )
    return channel.lower() if folded else channel
