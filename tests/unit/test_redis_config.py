from __future__ import annotations

import sys
from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest

from litestar_queues import QueueConfig
from litestar_queues.backends.base import ApartBackend, QueueBackend
from litestar_queues.backends.redis import RedisBackendConfig
from litestar_queues.backends.redis.clients import REDIS, VALKEY, ClientLibrary
from litestar_queues.backends.valkey import ValkeyBackendConfig
from litestar_queues.errors import MissingDependencyError, QueueConfigurationError

CONFIGS = pytest.mark.parametrize("config", [RedisBackendConfig, ValkeyBackendConfig])


class AsyncClient:
    """What looks like a client, and is never called."""

    async def execute_command(self) -> None: ...


@CONFIGS
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key_prefix": ""}, "key_prefix"),
        ({"key_prefix": "x" * 201}, "key_prefix"),
        ({"key_prefix": "a{b}"}, "braces"),
        ({"key_prefix": "a\nb"}, "cannot be printed"),
        ({"key_prefix": None}, "key_prefix"),
        ({"url": "postgresql://u:s3cret@host/0"}, "postgresql://"),
        ({"url": "u:s3cret@host/0"}, "begins with"),
        ({"url": "redis://u:s3cret@host:port/0"}, "cannot be read"),
        ({"url": "redis://u:s3cret@host/queues"}, "have numbers"),
        ({"url": None}, "cannot be read"),
        ({"client": object()}, "asyncio client"),
        ({"client": AsyncClient}, "'AsyncClient'"),
        ({"max_connections": 1}, "max_connections"),
        ({"answer_timeout": 0}, "answer_timeout"),
        ({"retry_timeout": -1}, "retry_timeout"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_opened(
    config: type[RedisBackendConfig], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(QueueConfigurationError, match=said) as caught:
        config(**options).create_backend()
    assert "s3cret" not in str(caught.value)


@CONFIGS
def test_a_library_that_is_missing_is_named_with_its_extra(
    config: type[RedisBackendConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = config.library.name
    monkeypatch.setitem(sys.modules, f"{name}.asyncio", None)
    with pytest.raises(MissingDependencyError, match=rf"extra '{name}' of litestar-queues") as caught:
        QueueConfig(queue_backend=config()).create_backend()
    assert (caught.value.package, caught.value.extra) == (name, name)


@CONFIGS
def test_a_client_that_is_given_needs_no_library(
    config: type[RedisBackendConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"{config.library.name}.asyncio", None)
    backend = QueueConfig(queue_backend=config(client=AsyncClient())).create_backend()
    assert isinstance(backend, QueueBackend)
    assert (backend.name, backend.process_local, backend.wakeups) == (config.library.name, False, None)


@pytest.mark.parametrize("name", ["redis", "valkey"])
def test_a_name_alone_is_told_what_it_lacks(name: str) -> None:
    with pytest.raises(QueueConfigurationError, match=rf"{name.capitalize()}BackendConfig\(url="):
        QueueConfig(queue_backend=name)


def test_either_client_takes_the_urls_of_both() -> None:
    for scheme, redis, valkey in (
        ("redis", "redis", "valkey"),
        ("valkey", "redis", "valkey"),
        ("rediss", "rediss", "valkeys"),
        ("valkeys", "rediss", "valkeys"),
        ("unix", "unix", "unix"),
    ):
        rest = "user:pass@host:1/2?client_name=x"
        assert REDIS.check_url(f"{scheme}://{rest}") == f"{redis}://{rest}"
        assert VALKEY.check_url(f"{scheme}://{rest}") == f"{valkey}://{rest}"


def test_both_configs_have_the_same_options_and_defaults() -> None:
    assert [(one.name, one.default) for one in fields(ValkeyBackendConfig)] == [
        (one.name, one.default) for one in fields(RedisBackendConfig)
    ]
    plain = RedisBackendConfig()
    assert (plain.url, plain.key_prefix, plain.notifications) == ("redis://localhost:6379/0", "litestar_queues", True)


@pytest.mark.parametrize("library", [REDIS, VALKEY], ids=lambda library: library.name)
def test_the_second_client_has_the_settings_of_a_client_that_was_handed_over(library: ClientLibrary) -> None:
    pytest.importorskip(library.name)
    module = library.load()
    client = getattr(module, library.client)(
        host="db.example", port=7, db=3, password="s3cr3t", client_name="app", decode_responses=True
    )
    second = library.apart(client)
    settings = second.connection_pool.connection_kwargs
    assert second.connection_pool is not client.connection_pool
    assert second.connection_pool.max_connections == 2
    assert {name: settings[name] for name in ("host", "port", "db", "password", "client_name", "decode_responses")} == {
        "host": "db.example", "port": 7, "db": 3, "password": "s3cr3t", "client_name": "app", "decode_responses": True,
    }  # fmt: skip


@pytest.mark.parametrize("library", [REDIS, VALKEY], ids=lambda library: library.name)
def test_clients_of_clusters_and_sentinels_have_no_second_one(library: ClientLibrary) -> None:
    pytest.importorskip(library.name)
    cluster = getattr(import_module(f"{library.name}.asyncio.cluster"), library.cluster)(host="db.example", port=7)
    sentinel = import_module(f"{library.name}.asyncio.sentinel").Sentinel([("db.example", 26379)]).master_for("queues")
    for client in (cluster, sentinel):
        assert library.apart(client) is None
        backend = RedisBackendConfig(client=client).create_backend()
        assert isinstance(backend, ApartBackend)
        assert backend.apart() is None
