"""Where a store's file is, and whether somebody replaced it while it was open."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ("FilePlace",)


class FilePlace:
    """The file of a database that has no server.

    Args:
        path: The path, or a `file:` URI, as it was configured.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(unquote(urlsplit(path).path) if path.startswith("file:") else path)
        self._seen = self._identity()

    def changed(self) -> str | None:
        """What became of the file since this was made, in words; None if nothing did.

        A process that has the file open would go on in the old one, which nobody else sees.
        """
        now = self._identity()
        if self._seen is None or now == self._seen:
            return None
        return f"the file {str(self._path)!r} was {'deleted' if now is None else 'replaced by another one'}"

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
