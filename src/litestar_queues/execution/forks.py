"""A child that a task forks: it gets its own signals, stays out of the worker's event loop, and ends with its function."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from litestar_queues.context import CONTEXT

__all__ = ("OWN_HANDLERS", "end_child")

OWN_HANDLERS: set[Callable[..., Any]] = set()
"""The signal handlers of worker processes, which no child may keep."""


def _after_fork() -> None:
    """Cut a child off from its parent.

    asyncio and uvloop have the interpreter write each signal's number to a socket. A child inherits that socket: a
    SIGTERM for the child would drain its parent's worker.
    """
    context = CONTEXT.get(None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    if context is None and OWN_HANDLERS.isdisjoint(filter(callable, handlers.values())):
        return
    if context is not None:
        context.loop = None  # a copy of the worker's loop, which nobody runs
    with suppress(ValueError):  # a fork by a subinterpreter, which has no signals
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)


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
