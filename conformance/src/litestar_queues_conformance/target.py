"""What the author of a backend writes: one object that tells the suite how to reach stores of that backend.

It is found by an entry point in the group `litestar_queues_conformance.backends`, or named as `module:attribute`. The
suite knows no backend but through it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

from litestar_queues.backends.base import QueueBackend
from litestar_queues_conformance.capabilities import Capabilities

__all__ = (
    "GROUP",
    "Capabilities",
    "CountsRows",
    "CountsSessions",
    "CutsConnections",
    "Halves",
    "HoldsTasks",
    "LosesReplies",
    "NeverAway",
    "NoConnections",
    "NobodyWaits",
    "Refusal",
    "Refuses",
    "Reshapes",
    "SetsFences",
    "Spoils",
    "Target",
    "Transacts",
    "UnknownTarget",
    "described",
    "known_targets",
    "load_target",
    "unprovoked",
)

GROUP = "litestar_queues_conformance.backends"
"""The entry point group in which targets are found by name."""


class Target(Protocol):
    """A backend as the suite reaches it.

    A target may have more, which is looked for by name:

    - `on(server: str) -> Target` answers to `--backend=name@server` with a target on that server; raises LookupError
      for a server that it knows nothing of.
    - `unavailable(env) -> str | None` says why it cannot be run here, without starting anything, or None if it can.
    - `ways`, the names of ways in which the backend can do the same thing, such as loading many rows. What depends on it is
      checked once for each; its name then stands under "way" in the config that is opened.
    - `serve(env)`, a context manager, is entered once, by the first process of a run and before any other process is
      started. It keeps the server running, and gives the environment variables by which `config` finds it, in every
      process of the run; raises LookupError if there is no server to be had.
    """

    @property
    def distribution(self) -> str:
        """The installed distribution that the backend comes from; its version stands in the report."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do beyond the core."""
        ...

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        """Plain, picklable data that names a new, empty, isolated store; nothing needs to exist yet.

        Two calls never name the same store, in whichever processes they are made.

        Args:
            env: The environment variables, for servers' addresses and credentials.
        """
        ...

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        """A new client of the store, opened. Called many times, at the same moment and in several processes.

        The suite closes what it was given.
        """
        ...

    async def reset(self, config: dict[str, Any]) -> None:
        """Remove the store and all that is in it, after its last client was closed. Harmless when repeated."""
        ...

    async def server_version(self, config: dict[str, Any]) -> str:
        """The store's product and version, for the report: `SQLite 3.45.1`."""
        ...


@runtime_checkable
class Transacts(Protocol):
    """What a target offers besides, where its backend is declared `transactional`."""

    def transaction(self, config: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        """A session of the application's in a new transaction, as the backend's `bind` takes it.

        It is committed when the block is left, and rolled back where the block is left by an exception.
        """
        ...


@runtime_checkable
class Reshapes(Protocol):
    """What a target offers besides, where its backend is declared to have `columns`."""

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        """Make the store's table, before anybody opened the store, in another shape than the backend would.

        Args:
            config: The store.
            how: "reordered", with the columns in another order; or "grown", with some of the application's among them,
                one of which has a default, and none of which has to be given.
        """
        ...


@runtime_checkable
class Halves(Protocol):
    """An optional hook for a store that has a schema. Without it, SCM-06 and SCM-08 count as not found out."""

    async def parts(self, config: dict[str, Any]) -> Mapping[str, str]:
        """The tables and indexes that the store has now, by name, as the store itself lists them.

        The value says what the part holds: "tasks", "locks", "records", or nothing (an empty text), as an index does.
        Parts that cannot be missing alone, such as a primary key, are left out.
        """
        ...

    async def halve(self, config: dict[str, Any], part: str) -> None:
        """Remove one of the parts, while no client of the store is open."""
        ...


@runtime_checkable
class Spoils(Protocol):
    """An optional hook for a store that can be of no use. Without it, SCM-07 cancels `open` and does not make it fail."""

    async def spoil(self, config: dict[str, Any]) -> None:
        """Make a new store one that clients can reach, and that `open` refuses with an error."""
        ...


@runtime_checkable
class CountsSessions(Protocol):
    """An optional hook for a store on a server. Without it, SCM-07 counts what this process holds, and no sessions."""

    async def sessions(self, config: dict[str, Any]) -> int | None:
        """How many sessions the server has for the clients of this store, those of this call excluded; None if unknown."""
        ...


@runtime_checkable
class CountsRows(Protocol):
    """An optional hook for a store that counts the rows that it reads. Without it, CST-01 compares times."""

    async def rows_read(self, config: dict[str, Any]) -> int | None:
        """How many rows and index entries the store has read, for all clients that were closed; None if unknown."""
        ...


@runtime_checkable
class SetsFences(Protocol):
    """An optional hook: without it, LIF-22 is not run, as no call of the port makes a fence large within a test's time."""

    async def set_fence(self, config: dict[str, Any], id_: str, fence: int) -> None:
        """Change the fence of a stored task to this one, past all clients."""
        ...


@runtime_checkable
class CutsConnections(Protocol):
    """What a target offers besides, where it can: without it, ERR-01 and ERR-02 are not run, and NTF-07 counts as not found out."""

    async def cut_connections(self, config: dict[str, Any]) -> int | None:
        """Cut every connection that clients have to the store now, without a word to them. They may connect again.

        Returns:
            How many connections were cut. Without a number, or with 0, the suite takes nothing for cut.
        """
        ...


Refusal = Literal["away", "read-only", "full", "rebuilt"]
"""How a store refuses: nobody answers, it takes no writes, it has no room, or its tables are missing for a while."""


@runtime_checkable
class Refuses(Protocol):
    """What a target offers besides, where it can: without it, ERR-04 to ERR-06 are not run."""

    @property
    def refusals(self) -> Sequence[Refusal]:
        """In which of the ways `refusing` can have a store refuse."""
        ...

    def refusable(self, config: dict[str, Any]) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Give the config of the same store that `refusing` takes, until the block is left.

        Clients that are opened with it meet the refusal. Those that are opened with `config` may meet it, too.
        """
        ...

    def refusing(self, config: dict[str, Any], how: Refusal) -> AbstractAsyncContextManager[None]:
        """Have the store refuse every write in this way, until the block is left."""
        ...


@runtime_checkable
class LosesReplies(Protocol):
    """What a target offers besides, where it can: without it, ERR-03 is not run."""

    def losing(self, config: dict[str, Any], number: int) -> AbstractAsyncContextManager[Callable[[], bool]]:
        """Lose one reply of the store to its clients, and the connection that waits for it, in the block.

        Args:
            config: As `refusable` gave it.
            number: How many replies arrive before.

        Returns:
            Whether a reply was lost.
        """
        ...


def unprovoked(target: Target) -> dict[str, str]:
    """What a target offers no way to find out: large fences and the profile `faults`, each with what is missing."""
    missing: dict[str, str] = {}
    if not isinstance(target, SetsFences):
        missing["LIF-22"] = "the target cannot set fences"
    if not isinstance(target, CutsConnections):
        missing |= dict.fromkeys(("ERR-01", "ERR-02"), "the target cannot cut connections")
    if not isinstance(target, NoConnections) and not (isinstance(target, LosesReplies) and isinstance(target, Refuses)):
        missing["ERR-03"] = "the target cannot lose replies"
    if isinstance(target, NeverAway):  # what that claims is for the cases to judge
        return missing
    ways = set(target.refusals) if isinstance(target, Refuses) else set[Refusal]()
    if "away" not in ways:
        missing["ERR-04"] = "the target cannot have its store away"
    if not ways - {"away"}:
        missing["ERR-05"] = "the target cannot have its store refuse writes"
    if not ways:
        missing["ERR-06"] = "the target cannot have its store refuse"
    return missing


class NoConnections:
    """For targets of stores that clients reach without a connection, in a file or in the process: nothing can be cut."""

    __slots__ = ()

    async def cut_connections(self, config: dict[str, Any]) -> int | None:
        """Cut nothing; see `CutsConnections`."""
        del config
        return 0


class NeverAway(NoConnections):
    """For targets of stores that live in the process itself, and cannot be away.

    It is believed only of stores that are declared neither `multi_process` nor `durable`.
    """

    __slots__ = ()
    refusals: Sequence[Refusal] = ()

    @asynccontextmanager
    async def refusable(self, config: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Give the config as it is; see `Refuses`."""
        yield config

    def refusing(self, config: dict[str, Any], how: Refusal) -> AbstractAsyncContextManager[None]:
        """Refuse in no way; see `Refuses`."""
        raise LookupError(f"the store {config} cannot be {how}")


@runtime_checkable
class HoldsTasks(Protocol):
    """What a target offers besides, where it can: without it, CLM-12 counts as not found out."""

    def holding(self, config: dict[str, Any], ids: Sequence[str]) -> AbstractAsyncContextManager[bool]:
        """Have these tasks held, as by a claim of another client's that has not come to its end, until the block is left.

        Gives False, and holds nothing, where the backend makes no claims that others could come across: in a store of
        which one client at a time may write, or where all claims go on and the slower ones give way.
        """
        ...


class NobodyWaits:
    """For targets of backends that make no claims which others could come across: there is nothing to hold."""

    __slots__ = ()

    @asynccontextmanager
    async def holding(self, config: dict[str, Any], ids: Sequence[str]) -> AsyncGenerator[bool]:
        """Hold nothing; see `HoldsTasks`."""
        del config, ids
        yield False


class UnknownTarget(LookupError):
    """No target of this name can be loaded; the text lists those that can."""


def known_targets() -> tuple[str, ...]:
    """The names of the targets that are installed."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_target(name: str) -> Target:
    """The target of this name, or at `module:attribute`; an attribute that is a class is called without arguments.

    After an `@` comes the server that it shall run on, which only the target itself knows. A module that is not
    installed is looked for in the working directory, too.

    Raises:
        UnknownTarget: There is none, or what is there is not a target; says why.
    """
    base, at, server = name.partition("@")
    target = _load(base)
    if not at:
        return target
    on = getattr(target, "on", None)
    if on is None:
        raise UnknownTarget(f"the backend {base!r} cannot be asked to run on {server!r}: it takes no server")
    try:
        return cast("Target", on(server))
    except LookupError as error:
        raise UnknownTarget(f"the backend {name!r} cannot be had: {error}") from error
    except Exception as error:
        raise UnknownTarget(f"the backend {name!r} cannot be had: on({server!r}) raised {described(error)}") from error


def _load(name: str) -> Target:
    target = _made(name, _attribute(name) if ":" in name else _installed(name))
    parts = {part: _part(name, target, part) for part in _PARTS}
    missing = [part for part, found in parts.items() if found is None]
    if missing:
        raise UnknownTarget(f"the backend {name!r} is no target: it lacks {', '.join(missing)}")
    if not isinstance(parts["capabilities"], Capabilities):
        raise UnknownTarget(f"the backend {name!r} is no target: its capabilities must be a Capabilities(...)")
    if not isinstance(parts["distribution"], str):
        raise UnknownTarget(
            f"the backend {name!r} is no target: its distribution must be the name of an installed distribution"
        )
    if no_methods := [part for part in _METHODS if not callable(parts[part])]:
        raise UnknownTarget(f"the backend {name!r} is no target: {', '.join(no_methods)} must be a method")
    return cast("Target", target)


def _part(name: str, target: Any, part: str) -> Any:
    """This part of the target; None where it is missing."""
    try:
        return getattr(target, part, None)
    except Exception as error:
        raise UnknownTarget(f"the backend {name!r} is no target: its {part} raised {described(error)}") from error


def _made(name: str, found: Any) -> Any:
    """The target itself, where its class was found."""
    if not isinstance(found, type):
        return found
    try:
        return found()
    except Exception as error:
        raise UnknownTarget(
            f"the backend {name!r} cannot be loaded: {found.__qualname__}(), without arguments, raised {described(error)}"
        ) from error


def _installed(name: str) -> Any:
    points = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if not points:
        known = ", ".join(known_targets()) or "none is installed"
        raise UnknownTarget(
            f"unknown backend {name!r}. Known: {known}. A backend that is not installed under a name is given as "
            f"module:attribute, for example --backend=my_package.conformance:target"
        )
    if len(points) > 1:
        raise UnknownTarget(
            f"several installed distributions have a backend {name!r}: give one of them as --backend="
            f"{' or --backend='.join(sorted(points))}"
        )
    [point] = points.values()
    try:
        return point.load()
    except Exception as error:
        raise UnknownTarget(f"the backend {name!r} ({point.value}) cannot be loaded: {described(error)}") from error


_METHODS = ("config", "open", "reset", "server_version")
_PARTS = ("distribution", "capabilities", *_METHODS)


def _attribute(name: str) -> Any:
    module, _, path = name.partition(":")
    try:
        _look_in_working_directory(module)
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise UnknownTarget(f"the backend {name!r} cannot be loaded: {described(error)}") from error
    return found


def _look_in_working_directory(module: str) -> None:
    """Add the working directory to the path where this module is found nowhere else, behind everything else."""
    here = str(Path.cwd())
    top = module.partition(".")[0]
    if top and here not in sys.path and top not in sys.modules and find_spec(top) is None:
        sys.path.append(here)


def described(error: BaseException) -> str:
    """An error in a line: its type, its text, and where it was raised."""
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if Path(frame.filename).parent != Path(__file__).parent]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames and not _is_import(frames[-1]) else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _is_import(frame: traceback.FrameSummary) -> bool:
    return "importlib" in frame.filename
