"""Where the database of an adapter of a server is, as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from litestar_queues.backends.sqlspec.store import Location

__all__ = ("ServerAddress",)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Locates a server's database by an adapter's connection settings; of several keys, the first that is set counts.

    Attributes:
        url: The keys of a URL, or of libpq's keywords.
        host: The keys of the host, or of its socket.
        database: The keys of the database.
    """

    url: tuple[str, ...] = ("dsn",)
    host: tuple[str, ...] = ("host",)
    database: tuple[str, ...] = ("database",)

    def __call__(self, config: Any) -> Location:
        """The server and the database, without user and password."""
        settings: Mapping[str, Any] = config.connection_config
        kind = type(config).__module__.removeprefix("sqlspec.adapters.").partition(".")[0]
        url = next((str(settings[name]) for name in self.url if settings.get(name)), "")
        if "://" in url:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            return Location(f"{kind} database {host}{parts.path}")
        if url:  # the keywords of libpq, or a name that the driver looks up
            words = [word for word in url.split() if word.partition("=")[0] in ("host", "port", "dbname", "service")]
            return Location(f"{kind} database {' '.join(words) or url.rpartition('@')[2]}")
        host = next((str(settings[name]) for name in self.host if settings.get(name)), "its default host")
        port = f":{settings['port']}" if settings.get("port") else ""
        database = next((f"/{settings[name]}" for name in self.database if settings.get(name)), "")
        return Location(f"{kind} database {host}{port}{database}")
