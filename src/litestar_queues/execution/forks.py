"""A child that a task forks: it gets its own signals, stays out of the worker's event loop, and ends with its function."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from litestar_queues.context import CONTEXT

__all__ = ("OWN_HANDLERS", "end_child")

OWN_HANDLERS: set[Callable[..., Any]] = set()
"""The signal handlers of worker processes, which no child may keep."""


_NUMBERS = (signal.SIGTERM, signal.SIGINT)
_forking = threading.local()


def _before_fork() -> None:
    """Let signals wait until the child can take its own: Python forgets those that reach a child before that."""
    handlers = {handler for number in _NUMBERS if callable(handler := signal.getsignal(number))}
    concerned = CONTEXT.get(None) is not None or not OWN_HANDLERS.isdisjoint(handlers)
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS) if concerned else None


def _after_fork_in_parent() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork_in_child() -> None:
    """Cut a child off from its parent.

    asyncio and uvloop have the interpreter write each signal's number to a socket. A child inherits that socket: a
    SIGTERM for the child would drain its parent's worker.
    """
    if _forking.mask is None:
        return
    context = CONTEXT.get(None)
    if context is not None:
        context.loop = None  # a copy of the worker's loop, which nobody runs
    with suppress(ValueError):  # a fork by a subinterpreter, which has no signals
        signal.set_wakeup_fd(-1)
        for number in _NUMBERS:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


if sys.platform != "win32":
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def end_child(error: BaseException | None) -> NoReturn:
    """End a child whose function has returned, or raised an error, as Python ends a program that does so.

    Without exit handlers and destructors: they would close the parent's connections.
    """
    code = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit):
            if isinstance(error.code, int) or error.code is None:
                code = error.code or 0
            else:
                sys.stderr.write(f"{error.code}\n")
        elif error is not None:
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)
