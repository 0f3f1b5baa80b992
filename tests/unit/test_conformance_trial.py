"""A target with a mistake in it is refused before any case runs, with the part that is wrong."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_conformance import trial
from litestar_queues_conformance.target import UnknownTarget, load_target
from litestar_queues_conformance.trial import BrokenTarget, try_target
from litestar_queues_matrix.memory import MemoryTarget

pytest_plugins = ["pytester"]


class Incomplete:
    """A backend without some of the port."""

    name = "incomplete"
    process_local = True
    wakeups = None

    async def open(self) -> None: ...

    async def close(self) -> None: ...


async def stuck(*_: Any) -> Any:
    await asyncio.Event().wait()


def blocks(*_: Any) -> Any:
    threading.Event().wait()


async def nothing(*_: Any) -> Any:
    return None


async def raises(*_: Any) -> Any:
    raise OSError("no such host")


async def incomplete(*_: Any) -> Any:
    return Incomplete()


async def closes_badly(*_: Any) -> Any:
    backend = MemoryBackend()
    backend.close = raises  # type: ignore[method-assign]
    return backend


def resets_once() -> Any:
    done: list[Any] = []

    async def reset(config: dict[str, Any]) -> None:
        if config in done:
            raise LookupError(config)
        done.append(config)

    return reset


def with_part(name: str, part: Any) -> MemoryTarget:
    target = MemoryTarget()
    setattr(target, name, part)
    return target


@pytest.mark.parametrize(
    ("name", "part", "says"),
    [
        ("config", lambda env: [], r"config\(env\) returned \[\], not a dict"),
        ("config", lambda env: None, r"config\(env\) returned None, not a dict"),
        ("config", lambda: {"store": 1}, r"config\(env\) raised TypeError: .*takes 0 positional arguments"),
        ("config", lambda env: {"url": env["MY_URL"]}, r"config\(env\) raised KeyError: 'MY_URL' \(.*test_conformance_trial"),
        ("config", lambda env: {"lock": threading.Lock()}, "other processes cannot be sent.*cannot pickle"),
        ("config", lambda env: {"of": object()}, "not equal to its pickled copy"),
        ("config", lambda env: {"store": 1}, r"named the same store twice, \{'store': 1\}"),
        ("config", nothing, r"config\(env\) returned <coroutine"),
        ("open", lambda config: MemoryBackend(), r"open\(config\) returned <.*>, which cannot be awaited: declare it as"),
        ("open", nothing, r"open\(config\) returned None, not an opened backend"),
        ("open", raises, r"open\(config\) raised OSError: no such host"),
        ("open", incomplete, r"returned a Incomplete, which is no complete backend: it lacks create_schema, now, enq"),
        ("open", closes_badly, r"close\(\) of the backend that open\(config\) returned raised OSError"),
        ("open", stuck, r"open\(config\) did not return within 0\.2 s"),
        ("open", blocks, r"open\(config\) did not return within 0\.2 s"),
        ("reset", raises, r"reset\(config\) raised OSError: no such host"),
        ("reset", lambda config: None, r"reset\(config\) returned None, which cannot be awaited"),
        ("reset", resets_once(), r"reset\(config\), called for the second time, raised LookupError"),
        ("server_version", raises, r"server_version\(config\) raised OSError"),
        ("server_version", nothing, r"server_version\(config\) returned None, not a text"),
        ("server_version", lambda: "1", r"server_version\(config\) raised TypeError"),
        ("ways", "arrow", "ways is 'arrow', not a list of names"),
        ("server_version", stuck, r"server_version\(config\) did not return within 0\.2 s"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_what_is_wrong_with_a_target_is_named(monkeypatch: pytest.MonkeyPatch, name: str, part: Any, says: str) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.2 if part in (stuck, blocks) else 60)
    with pytest.raises(BrokenTarget, match=rf"the target of the backend 'mine' does not work: .*{says}"):
        try_target("mine", with_part(name, part), {})


def test_a_target_that_works_leaves_nothing_behind() -> None:
    target = MemoryTarget()
    assert try_target("memory", target, {}) is MemoryBackend
    assert target._stores == {}


def test_what_a_broken_target_made_is_removed() -> None:
    target = with_part("server_version", raises)
    removed: list[Any] = []

    async def reset(config: dict[str, Any]) -> None:
        removed.append(config)

    target.reset = reset  # type: ignore[method-assign]
    with pytest.raises(BrokenTarget):
        try_target("mine", target, {})
    assert removed == [{"store": 1}, {"store": 2}]


def test_a_slow_target_is_waited_for_as_long_as_its_calls_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.05)
    target = MemoryTarget()
    reset, calls = target.reset, 0

    async def slow(config: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        threading.Event().wait(0.04)
        await reset(config)

    target.reset = slow  # type: ignore[method-assign]
    try_target("memory", target, {})
    assert calls == 3


FOREIGN = """
import uuid
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_conformance import Capabilities, NobodyWaits

class Target(NobodyWaits):
    distribution = "mine"
    capabilities = Capabilities(
        multi_process=False, durable=False, server_clock=False, notifications=False, transactional=False, columns=False,
        dispatch=True,
    )
    stores = {}

    def config(self, env):
        return {"store": uuid.uuid4().hex}

    async def open(self, config):
        return self.stores.setdefault(config["store"], MemoryBackend())

    async def reset(self, config):
        self.stores.pop(config["store"], None)

    async def server_version(self, config):
        return "mine 1"
"""


def test_no_case_runs_on_a_broken_target(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(foreign=FOREIGN + "\n    async def open(self, config):\n        return None\n")
    result = pytester.runpytest_subprocess("--backend=foreign:Target")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: the target of the backend 'foreign:Target' does not work: open(config) returned None*"]
    )
    result.stderr.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*guarantees*")


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_target_in_the_working_directory_is_found_by_the_pytest_command(
    pytester: pytest.Pytester, workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(foreign=FOREIGN)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    result = pytester.run(
        Path(sys.executable).with_name("pytest"),
        "-p",
        "no:cacheprovider",
        "--backend=foreign:Target",
        "-k",
        "LCK-01",
        *workers,
    )
    assert result.ret == 0, result.stdout.str()


def test_listing_the_cases_tries_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(foreign=FOREIGN + "\n    async def open(self, config):\n        return None\n")
    result = pytester.runpytest_subprocess("--backend=foreign:Target", "--collect-only", "-q")
    assert result.ret == 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def Target(:", "cannot be loaded: SyntaxError"),
        ("1 / 0", r"cannot be loaded: ZeroDivisionError: division by zero \(.*wrong\.py:1\)"),
        ("import nosuch_package", "cannot be loaded: ModuleNotFoundError: No module named 'nosuch_package'"),
        ("class Other: ...", "cannot be loaded: AttributeError: module 'wrong' has no attribute 'Target'"),
        ("class Target:\n    def __init__(self, url): ...", r"Target\(\), without arguments, raised TypeError"),
        ("class Target: ...", "is no target: it lacks distribution, capabilities, config, open, reset, server_version"),
        (FOREIGN + "\n    reset = 5\n", "is no target: reset must be a method"),
        (FOREIGN + "\n    open = None\n", "is no target: it lacks open"),
        (
            FOREIGN + "\n    @property\n    def distribution(self):\n        return {}['name']\n",
            r"its distribution raised KeyError: 'name' \(.*wrong\.py",
        ),
        (FOREIGN + "\n    distribution = 5\n", "its distribution must be the name of an installed distribution"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_reason(pytester: pytest.Pytester, source: str, says: str) -> None:
    pytester.makepyfile(wrong=source)
    with pytest.raises(UnknownTarget, match=says):
        load_target("wrong:Target")
