"""What went wrong with one store, in words that carry no credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from litestar_queues.backends.retry import LostConnectionError

__all__ = ("StoreFailures",)

_IN_URL = re.compile(r"(?<=://)[^@/\s]*@")
_SECRET = re.compile(r"pass|pwd|secret|token|credential|private", re.IGNORECASE)
_ASSIGNED = re.compile(r"(\b\w*(?:password|passwd|secret|token)\s*=\s*)('[^']*'|\S+)", re.IGNORECASE)


class StoreFailures:
    """Translates what went wrong with one store; what inherits from it knows the errors of the layer above the store.

    Args:
        database: What to call the store in messages.
        settings: Those of the connection: what is secret in them is kept out of every text.
    """

    def __init__(self, database: str, settings: Mapping[str, Any]) -> None:
        self._secrets = sorted(set(_secrets(settings)), key=len, reverse=True)
        self.database = self.scrub(database)

    def scrub(self, text: str) -> str:
        """The text without credentials."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _ASSIGNED.sub(r"\1***", _IN_URL.sub("***@", text))

    def text(self, error: BaseException) -> str:
        """The words of an error, on one line."""
        text = " ".join(str(error).split()) or type(error).__name__
        return self.scrub(text)[:300]

    def of_silence(self, name: str, seconds: float | None) -> Exception:
        """What to raise where the server did not answer in time."""
        return LostConnectionError(
            f"{self.database}: {name} was not answered within {seconds:g} s, and its connection is given up; whether it "
            f"took effect is not known"
        )


def _secrets(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)  # pyright: ignore[reportUnknownArgumentType]  # users' settings
        elif isinstance(value, str) and value and _SECRET.search(name):
            yield value
