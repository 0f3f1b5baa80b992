"""Where the database of an adapter of a server is, as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from litestar_queues.backends.sqlspec.store import Location

__all__ = ("locate_server",)

_URLS = ("dsn", "conninfo", "uri", "url")
_HOSTS = ("host", "hosts", "unix_socket")
_DATABASES = ("database", "db", "dbname", "db_name", "service_name", "sid")


def locate_server(config: Any) -> Location:
    """The server and the database, without user and password."""
    settings: Mapping[str, Any] = config.connection_config
    kind = type(config).__module__.removeprefix("sqlspec.adapters.").partition(".")[0]
    url = next((str(settings[name]) for name in _URLS if settings.get(name)), "")
    if "://" in url:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return Location(f"{kind} database {host}{parts.path}")
    if url:  # the keywords of libpq, or a name that the driver looks up
        words = [word for word in url.split() if word.partition("=")[0] in ("host", "port", "dbname", "service")]
        return Location(f"{kind} database {' '.join(words) or url.rpartition('@')[2]}")
    host = next((str(settings[name]) for name in _HOSTS if settings.get(name)), "its default host")
    port = f":{settings['port']}" if settings.get("port") else ""
    database = next((f"/{settings[name]}" for name in _DATABASES if settings.get(name)), "")
    return Location(f"{kind} database {host}{port}{database}")
