"""Where tests run that need no particular database: on those named by `--on`, or on all of a list that can be had."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pytest

from litestar_queues_matrix.hosted import Hosted
from litestar_queues_matrix.servers import ServerUnavailable

__all__ = ("Places",)


class Places:
    """The targets that were found, and why others were not.

    Args:
        config: With the option `--on`.
        known: Every target by its name; None for one that needs no server.
        default: Where the tests run unless `--on` names something else.

    Raises:
        pytest.UsageError: One was named, without a star behind it, and cannot be had; or none can be had.
    """

    def __init__(self, config: pytest.Config, known: Mapping[str, Hosted | None], default: Sequence[str]) -> None:
        named: list[str] = config.getoption("--on")
        self.found: dict[str, Hosted | None] = {}
        self._missing: dict[str, str] = {}
        for name in named or default:
            try:
                self.found[name.rstrip("*")] = _target(known, name.rstrip("*"))
            except ServerUnavailable as error:
                self._missing[name] = str(error)
        has_to_be = [name for name in self._missing if name in named and not name.endswith("*")]
        if has_to_be or not self.found:
            raise pytest.UsageError("\n".join(f"{name}: {reason}" for name, reason in self._missing.items()))

    @property
    def absent(self) -> list[str]:
        """A line for each that was not found."""
        return [f"not run on {name}: {reason}" for name, reason in self._missing.items()]

    @property
    def header(self) -> list[str]:
        """What a run's first lines say."""
        return [f"servers: {', '.join(self.found)}", *self.absent]


def _target(known: Mapping[str, Hosted | None], name: str) -> Hosted | None:
    """An adapter, on the server that is named or the best that there is, which has to be one that can be killed."""
    adapter, _, server = name.partition("@")
    if adapter not in known:
        raise ServerUnavailable(f"unknown adapter {adapter!r}. Known: {', '.join(known)}")
    target = known[adapter]
    if target is None:
        return None
    target = target.on(server) if server else target
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_URL")}
    if (reason := target.unavailable(environment)) is not None:
        raise ServerUnavailable(reason)
    return target
