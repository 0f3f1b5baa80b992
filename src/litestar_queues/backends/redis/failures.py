"""The errors of the client libraries, and of the servers behind them, as ours."""

from __future__ import annotations

from litestar_queues.backends.failures import StoreFailures
from litestar_queues.backends.retry import ConflictError, LostConnectionError
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueError

__all__ = ("RedisFailures", "is_missing_script", "is_read_only")

_NOT_READY = ("LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN")
"""What servers say that will soon be able to: nothing was done."""
_NOT_READY_CLASSES = ("BusyLoadingError", "TryAgainError", "ClusterDownError", "MasterDownError")
_REFUSED = {
    "READONLY": "it is a replica, or read only: name the primary",
    "MISCONF": "it cannot write its snapshots to the disk, and takes no writes until that is repaired",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write wants",
    "UNBLOCKED": "it became a replica in the middle",
}
"""What servers say that take no writes for now: nothing was stored."""


def _names(error: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def is_missing_script(error: BaseException) -> bool:
    """Whether the server does not know, or has forgotten, a script."""
    return "NoScriptError" in _names(error)


def is_read_only(error: BaseException) -> bool:
    """Whether the server takes no writes, because it is a replica."""
    return _code(error, _names(error)) == "READONLY"


class RedisFailures(StoreFailures):
    """Translates what went wrong with one server.

    The libraries' classes are told by their names, which are the same in both, and in the library of a client that somebody
    else made.

    Args:
        place: What to call the server in messages.
    """

    def __init__(self, place: str) -> None:
        super().__init__(place, {})

    def of_script(self, error: BaseException, name: str) -> Exception:
        """What to raise for an error of a script."""
        if isinstance(error, (QueueError, ConflictError)):
            return error
        names, text = _names(error), self.text(error)
        what = f"{self.database}: {name} failed"
        code = _code(error, names)
        if code in _NOT_READY or not names.isdisjoint(_NOT_READY_CLASSES):
            return ConflictError(text)
        if code in _REFUSED:
            return BackendUnavailableError(f"{what}: {_REFUSED[code]}. Nothing was stored ({text})")
        if code == "OOM":
            return BackendError(
                f"{what}: the server's memory is full (maxmemory), and nothing was stored: let workers and retention make "
                f"room, or give it more ({text})"
            )
        if not names.isdisjoint(("AuthenticationError", "AuthorizationError")) or code in ("NOAUTH", "WRONGPASS"):
            return BackendUnavailableError(f"{self.database}: no connection: the server refuses the password: {text}")
        if "MaxConnectionsError" in names or "No connection available" in text:
            return BackendUnavailableError(f"{what}: every connection of the client is taken: {text}")
        if "MovedError" in names or code == "MOVED":
            return BackendError(
                f"{what}: the server is one of a cluster: say cluster=True, or give a client of the cluster ({text})"
            )
        if isinstance(error, (OSError, EOFError)) or not names.isdisjoint(("ConnectionError", "TimeoutError")):
            return LostConnectionError(f"{what}: no connection, or it was lost: {text}")
        if not names.isdisjoint(("RedisClusterException", "ValkeyClusterException", "ClusterError")):
            return LostConnectionError(f"{what}: {text}")
        return BackendError(f"{what}: {text}")


def _code(error: BaseException, names: set[str]) -> str:
    """What a server's error begins with; libraries leave it out of the text where they have a class for it."""
    if "ResponseError" not in names and "ConnectionError" not in names:
        return ""
    for cls, code in (("ReadOnlyError", "READONLY"), ("OutOfMemoryError", "OOM")):
        if cls in names:
            return code
    return str(error).partition(" ")[0].strip("-")
