"""The errors of the client libraries, and of the servers behind them, as ours."""

from __future__ import annotations

import re

from litestar_queues.backends.failures import StoreFailures
from litestar_queues.backends.retry import ConflictError, LostConnectionError, RefusedForNowError
from litestar_queues.backends.verdict import Verdict, Verdicts, codes
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueError, RefusedError

__all__ = ("VERDICTS", "RedisFailures", "is_missing_script", "is_read_only")

_ADVICE = {
    "READONLY": "it is a replica, or read only: name the primary",
    "MISCONF": "it cannot write its snapshots to the disk, and takes no writes until that is repaired",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write wants",
    "UNBLOCKED": "it became a replica in the middle",
}
"""What to do about servers that take no writes for now."""


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
        text, code = self.text(error), _code(error, _names(error))
        what = f"{self.database}: {name} failed"
        if code in _ADVICE:
            return BackendUnavailableError(f"{what}: {_ADVICE[code]}. Nothing was stored ({text})")
        if code == "OOM":
            return RefusedForNowError(
                f"{what}: the server's memory is full (maxmemory), and nothing was stored: let workers and retention make "
                f"room, or give it more ({text})"
            )
        match VERDICTS.of(error):
            case Verdict.CONFLICT:
                return ConflictError(text)
            case Verdict.LOST:
                return LostConnectionError(f"{what}: no connection, or it was lost: {text}")
            case Verdict.FOR_NOW:
                return self._refused_for_now(error, what, text)
            case Verdict.FOR_GOOD:
                return RefusedError(f"{what}: {text}")
            case None if "MovedError" in _names(error) or code == "MOVED":
                return BackendError(
                    f"{what}: the server is one of a cluster: say cluster=True, or give a client of the cluster ({text})"
                )
            case None:
                return BackendError(f"{what}: {text}")

    def _refused_for_now(self, error: BaseException, what: str, text: str) -> Exception:
        names = _names(error)
        if not names.isdisjoint(("AuthenticationError", "AuthorizationError")) or _code(error, names) in _PASSWORD:
            return BackendUnavailableError(f"{self.database}: no connection: the server refuses the password: {text}")
        if "MaxConnectionsError" in names or _NO_CONNECTION.search(text):
            return BackendUnavailableError(f"{what}: every connection of the client is taken: {text}")
        return RefusedForNowError(f"{what}, nothing was stored, and the same call may work later: {text}")


def _code(error: BaseException, names: set[str]) -> str:
    """What a server's error begins with; libraries leave it out of the text where they have a class for it."""
    if "ResponseError" not in names and "ConnectionError" not in names:
        return ""
    for cls, code in (("ReadOnlyError", "READONLY"), ("OutOfMemoryError", "OOM")):
        if cls in names:
            return code
    return str(error).partition(" ")[0].strip("-")


_PASSWORD = ("NOAUTH", "WRONGPASS")
_NO_CONNECTION = re.compile("No connection available")


def _known_code(error: BaseException) -> str | None:
    code = _code(error, _names(error))
    return code if code in _CODES else None


# The first words of errors: https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors, `src/server.c` of
# Redis and of Valkey (`createSharedObjects`), and `src/cluster.c`.
_CODES = codes(
    conflict=("LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"),  # it will soon be able to, and did nothing
    for_now=(*_ADVICE, *_PASSWORD, "OOM", "NOPERM"),
)
VERDICTS = Verdicts(
    _CODES,
    {
        "BusyLoadingError": Verdict.CONFLICT,
        "TryAgainError": Verdict.CONFLICT,
        "ClusterDownError": Verdict.CONFLICT,
        "MasterDownError": Verdict.CONFLICT,
        "AuthenticationError": Verdict.FOR_NOW,
        "AuthorizationError": Verdict.FOR_NOW,
        "MaxConnectionsError": Verdict.FOR_NOW,
        "NoPermissionError": Verdict.FOR_NOW,
        "UnicodeEncodeError": Verdict.FOR_GOOD,
        "OverflowError": Verdict.FOR_GOOD,
        "ConnectionError": Verdict.LOST,
        "TimeoutError": Verdict.LOST,
        "OSError": Verdict.LOST,
        "EOFError": Verdict.LOST,
        "RedisClusterException": Verdict.LOST,
        "ValkeyClusterException": Verdict.LOST,
        "ClusterError": Verdict.LOST,
    },
    texts=(
        (_NO_CONNECTION, Verdict.FOR_NOW),
        # Beyond proto-max-bulk-len: the server says so, and ends the connection.
        (re.compile("invalid bulk length|string exceeds maximum allowed size"), Verdict.FOR_GOOD),
    ),
    code_of=_known_code,
)
"""The verdicts on errors of servers and of the client libraries."""
