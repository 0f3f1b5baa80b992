"""What servers and both libraries say, as ours. The libraries are imported by the servers' tests; here by their names."""

from __future__ import annotations

import pytest

from litestar_queues.backends.redis.failures import RedisFailures, is_missing_script, is_read_only
from litestar_queues.backends.retry import ConflictError, LostConnectionError, RefusedForNowError
from litestar_queues.errors import BackendError, BackendUnavailableError


class RedisError(Exception): ...


class ConnectionError(RedisError): ...  # noqa: A001  # the libraries' own name


class TimeoutError(RedisError): ...  # noqa: A001  # the libraries' own name


class AuthenticationError(ConnectionError): ...


class BusyLoadingError(ConnectionError): ...


class ResponseError(RedisError): ...


class ReadOnlyError(ResponseError): ...


class NoScriptError(ResponseError): ...


class OutOfMemoryError(ResponseError): ...


class TryAgainError(ResponseError): ...


class MovedError(ResponseError): ...


class NoPermissionError(ResponseError): ...


FAILURES = RedisFailures("redis://host:1/0")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (BusyLoadingError("Redis is loading the dataset in memory"), ConflictError, "loading"),
        (TryAgainError("Multiple keys request during rehashing of slot"), ConflictError, "rehashing"),
        (ResponseError("BUSY Redis is busy running a script"), ConflictError, "busy"),
        (ResponseError("LOADING Redis is loading"), ConflictError, "loading"),
        (ResponseError("CLUSTERDOWN Hash slot not served"), ConflictError, "not served"),
        (ReadOnlyError("You can't write against a read only replica."), BackendUnavailableError, "name the primary"),
        (ResponseError("READONLY You can't write"), BackendUnavailableError, "Nothing was stored"),
        (ResponseError("MISCONF Errors writing to the AOF file"), BackendUnavailableError, "takes no writes"),
        (ResponseError("NOREPLICAS Not enough good replicas"), BackendUnavailableError, "min-replicas"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), RefusedForNowError, "memory is full"),
        (ResponseError("OOM allow-oom flag is not set on the script"), RefusedForNowError, "nothing was stored"),
        (AuthenticationError("invalid username-password pair"), BackendUnavailableError, "refuses the password"),
        (ResponseError("NOAUTH Authentication required."), BackendUnavailableError, "refuses the password"),
        (NoPermissionError("this user has no permissions to run the 'evalsha' command"), RefusedForNowError, "evalsha"),
        (MovedError("MOVED 5 127.0.0.1:2"), BackendError, "cluster=True"),
        (ConnectionError("Error 111 connecting to host:1."), LostConnectionError, "Error 111"),
        (TimeoutError("Timeout reading from host:1"), LostConnectionError, "Timeout"),
        (OSError("broken pipe"), LostConnectionError, "broken pipe"),
        (ResponseError("ERR wrong number of arguments"), BackendError, "wrong number"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_is_what_a_caller_can_do_about_it(error: Exception, kind: type[Exception], said: str) -> None:
    ours = FAILURES.of_script(error, "enqueue")
    assert type(ours) is kind
    assert said in str(ours)
    assert kind is ConflictError or "redis://host:1/0" in str(ours)


def test_what_is_ours_already_stays() -> None:
    error = BackendUnavailableError("not open")
    assert FAILURES.of_script(error, "claim") is error


def test_no_credentials_are_told() -> None:
    error = ConnectionError("cannot connect to redis://user:s3cret@host:1/0")
    assert "s3cret" not in str(FAILURES.of_script(error, "claim"))


def test_which_errors_have_a_way_out_of_their_own() -> None:
    assert is_missing_script(NoScriptError("No matching script."))
    assert not is_missing_script(ResponseError("ERR"))
    assert is_read_only(ReadOnlyError("You can't write"))
    assert not is_read_only(OutOfMemoryError("command not allowed"))
