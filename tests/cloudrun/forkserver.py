"""Imports what containers need, and forks one for every line: `python -m cloudrun.forkserver module:function [module ...]`.

Reads `[number, environment, log]` and writes `["pid", number, pid]` and `["end", number, exit code]`, a line each. When
its input ends, it kills the containers that are left.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any


def main() -> None:
    target, *preload = sys.argv[1:]
    del sys.argv[1:]  # a container has no arguments
    for name in preload:
        import_module(name)
    module, _, function = target.partition(":")
    call: Callable[[], Any] = getattr(import_module(module), function)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.set_blocking(wake, False)
    containers: dict[int, int] = {}
    buffer = b""
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            _reap(containers)
        if 0 not in ready:
            continue
        read = os.read(0, 2**16)
        if not read:
            break
        *lines, buffer = (buffer + read).split(b"\n")
        for line in lines:
            number, environment, log = json.loads(line)
            pid = os.fork()
            if pid == 0:
                os.close(wake)
                _be(call, environment, log)
            containers[pid] = number
            _say("pid", number, pid)
    for pid in containers:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _reap(containers: dict[int, int]) -> None:
    while containers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _say("end", containers.pop(pid), os.waitstatus_to_exitcode(status))


def _say(*what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _be(call: Callable[[], Any], environment: dict[str, str], log: str) -> None:
    """Become the container, and never return."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for old, new in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(old, new)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[1:] = []
        given = environment.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [place for place in given if place and place not in sys.path]
        code = _code(call())
    except SystemExit as exit_:
        code = _code(exit_.code)
    except BaseException:  # noqa: BLE001  # the copy of the parent must not go on
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _code(value: Any) -> int:
    if value is None:
        return 0
    return value if isinstance(value, int) else 1


if __name__ == "__main__":
    main()
