"""Where a store's file is, and whether somebody replaced it while it was open."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from litestar_queues.errors import BackendUnavailableError, StoreReplacedError

__all__ = ("FilePlace",)

_Identity = tuple[int, int]


class FilePlace:
    """The file of a database that has no server.

    Args:
        path: The path, or a `file:` URI, as it was configured.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(unquote(urlsplit(path).path) if path.startswith("file:") else path)
        self._absolute = self._path.absolute()
        self._seen, _ = _look(self._path)

    def check(self, database: str) -> None:
        """Refuse to go on in a file that others do not see. A process that has it open would not notice by itself.

        A file that cannot be looked at counts as unchanged, and so does one that was never seen.

        Args:
            database: What to call the database in messages.

        Raises:
            StoreReplacedError: The file was deleted, or another one has its path.
            BackendUnavailableError: The path is relative, and the working directory of the process is another one now.
        """
        now, is_known = _look(self._path)
        if self._seen is None or not is_known or now == self._seen:
            return
        if not self._path.is_absolute() and _look(self._absolute)[0] == self._seen:
            raise BackendUnavailableError(
                f"{database}: the working directory of this process changed, and the relative path {str(self._path)!r} leads "
                "to another place there; nothing is written: configure an absolute path"
            )
        became = "deleted" if now is None else "replaced by another one"
        raise StoreReplacedError(
            f"{database}: the file {str(self._absolute)!r} was {became} while it was in use, and nothing is written: start this "
            "process again, or put the file back"
        )


def _look(path: Path) -> tuple[_Identity | None, bool]:
    """The identity of the file, None where there is none; and whether that is known."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None, True
    except OSError:
        return None, False
    return (found.st_dev, found.st_ino), True
