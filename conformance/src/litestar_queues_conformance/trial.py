"""Tries a target before any case runs: a mistake in it is reported once, by its name, and not by every case.

The trial opens one store, closes it and removes it, as every case does. It judges the target, not the backend: what the
backend's methods do is for the cases.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from litestar_queues.backends.registry import PORT, lacks
from litestar_queues_conformance.target import Target, described

__all__ = ("SECONDS", "BrokenTarget", "try_target")

SECONDS = 60.0
"""How long each call of the target may take."""


class BrokenTarget(Exception):
    """A target cannot work; the text names the part of it and what is wrong."""


def try_target(name: str, target: Target, env: Mapping[str, str]) -> type:
    """Use every part of a target once, and give the class of the client that it opened.

    The calls are made in a thread of their own, so that one that blocks is found out, too.

    Args:
        name: What to call the target.
        target: The target.
        env: What its `config` is given.

    Raises:
        BrokenTarget: A part is missing, returns something else than it must, raises, or does not return in time.
    """
    trial = _Trial(target, env)
    thread = threading.Thread(target=trial.run, name="conformance-trial", daemon=True)
    thread.start()
    while not trial.ended.wait(SECONDS):
        if trial.calls == trial.seen:
            trial.problem = f"{trial.doing} did not return within {SECONDS:g} s"
            break
        trial.seen = trial.calls
    if trial.problem is not None:
        raise BrokenTarget(f"the target of the backend {name!r} does not work: {trial.problem}")
    return trial.backend


class _Problem(Exception):
    """What is wrong, for people."""


class _Trial:
    def __init__(self, target: Target, env: Mapping[str, str]) -> None:
        self.target = target
        self.env = env
        self.doing = "config(env)"
        self.problem: str | None = None
        self.backend: type = object
        self.ended = threading.Event()
        self.calls = self.seen = 0

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except _Problem as error:
            self.problem = str(error)
        except BaseException as error:  # noqa: BLE001  # whatever it was, the run must not go on as if nothing was
            self.problem = f"{self.doing} raised {described(error)}"
        finally:
            self.ended.set()

    async def _run(self) -> None:
        ways: Any = getattr(self.target, "ways", ())
        if isinstance(ways, str) or not all(isinstance(way, str) for way in ways):
            raise _Problem(f"ways is {_shown(ways)}, not a list of names")
        first, second = self._config(), self._config()
        if first == second:
            raise _Problem(f"config(env) named the same store twice, {_shown(first)}: each call names a new one")
        try:
            await self._version(first)
            await self._client(first)
        except BaseException:
            for config in (first, second):
                with suppress(Exception):  # the first problem is the one to report
                    await self.target.reset(config)
            raise
        await self._reset(first, "reset(config)")
        await self._reset(first, "reset(config), called for the second time,")
        await self._reset(second, "reset(config) of a store that nobody opened")

    def _config(self) -> dict[str, Any]:
        config: Any = self._call("config(env)", lambda: self.target.config(self.env))
        if not isinstance(config, dict):
            raise _Problem(f"config(env) returned {_shown(config)}, not a dict")
        try:
            copy = pickle.loads(pickle.dumps(config))  # noqa: S301  # made a moment ago
        except Exception as error:
            raise _Problem(
                f"config(env) returned what other processes cannot be sent, {_shown(config)}: it must be plain data "  # pyright: ignore[reportUnknownArgumentType]  # of anything
                f"that can be pickled ({described(error)})"
            ) from error
        if copy != config:
            raise _Problem(
                f"config(env) returned {_shown(config)}, which is not equal to its pickled copy: it must be plain data"  # pyright: ignore[reportUnknownArgumentType]  # of anything
            )
        return config  # pyright: ignore[reportUnknownVariableType]  # of anything

    async def _version(self, config: dict[str, Any]) -> None:
        answer = await self._await("server_version(config)", lambda: self.target.server_version(config))
        if not isinstance(answer, str) or not answer:
            raise _Problem(f"server_version(config) returned {_shown(answer)}, not a text such as 'SQLite 3.45.1'")

    async def _client(self, config: dict[str, Any]) -> None:
        backend = await self._await("open(config)", lambda: self.target.open(config))
        self.backend = type(backend)
        missing = lacks(backend)
        if len(missing) == len(PORT):
            raise _Problem(f"open(config) returned {_shown(backend)}, not an opened backend")
        if missing:
            raise _Problem(
                f"open(config) returned a {type(backend).__qualname__}, which is no complete backend: it lacks "
                f"{', '.join(missing)} (litestar_queues.backends.base.QueueBackend says what each must do)"
            )
        await self._await("close() of the backend that open(config) returned", backend.close)

    async def _reset(self, config: dict[str, Any], what: str) -> None:
        await self._await(what, lambda: self.target.reset(config))

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        self.doing = what
        self.calls += 1
        try:
            return call()
        except Exception as error:
            raise _Problem(f"{what} raised {described(error)}") from error

    async def _await(self, what: str, call: Callable[[], Any]) -> Any:
        answer = self._call(what, call)
        if not inspect.isawaitable(answer):
            raise _Problem(f"{what} returned {_shown(answer)}, which cannot be awaited: declare it as `async def`")
        try:
            return await answer
        except Exception as error:
            raise _Problem(f"{what} raised {described(error)}") from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
